import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from d2ppo_core.cli.analyze import analyze
from d2ppo_core.cli.main import main
from d2ppo_core.config import PretrainConfig
from d2ppo_core.data.episodes import EpisodeWriter
from d2ppo_core.pretrain.run import pretrain


@pytest.fixture
def run_folder(dataset: Path, tiny_config: Callable[..., PretrainConfig], tmp_path: Path) -> Path:
    pretrain(tiny_config(), dataset, tmp_path / "run", progress=False)
    return tmp_path / "run"


def test_a_page_and_its_numbers_come_to_lie_in_the_run(run_folder: Path, dataset: Path) -> None:
    options = [str(run_folder), "--data", str(dataset), "--windows", "40", "--no-tsne", "--labels", "mine"]
    done = CliRunner().invoke(analyze, options, catch_exceptions=False)
    assert done.exit_code == 0 and str(run_folder / "analysis.html") in done.output
    assert "<title>mine</title>" in (run_folder / "analysis.html").read_text()
    assert json.loads((run_folder / "analysis.json").read_text())["runs"][0]["label"] == "mine"


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What `d2ppo analyze` says on stderr when it exits with 2."""
    monkeypatch.setattr(sys, "argv", ["d2ppo", "analyze", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    return capsys.readouterr().err


def test_a_missing_run_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = refused(monkeypatch, capsys, str(tmp_path / "none"))
    assert said.count("\n") == 1 and "wanted the folder of a training run" in said


def test_a_missing_or_foreign_dataset_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run_folder: Path, tmp_path: Path
) -> None:
    said = refused(monkeypatch, capsys, str(run_folder), "--data", str(tmp_path / "gone.hdf5"))
    assert said.count("\n") == 1 and "gone.hdf5; name it with --data" in said
    with EpisodeWriter(tmp_path / "can.hdf5", env_args={"env_name": "PickPlaceCan"}):
        pass
    said = refused(monkeypatch, capsys, str(run_folder), "--data", str(tmp_path / "can.hdf5"))
    assert "must hold Lift demonstrations, got PickPlaceCan" in said.splitlines()[-1]
    assert not (run_folder / "analysis.html").exists()


def test_a_component_that_the_action_lacks_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run_folder: Path, dataset: Path
) -> None:
    said = refused(monkeypatch, capsys, str(run_folder), "--data", str(dataset), "--action", "7")
    assert "--action: wanted 0 … 6, got 7" in said
