"""One training at a time per folder, and none over what is somebody's."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from d2ppo_core.config import PretrainConfig
from d2ppo_core.errors import TrainingError
from d2ppo_core.pretrain.checkpoint import load_checkpoint
from d2ppo_core.pretrain.run import pretrain
from d2ppo_core.run_lock import FILE_NAME, RunLock, refuse_strangers

Build = Callable[..., PretrainConfig]

HOLD = """
import sys
from pathlib import Path
from d2ppo_core.run_lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_has_one_holder_who_is_named_and_a_dead_one_does_not_block(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(TrainingError, match=f"is in use by process {holder.pid} on .*choose another --out"):
            RunLock(tmp_path)
        holder.kill()
    assert (tmp_path / FILE_NAME).is_file()
    with RunLock(tmp_path):
        pass


def test_a_folder_that_nobody_filled_goes_again_and_one_that_was_there_stays(tmp_path: Path) -> None:
    with RunLock(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with RunLock(tmp_path / "old"):
        pass
    assert (tmp_path / "old").is_dir()
    with RunLock(tmp_path / "filled"):
        (tmp_path / "filled" / "checkpoint.pt").write_text("")
    assert (tmp_path / "filled" / "checkpoint.pt").is_file()


def test_a_second_training_into_a_folder_is_refused_and_the_first_is_whole(
    dataset: Path, tiny_config: Build, tmp_path: Path
) -> None:
    with RunLock(tmp_path), pytest.raises(TrainingError, match="is in use by process"):
        pretrain(tiny_config(), dataset, tmp_path, progress=False)
    pretrain(tiny_config(optim={"steps": 2}), dataset, tmp_path, progress=False)
    with RunLock(tmp_path), pytest.raises(TrainingError, match="is in use by process"):
        pretrain(tiny_config(optim={"steps": 4}), dataset, tmp_path, resume=True, progress=False)
    assert load_checkpoint(tmp_path).step == 2


def test_a_configuration_of_the_users_is_not_overwritten_by_a_run_beside_it(
    dataset: Path, tiny_config: Build, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("precious: true\n")
    with pytest.raises(TrainingError, match="holds config.yaml of somebody's, not of a run; choose another --out"):
        pretrain(tiny_config(), dataset, tmp_path, progress=False)
    assert (tmp_path / "config.yaml").read_text() == "precious: true\n"
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_what_a_run_left_before_its_first_checkpoint_is_its_own(tmp_path: Path) -> None:
    for name in ("config.yaml", "metrics.csv", FILE_NAME):
        (tmp_path / name).write_text("")
    refuse_strangers(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / "tensorboard").mkdir()
    refuse_strangers(tmp_path)
    (tmp_path / "metrics.csv").unlink()
    with pytest.raises(TrainingError, match="holds config.yaml, tensorboard of somebody's"):
        refuse_strangers(tmp_path)
