"""`d2ppo export` as a user calls it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from d2ppo_core.bundle import load_bundle
from d2ppo_core.cli.export import export
from d2ppo_core.errors import ConfigError, OutputError

MakeRun = Callable[..., Path]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(export, [*[str(argument) for argument in arguments], "--samples", "2"])


@pytest.mark.parametrize("task", [[], ["lift"]])
def test_a_run_is_exported_with_or_without_its_task(make_run: MakeRun, tmp_path: Path, task: list[str]) -> None:
    result = call(*task, make_run(tuned=True), "--out", tmp_path / "bundle")
    assert result.exit_code == 0 and "of weights best" in result.output, result.exception
    assert load_bundle(tmp_path / "bundle").manifest.task == "lift"


def test_weights_can_be_chosen_and_the_bundle_gets_a_place(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "of weights raw" in call(make_run("lift_state"), "--weights", "raw").output
    assert load_bundle(tmp_path / "bundles" / "lift_state").manifest.provenance["export"]["weights"] == "raw"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["can", "{run}"], "wanted a policy for can, got .*run for lift"),
        (["lift", "{run}", "more"], r"wanted \[TASK\] RUN, got lift .*run more"),
        (["{run}", "--weights", "best"], "wanted one of ema, raw, got 'best'"),
        (["{run}", "--note", "nowhere.yaml"], "nowhere.yaml: no such file"),
    ],
)
def test_wishes_that_cannot_be_met_are_one_line(
    make_run: MakeRun, tmp_path: Path, arguments: list[str], message: str
) -> None:
    run = make_run()
    result = call(*[argument.format(run=run) for argument in arguments], "--out", tmp_path / "bundle")
    assert isinstance(result.exception, ConfigError) and not (tmp_path / "bundle").exists()
    with pytest.raises(ConfigError, match=message):
        raise result.exception


def test_a_folder_of_the_users_is_left_alone_before_anything_is_computed(make_run: MakeRun, tmp_path: Path) -> None:
    run, thesis = make_run(), tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("precious")
    for out in (thesis, run):
        assert isinstance(call(run, "--out", out).exception, OutputError)
    assert (thesis / "chapter.tex").read_text() == "precious" and (run / "checkpoint.pt").is_file()


def test_a_note_that_is_no_text_is_one_line(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "note.yaml").write_bytes("Prüfstand: ä".encode("latin-1"))
    error = call(make_run(), "--note", tmp_path / "note.yaml").exception
    assert isinstance(error, ConfigError) and "note.yaml: wanted YAML in UTF-8" in str(error)
