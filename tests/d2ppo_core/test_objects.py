"""The observation `object` is put together by a recipe: sizes, orders and frames, against scipy's rotations."""

from dataclasses import asdict

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.bundle import load_bundle
from d2ppo_core.errors import BundleError
from d2ppo_core.manifest import manifest_from
from d2ppo_core.objects import (
    OBJECT_PARTS,
    ObjectPart,
    Poses,
    names_in,
    object_state,
    parts_beside_the_hand,
    parts_in_the_hand,
    recipe_from,
    recipe_of,
    size_of,
)


def random_poses(rng: np.random.Generator, shape: tuple[int, ...]) -> Poses:
    quat = rng.standard_normal((*shape, 4))
    return Poses(rng.uniform(-1, 1, (*shape, 3)), quat / np.linalg.norm(quat, axis=-1, keepdims=True))


def rotation(poses: Poses) -> Rotation:
    return Rotation.from_quat(poses.quat_wxyz, scalar_first=True)


def test_every_part_is_in_its_frame_and_place():
    rng = np.random.default_rng(4)
    cube, hand = random_poses(rng, (50,)), random_poses(rng, (50,))
    beside = object_state(parts_beside_the_hand("cube"), {"cube": cube}, hand)
    assert beside.shape == (50, 10)
    np.testing.assert_array_equal(beside[:, :3], cube.position_m)
    np.testing.assert_array_equal(beside[:, 3:7], np.roll(cube.quat_wxyz, -1, axis=-1))
    np.testing.assert_array_equal(beside[:, 7:], cube.position_m - hand.position_m)
    within = object_state(parts_in_the_hand("cube"), {"cube": cube}, hand)
    assert within.shape == (50, 14)
    np.testing.assert_allclose(within[:, :3], rotation(hand).inv().apply(cube.position_m - hand.position_m), atol=1e-12)
    relative = (rotation(hand).inv() * rotation(cube)).as_quat(canonical=True)
    np.testing.assert_allclose(within[:, 3:7], relative, atol=1e-12)
    np.testing.assert_array_equal(within[:, 7:], beside[:, :7])


def test_two_objects_come_in_the_order_of_the_recipe_and_leading_axes_stay():
    rng = np.random.default_rng(5)
    things = {name: random_poses(rng, (3, 2)) for name in ("bolt", "nut")}
    parts = (*parts_beside_the_hand("nut")[:1], ObjectPart(name="bolt", what="position"), *parts_in_the_hand("nut"))
    state = object_state(parts, things, random_poses(rng, (3, 2)))
    assert state.shape == (3, 2, size_of(parts)) and names_in(parts) == ("nut", "bolt")
    np.testing.assert_array_equal(state[..., :6], np.concatenate([things[n].position_m for n in ("nut", "bolt")], -1))


def test_transports_recipe_has_points_of_things_touches_and_both_hands():
    rng = np.random.default_rng(6)
    parts = OBJECT_PARTS["transport"]
    things = {name: random_poses(rng, ()) for name in names_in(parts)}
    hands = [random_poses(rng, ()) for _ in range(2)]
    state = object_state(parts, things, *hands, touching={("trash", "trash_bin")})
    assert state.shape == (41,) and list(things) == ["hammer", "trash", "lid", "target_bin", "trash_bin"]
    lid, floor = things["lid"], things["target_bin"]
    handle_m = lid.position_m + rotation(lid).apply([0.0, 0.0, 0.005])
    np.testing.assert_allclose(state[14:17], handle_m, atol=1e-12)
    np.testing.assert_allclose(state[21:24], floor.position_m + rotation(floor).apply([0.0, 0.0, -0.07]), atol=1e-12)
    np.testing.assert_allclose(state[3:7], rotation(things["hammer"]).as_quat(canonical=True), atol=1e-12)
    assert state[27:29].tolist() == [0.0, 1.0]
    np.testing.assert_allclose(state[32:35], handle_m - hands[0].position_m, atol=1e-12)
    np.testing.assert_allclose(state[38:], things["trash"].position_m - hands[1].position_m, atol=1e-12)


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ({"what": "touch"}, "exactly a touch names an other object, got ''"),
        ({"what": "position", "other": "tray"}, "exactly a touch names an other object, got 'tray'"),
        ({"what": "position", "arm": -1}, "wanted an arm >= 0"),
        ({"what": "quat_xyzw", "point_m": (0.0, 0.0, 1.0)}, "for a position, a point_m of 3 numbers"),
        ({"what": "position", "point_m": (0.0, 1.0)}, "for a position, a point_m of 3 numbers"),
    ],
)
def test_a_part_that_contradicts_itself_is_refused(part, line):
    with pytest.raises(BundleError, match=f"object cube: .*{line}"):
        ObjectPart(name="cube", **part)


