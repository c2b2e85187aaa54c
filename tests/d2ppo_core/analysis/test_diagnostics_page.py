import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from d2ppo_core.analysis.diagnostics import Settings, diagnose
from d2ppo_core.analysis.diagnostics_page import action_name, write_diagnostics
from d2ppo_core.analysis.embedding import can_tsne
from d2ppo_core.analysis.runs import read_run
from d2ppo_core.config import PretrainConfig
from d2ppo_core.pretrain.run import pretrain

QUICK = Settings(windows=40, draws=1, pictured_windows=16, closest=0.05)


def make_page(out: Path, data: Path, *folders: Path, settings: Settings = QUICK) -> str:
    runs = [read_run(folder, folder.name) for folder in folders]
    found = [diagnose(run, run.checkpoint, data, settings, lambda _: None) for run in runs if run.checkpoint]
    page, numbers = write_diagnostics(out, runs, found, settings)
    assert [run["label"] for run in json.loads(numbers.read_text())["runs"]] == [d.run.label for d in found]
    return page.read_text()


def test_runs_of_both_stages_stand_side_by_side_on_one_page_that_fetches_nothing(
    run_folder: Path, dataset: Path, tiny_config: Callable[..., PretrainConfig], tmp_path: Path
) -> None:
    pretrain(tiny_config(images=True, loss={"dispersive": "none"}), dataset, tmp_path / "pictures", progress=False)
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    (tuned / "metrics.csv").write_text("iteration,success/ema,wind/a<b\n1,0.5,1\n2,,2\n")
    html = make_page(tmp_path / "page", dataset, run_folder, tmp_path / "pictures", tuned)
    for heading in ("Training curves", "How far the features", "Look-alikes", "(PCA)", "How hard each term pulls"):
        assert html.count(heading) == 1
    assert ("(t-SNE)" in html) == can_tsne()
    assert "Trained without a dispersive term" in html and "no checkpoint" in html
    assert "scale_free infonce_l2 at mid, λ 0.5" in html
    for group in ("losses", "dispersion", "wind"):
        assert f"<h3>{group}</h3>" in html
    assert "<h3>success</h3>" not in html and "success. Without change: ema 0.5" in html
    assert 'src="http' not in html and "<script" not in html and "href=" not in html
    assert html.count('class="look"') >= 8


def test_a_fine_tuning_run_alone_gets_its_curves(tmp_path: Path) -> None:
    (tmp_path / "finetune.pt").touch()
    (tmp_path / "metrics.csv").write_text("iteration,success/ema,ppo/approx_kl\n1,0.5,0.01\n2,0.6,0.02\n")
    html = make_page(tmp_path, tmp_path / "none.hdf5", tmp_path)
    assert "fine-tuning" in html and "iteration 2" in html and html.count("data:image/svg+xml") == 2
    assert "Look-alikes" not in html and "What this is about" not in html


def test_one_episode_leaves_the_look_alikes_out_and_says_so(
    dataset: Path, tiny_config: Callable[..., PretrainConfig], tmp_path: Path
) -> None:
    pretrain(tiny_config(data={"max_episodes": 1}), dataset, tmp_path, progress=False)
    html = make_page(tmp_path, dataset, tmp_path, settings=dataclasses.replace(QUICK, tsne=False))
    assert "All windows come from one episode" in html and "Look-alikes that need" not in html


@pytest.mark.parametrize(("episodes", "promised"), [(2, False), (6, True)])
def test_intervals_are_promised_only_where_there_are_any(
    episodes: int, promised: bool, dataset: Path, tiny_config: Callable[..., PretrainConfig], tmp_path: Path
) -> None:
    pretrain(tiny_config(data={"max_episodes": episodes}), dataset, tmp_path, progress=False)
    html = make_page(tmp_path, dataset, tmp_path, settings=dataclasses.replace(QUICK, tsne=False))
    assert ("In brackets 95 % intervals" in html) is promised
    assert ("No intervals for" in html) is not promised
    assert bool(re.search(r"<td[^>]*>\d\.\d\d \(\d\.\d\d … \d\.\d\d\)</td>", html)) is promised


def test_a_run_of_one_logged_step_gets_no_empty_sections(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,losses/total,optim/lr\n5,1.03,0.001\n")
    html = make_page(tmp_path, tmp_path / "none.hdf5", tmp_path)
    assert "Nothing moved: fewer than two steps were logged" in html and "<h3>" not in html
    assert "losses. Without change: total 1.03." in html


def test_columns_that_never_move_are_told_instead_of_drawn(tmp_path: Path) -> None:
    for name, weight in (("one", 0), ("two", 0.5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text(f"step,a/weight,a/tap,b/x\n1,{weight},2,1\n2,{weight},2,3\n")
    html = make_page(tmp_path, tmp_path / "none.hdf5", tmp_path / "one", tmp_path / "two")
    assert "Without change: weight 0 (one) · 0.5 (two); tap 2." in html
    assert html.count("data:image/svg+xml") == 1


def test_components_of_the_action_have_names_for_both_arms() -> None:
    assert action_name(6).startswith("gripper, first") and action_name(9).startswith("motion in z, arm 2")
    assert action_name(9, "ee_absolute").startswith("gripper, first")
    assert action_name(17, "ee_absolute").startswith("y of the hand's y axis, arm 2")
