"""Two real processes over gloo on loopback, started by torchrun."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from d2ppo_core.config import PretrainConfig, save_config
from d2ppo_core.pretrain.checkpoint import load_checkpoint
from d2ppo_core.pretrain.distributed import ALONE, join_processes

Build = Callable[..., PretrainConfig]

COMPARE = """
import json, sys
from pathlib import Path
import torch, torch.distributed as dist
from d2ppo_core.config import load_config
from d2ppo_core.data.windows import load_windows
from d2ppo_core.pretrain.distributed import join_processes
from d2ppo_core.pretrain.trainer import Trainer

def gradients(trainer):
    return torch.cat([p.grad.flatten() for p in trainer.policy.parameters() if p.grad is not None])

torch.set_num_threads(1)
report = {}
with join_processes(torch.device("cpu")) as processes:
    for file in sys.argv[2:]:
        config = load_config(file)
        windows, _ = load_windows(Path(sys.argv[1]), config.data)
        shared = Trainer(config, windows, None, {}, processes=processes)
        alone = Trainer(config, windows, None, {})
        both = [trainer.train_step(detailed=False) for trainer in (shared, alone)]
        difference = float((gradients(shared) - gradients(alone)).abs().max())
        largest = float(gradients(alone).abs().max())
        losses = [abs(both[0][name] - both[1][name]) for name in both[1] if name.startswith(("losses", "dispersion"))]
        for _ in range(3):
            shared.train_step(detailed=True)
        weights = torch.cat([p.detach().flatten() for p in shared.policy.parameters()])
        parts = [torch.empty_like(weights) for _ in range(processes.world)]
        dist.all_gather(parts, weights)
        equal = all(torch.equal(part, parts[0]) for part in parts)
        report[Path(file).stem] = dict(gradient=difference, largest=largest, losses=max(losses), equal=equal)
    if processes.leads:
        print(json.dumps(report))
"""


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--local-addr", "127.0.0.1"]
    return subprocess.run(
        [sys.executable, *launcher, *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )


def test_two_processes_compute_the_gradient_of_the_whole_batch_and_stay_equal(
    dataset: Path, tiny_config: Build, tmp_path: Path
) -> None:
    variants = {
        "state": tiny_config(),
        "encoder": tiny_config(images=True),
        "cosine": tiny_config(images=True, loss={"dispersive": "infonce_cosine", "dispersive_form": "raw"}),
        "equal_t": tiny_config(loss={"dispersive_equal_t": True}),
        "covariance": tiny_config(loss={"dispersive_tap": "late", "dispersive": "covariance"}),
    }
    for name, config in variants.items():
        save_config(config, tmp_path / f"{name}.yaml")
    script = tmp_path / "compare.py"
    script.write_text(COMPARE)
    done = torchrun(str(script), str(dataset), *(str(tmp_path / f"{name}.yaml") for name in variants))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert set(report) == set(variants)
    for name, found in report.items():
        assert found["largest"] > 1e-3, name
        assert found["gradient"] < 1e-6 and found["losses"] < 1e-5, (name, found)
        assert found["equal"], name


def test_the_command_under_torchrun_logs_and_saves_once(dataset: Path, tiny_config: Build, tmp_path: Path) -> None:
    save_config(tiny_config(data={"validation_episodes": 1}), tmp_path / "tiny.yaml")
    command = ["-m", "d2ppo_core.cli.main", "pretrain", "lift", "--config", str(tmp_path / "tiny.yaml")]
    done = torchrun(*command, "--data", str(dataset), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("finished at step 6") == 1
    assert load_checkpoint(tmp_path / "run").step == 6
    assert [line.partition(",")[0] for line in (tmp_path / "run" / "metrics.csv").read_text().split()] == [
        "step", "2", "4", "6",
    ]  # fmt: skip


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_processes(torch.device("cpu")) as processes:
        assert processes == ALONE and processes.leads
    z = torch.randn(4, 3, requires_grad=True)
    assert processes.gather(z) is z and processes.whole_batch(z) is z
    assert processes.any(True) and not processes.any(False)