@pytest.mark.parametrize(("what", "frame"), [("colour", "world"), ("quat_xyzw", "at_hand"), ("position", "camera")])
def test_a_part_that_nobody_could_compute_is_refused(what, frame):
    with pytest.raises(BundleError, match=f"object cube: no part {what} in frame {frame}; there are position in world"):
        ObjectPart(name="cube", what=what, frame=frame)


def test_a_recipe_is_taken_from_the_task_where_a_bundle_has_none_and_the_size_fits():
    lift = load_bundle("lift_state").manifest
    assert lift.object_parts == () and lift.object_recipe == OBJECT_PARTS["lift"]
    for task in ("can", "square"):
        named = load_bundle(f"{task}_state").manifest
        assert named.object_parts == named.object_recipe == OBJECT_PARTS[task]
    assert load_bundle("lift_image").manifest.object_recipe == ()
    assert recipe_of("lift", 11) == recipe_of("fold", 10) == ()


def plain_manifest(parts: list[dict[str, str]]) -> dict[str, object]:
    spec = {"key": "object", "shape": [3], "dtype": "float32", "unit": "m", "frame": "world"}
    horizons = {"pred_horizon": 4, "action_horizon": 4, "num_denoising_steps": 0}
    return {"name": "own", "task": "own", "observations": [spec], "action": {}, "sampler": "gaussian", **horizons,
            "object_parts": parts}  # fmt: skip


def test_a_manifest_carries_the_recipe_of_any_task():
    manifest = manifest_from(plain_manifest([{"name": "peg", "what": "position", "frame": "hand"}]))
    assert manifest.object_recipe == (ObjectPart(name="peg", what="position", frame="hand"),)


@pytest.mark.parametrize(
    ("part", "line"),
    [
        (
            {"name": "peg", "what": "quat_xyzw"},
            r"object_parts make .* of shape \(4,\), the manifest has \[\(3,\)\]",
        ),
        ({"name": "peg", "what": "smell"}, "object_parts.*object peg: no part smell"),
        ({"name": "", "what": "position"}, "needs the name of an object"),
        ({"name": "peg"}, "object_parts.* misses what"),
    ],
)
def test_a_recipe_that_contradicts_its_manifest_is_refused_in_one_line(part, line):
    with pytest.raises(BundleError, match=line):
        manifest_from(plain_manifest([part]))


def test_a_recipe_comes_out_of_a_record_as_it_went_in():
    parts = (*parts_beside_the_hand("red"), *parts_in_the_hand("green"))
    assert recipe_from([asdict(part) for part in parts]) == parts
    assert recipe_from(None) == recipe_from([]) == ()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([{"name": "red"}], "object_parts: wanted name, what and frame of each part, got"),
        ([{"name": "red", "what": "position", "colour": 1}], "object_parts: wanted name, what and frame of each part"),
        ([{"name": "red", "what": "taste"}], "object red: no part taste in frame world"),
    ],
)
def test_a_record_that_is_no_recipe_is_refused(record, message):
    with pytest.raises(BundleError, match=message):
        recipe_from(record)
