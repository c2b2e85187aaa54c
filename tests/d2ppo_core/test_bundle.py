"""Bundles: what is written is read again, what is damaged is refused by name."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from d2ppo_core.bundle import ActionSpec, Golden, Manifest, ObservationSpec, load_bundle, write_bundle
from d2ppo_core.errors import BundleError, OutputError


def manifest(**changes) -> Manifest:
    base = Manifest(
        name="tiny",
        task="lift",
        observations=(
            ObservationSpec(key="robot0_eef_pos", shape=(3,), dtype="float32", unit="m", frame="world"),
            ObservationSpec(key="robot0_gripper_qpos", shape=(2,), dtype="float32", unit="m", frame="gripper"),
            ObservationSpec(
                key="robot0_eye_in_hand_image", shape=(96, 96, 3), dtype="uint8", unit="", frame="", camera="wrist"
            ),
        ),
        action=ActionSpec(),
        pred_horizon=4,
        action_horizon=4,
        num_denoising_steps=10,
        sampler="ddim",
        provenance={"seed": 3, "success": np.float64(0.5)},
    )
    return replace(base, **changes)


GOLDEN = Golden({"state": np.zeros((1, 5), np.float32)}, np.ones((1, 4, 7), np.float32))


@pytest.fixture
def folder(tmp_path):
    write_bundle(tmp_path / "tiny", onnx=b"graph", manifest=manifest(), golden=GOLDEN)
    return tmp_path / "tiny"


def test_a_written_bundle_reads_back_equal(folder):
    bundle = load_bundle(folder)
    assert bundle.manifest == manifest()
    assert bundle.onnx_path.read_bytes() == b"graph"
    np.testing.assert_array_equal(bundle.golden.actions, GOLDEN.actions)
    np.testing.assert_array_equal(bundle.golden.inputs["state"], GOLDEN.inputs["state"])


def test_the_hash_follows_the_content(folder, tmp_path):
    same = write_bundle(tmp_path / "again", onnx=b"graph", manifest=manifest(), golden=GOLDEN)
    other = write_bundle(tmp_path / "other", onnx=b"graph2", manifest=manifest(), golden=GOLDEN)
    assert load_bundle(folder).hash == same != other


def test_graph_inputs_follow_from_the_observations():
    assert manifest().input_shapes == {"state": (1, 5), "noise": (1, 4, 7), "images": (1, 1, 96, 96, 3)}


@pytest.mark.parametrize("name", ["policy.onnx", "manifest.yaml", "golden.npz"])
def test_one_changed_byte_is_a_checksum_mismatch_that_names_the_file(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"checksum mismatch in bundle tiny: {name}"):
        load_bundle(folder)


def test_a_missing_file_is_named(folder):
    (folder / "golden.npz").unlink()
    with pytest.raises(BundleError, match=r"tiny misses golden\.npz"):
        load_bundle(folder)


def test_a_missing_bundle_lists_what_there_is(tmp_path):
    with pytest.raises(BundleError, match="no bundle at '.*nowhere'; give a bundle folder or one of"):
        load_bundle(tmp_path / "nowhere")


def test_a_foreign_format_is_refused(folder):
    raw = yaml.safe_load((folder / "manifest.yaml").read_text())
    _rewrite(folder, {**raw, "format_version": 99})
    with pytest.raises(BundleError, match="has format 99, this program reads 1"):
        load_bundle(folder)


def test_unknown_and_missing_manifest_keys_are_refused(folder):
    raw = yaml.safe_load((folder / "manifest.yaml").read_text())
    _rewrite(folder, {**raw, "surprise": 1})
    with pytest.raises(BundleError, match=r"unknown keys \['surprise'\]"):
        load_bundle(folder)
    raw.pop("pred_horizon")
    _rewrite(folder, raw)
    with pytest.raises(BundleError, match="incomplete.*pred_horizon"):
        load_bundle(folder)


def test_a_manifest_with_text_for_a_number_is_refused(folder):
    raw = yaml.safe_load((folder / "manifest.yaml").read_text())
    raw["T_world_base"] = ["left", *raw["T_world_base"][1:]]
    _rewrite(folder, raw)
    with pytest.raises(BundleError, match="manifest of bundle .* T_world_base\\[0\\] must be a number, got 'left'"):
        load_bundle(folder)


def test_writing_replaces_a_bundle_whole(folder):
    write_bundle(folder, onnx=b"newer", manifest=manifest(name="newer"), golden=GOLDEN)
    assert load_bundle(folder).manifest.name == "newer"
    assert not [p for p in folder.parent.iterdir() if p.name.startswith(".")], "staging was left behind"


@pytest.mark.parametrize("extra", ["notes.txt", "checkpoint.pt"])
def test_a_folder_with_anything_but_a_bundle_is_not_replaced(folder, extra):
    (folder / extra).write_text("precious")
    with pytest.raises(OutputError, match=f"is not just a bundle: it holds {min(extra, 'checksums.yaml')}"):
        write_bundle(folder, onnx=b"newer", manifest=manifest(), golden=GOLDEN)
    assert (folder / extra).read_text() == "precious" and load_bundle(folder).onnx_path.read_bytes() == b"graph"


def test_a_manifest_of_something_else_makes_no_bundle(tmp_path):
    for name in ("manifest.yaml", "checksums.yaml"):
        (tmp_path / name).write_text("name: mine\n")
    with pytest.raises(OutputError, match="is not just a bundle"):
        write_bundle(tmp_path, onnx=b"newer", manifest=manifest(), golden=GOLDEN)


def test_contradictions_are_refused_when_they_are_made():
    with pytest.raises(BundleError, match="action_horizon must lie in 1..pred_horizon=4, got 5"):
        manifest(action_horizon=5)
    with pytest.raises(BundleError, match="exactly the images"):
        ObservationSpec(key="x", shape=(3,), dtype="float32", unit="", frame="", camera="wrist")
    with pytest.raises(BundleError, match="coupling needs 36 numbers"):
        ActionSpec(coupling=(1.0,))
    with pytest.raises(BundleError, match="must be osc_delta or ee_absolute, got joint"):
        ActionSpec(representation="joint")
    with pytest.raises(BundleError, match="ee_absolute actions are in frame world, got base"):
        ActionSpec(representation="ee_absolute", dim=10)
    with pytest.raises(BundleError, match="ee_absolute actions of one arm have 10 entries, got 7"):
        ActionSpec(representation="ee_absolute", frame="world")
    with pytest.raises(BundleError, match=r"action scales must be positive, got 0.05 m and 0.0 rad"):
        ActionSpec(rotation_scale_rad=0.0)


def test_a_bundle_of_two_arms_has_an_action_and_a_base_for_each(folder, tmp_path, pair_bundle):
    pair = load_bundle(pair_bundle).manifest
    assert (pair.num_arms, pair.action.dim, pair.action.arm_dim) == (2, 14, 7) and pair.bases.shape == (2, 4, 4)
    assert pair.input_shapes == {"state": (1, 59), "noise": (1, 8, 14)}
    np.testing.assert_allclose(pair.bases[:, 1, 3], [-0.81, 0.81])
    assert manifest().num_arms == 1 and manifest().bases.shape == (1, 4, 4)


def test_what_is_not_of_so_many_arms_is_refused_in_one_line(pair_bundle):
    pair = load_bundle(pair_bundle).manifest
    with pytest.raises(BundleError, match="osc_delta actions of 2 arms have 14 entries, got 7"):
        ActionSpec(num_arms=2)
    with pytest.raises(BundleError, match=r"num_arms must lie in 1..8, got 0"):
        ActionSpec(num_arms=0, dim=0)
    with pytest.raises(BundleError, match=r"T_world_base needs 16 numbers .* for each of 2 arms, got 16"):
        replace(pair, T_world_base=pair.T_world_base[:16])
    with pytest.raises(BundleError, match="the actions are of one arm, but robot1 is observed"):
        replace(pair, action=ActionSpec(), T_world_base=pair.T_world_base[:16])


def test_goals_are_a_second_representation_and_deltas_are_what_older_manifests_mean(folder, tmp_path):
    goals = manifest(action=ActionSpec(representation="ee_absolute", frame="world", dim=10))
    assert goals.input_shapes["noise"] == (1, 4, 10)
    write_bundle(tmp_path / "goals", onnx=b"graph", manifest=goals, golden=GOLDEN)
    assert load_bundle(tmp_path / "goals").manifest == goals
    raw = yaml.safe_load((folder / "manifest.yaml").read_text())
    del raw["action"]["frame"]
    _rewrite(folder, raw)
    assert load_bundle(folder).manifest.action == ActionSpec()


def _rewrite(folder, raw) -> None:
    """Change the manifest and its checksum, as someone would who edits by hand and knows how."""
    import hashlib

    (folder / "manifest.yaml").write_text(yaml.safe_dump(raw))
    sums = yaml.safe_load((folder / "checksums.yaml").read_text())
    sums["manifest.yaml"] = hashlib.sha256((folder / "manifest.yaml").read_bytes()).hexdigest()
    (folder / "checksums.yaml").write_text(yaml.safe_dump(sums))
