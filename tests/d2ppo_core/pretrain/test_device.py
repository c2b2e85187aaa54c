import pytest
import torch

from d2ppo_core.config import OptimConfig
from d2ppo_core.pretrain.device import advice, compiled, open_device


def test_the_cpu_is_always_there() -> None:
    assert open_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("found", "slow"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True}, False),
        ({"architecture": "x86_64", "amx_bf16": True}, False),
        ({"architecture": "x86_64", "avx2": True}, True),
        ({"architecture": "aarch64"}, False),
    ],
)
def test_half_precision_on_a_cpu_without_it_is_advised_against(
    found: dict[str, object], slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert ("optim.precision=float32 is faster here" in advice(OptimConfig(precision="bfloat16"))) == slow
    assert advice(OptimConfig(precision="float32")) == advice(OptimConfig(precision="bfloat16", device="cuda")) == ""


def test_a_function_is_compiled_only_when_asked_for() -> None:
    def function(x: int) -> int:
        return x

    assert compiled(function, OptimConfig()) is function


@pytest.mark.gpu
def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert open_device("cuda") == torch.device("cuda", 0) == torch.device("cuda", torch.cuda.current_device())
