import dataclasses
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from d2ppo_core.analysis.diagnostics import Diagnosis, Settings, diagnose, plain, to_json
from d2ppo_core.analysis.runs import read_run
from d2ppo_core.config.schema import TAPS
from d2ppo_core.errors import DataError
from d2ppo_core.losses.dispersive import dispersion

QUICK = Settings(windows=40, draws=2, pictured_windows=20, tsne=False, closest=0.05)


def examine(folder: Path, data: Path, said: list[str] | None = None) -> Diagnosis:
    run = read_run(folder, "run")
    assert run.checkpoint is not None
    return diagnose(run, run.checkpoint, data, QUICK, (said if said is not None else []).append)


def test_a_run_is_measured_at_every_tap_before_and_after(run_folder: Path, dataset: Path) -> None:
    said: list[str] = []
    found = examine(run_folder, dataset, said)
    assert len(found.sample) == 40 and len(found.pictured) == 20
    assert set(found.dispersion) == {"initial", "trained", "averaged"}
    assert found.dispersion["initial"]["observation"]["mid"] != found.dispersion["trained"]["observation"]["mid"]
    assert found.pairs is not None and found.pairs.features["different"]["averaged"]["late"].value > 0
    assert [(p.method, p.tap) for p in found.pictures] == [("PCA", tap) for tap in TAPS]
    assert found.remarks == () and found.taps == ("early", "mid", "late")
    assert any("reading" in line for line in said)


def test_the_dispersion_of_the_encoder_is_that_of_the_observations(run_folder: Path, dataset: Path) -> None:
    import torch

    found = examine(run_folder, dataset)
    got = found.dispersion["trained"]["observation"]["encoder"]
    assert (got.distance, got.rank) == pytest.approx(dispersion(torch.from_numpy(found.sample.state)))


def test_the_figures_are_plain_json_and_the_same_each_time(run_folder: Path, dataset: Path) -> None:
    one, again = (json.dumps(to_json(examine(run_folder, dataset)), allow_nan=False) for _ in range(2))
    assert one == again
    figures = json.loads(one)
    assert figures["dispersive_term"] == {"tap": "mid", "weight": 0.5, "trained": True}
    assert figures["pairs"]["features"]["contrast"]["averaged"]["mid"]["value"] > 0
    assert figures["gradients"]["trained"][-1]["layer"] == "all layers"


def test_a_file_that_was_changed_since_is_remarked_on(run_folder: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copy(dataset, tmp_path / "changed.hdf5")
    with h5py.File(tmp_path / "changed.hdf5", "a") as file:
        file["data/demo_0/actions"][0, 0] += 0.01
    assert any("SHA-256 differs" in remark for remark in examine(run_folder, tmp_path / "changed.hdf5").remarks)


def test_a_missing_dataset_is_a_users_error(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.hdf5; name it with --data"):
        examine(run_folder, tmp_path / "gone.hdf5")


def test_what_is_not_finite_becomes_null() -> None:
    @dataclasses.dataclass
    class Figures:
        values: tuple[float, ...]
        where: Path

    shown = plain({"f": Figures((1.0, float("nan"), float("inf")), Path("a/b")), 3: np.arange(2)})
    assert shown == {"f": {"values": [1.0, None, None], "where": "a/b"}, "3": [0, 1]}


def test_settings_that_show_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 windows"):
        Settings(windows=3)
    with pytest.raises(ValueError, match="0 < closest <= 1"):
        Settings(closest=0)
