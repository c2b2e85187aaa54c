"""What perception reports becomes the observation `object`, or the object that is missing is named."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from d2ppo_core.bundle import ActionSpec, Manifest, ObservationSpec
from d2ppo_core.geometry import RigidState, transform_from
from d2ppo_core.objects import ObjectPart, parts_beside_the_hand
from d2ppo_core.runtime.inference.observation import ArmSample, MissingObservationError, ObservationBuffer, Sightings

MS = 1_000_000
BASE_M = np.array([-0.56, 0.0, 0.912])
PARTS = (*parts_beside_the_hand("cube"), ObjectPart(name="tray", what="position"))


def buffer() -> ObservationBuffer:
    specs = {"robot0_eef_pos": 3, "object": 13}
    base = transform_from(BASE_M, Rotation.identity())
    manifest = Manifest(
        name="tiny",
        task="own",
        observations=tuple(
            ObservationSpec(key=key, shape=(size,), dtype="float32", unit="m", frame="world")
            for key, size in specs.items()
        ),
        action=ActionSpec(),
        pred_horizon=4,
        action_horizon=4,
        num_denoising_steps=10,
        sampler="ddim",
        object_parts=PARTS,
        T_world_base=tuple(base.ravel().tolist()),
    )
    return ObservationBuffer(manifest)


def arm(stamp_ns: int, x_m: float = 0.5) -> ArmSample:
    state = RigidState(transform_from([x_m, 0.0, 0.3], Rotation.from_euler("x", np.pi)), np.zeros(6))
    return ArmSample(stamp_ns=stamp_ns, measured=state, reference=state, gripper_width_m=0.08, epoch=1)


def seen(stamp_ns: int, *names: str, source: str = "sim", yaw_rad: float = 0.3) -> Sightings:
    places = {"cube": [0.6, 0.1, -0.09], "tray": [0.4, -0.2, -0.1]}
    turned = Rotation.from_euler("z", yaw_rad)
    return Sightings(
        stamp_ns=stamp_ns, source=source, poses={name: transform_from(places[name], turned) for name in names}
    )


def test_the_observation_is_in_the_order_and_the_frames_of_the_recipe():
    memory = buffer()
    memory.push_arm(arm(0))
    memory.push_objects(seen(0, "tray", "cube", yaw_rad=0.3))
    state = memory.assemble(0).inputs["state"][0]
    cube = BASE_M + [0.6, 0.1, -0.09]
    hand = BASE_M + [0.5, 0.0, 0.3]
    wanted = [*hand, *cube, 0.0, 0.0, np.sin(0.15), np.cos(0.15), *(cube - hand), *(BASE_M + [0.4, -0.2, -0.1])]
    np.testing.assert_allclose(state, wanted, atol=1e-6)


@pytest.mark.parametrize("yaw_rad", [0.01, 3.0, 6.27])
def test_of_the_two_quaternions_of_an_object_it_is_the_one_that_training_starts_with(yaw_rad):
    memory = buffer()
    memory.push_arm(arm(0))
    memory.push_objects(seen(0, "tray", "cube", yaw_rad=yaw_rad))
    quat_xyzw = memory.assemble(0).inputs["state"][0, 6:10]
    np.testing.assert_allclose(quat_xyzw, [0.0, 0.0, np.sin(yaw_rad / 2), np.cos(yaw_rad / 2)], atol=1e-6)


def test_the_object_that_was_seen_longest_ago_decides_the_time():
    memory = buffer()
    for i in range(30):
        memory.push_arm(arm(i * 8 * MS, x_m=0.4 + 0.001 * i))
    memory.push_objects(seen(64 * MS, "cube"))
    memory.push_objects(seen(200 * MS, "tray"))
    observation = memory.assemble(232 * MS)
    assert observation.stamp_ns == observation.arms[0].stamp_ns == 64 * MS


def test_an_object_that_is_missing_or_out_of_sight_is_named():
    memory = buffer()
    memory.push_arm(arm(0))
    memory.push_objects(seen(0, "cube"))
    with pytest.raises(MissingObservationError, match="object tray was not seen yet"):
        memory.assemble(0)
    memory.push_objects(seen(0, "tray"))
    memory.assemble(0)
    for stamp_ns in range(0, 620 * MS, 20 * MS):
        memory.push_arm(arm(stamp_ns))
        memory.push_objects(seen(stamp_ns, "tray"))
    with pytest.raises(MissingObservationError, match="object cube is out of sight: last seen 600 ms ago"):
        memory.assemble(600 * MS)
    memory.push_objects(seen(600 * MS, "cube"))
    assert memory.assemble(600 * MS).stamp_ns == 600 * MS


def test_an_object_that_two_sources_report_is_of_none_until_one_of_them_stops():
    memory = buffer()
    memory.push_arm(arm(0))
    memory.push_objects(seen(0, "cube", "tray"))
    memory.push_objects(seen(0, "cube", source="markers of scene"))
    with pytest.raises(MissingObservationError, match="cube is reported by markers of scene and by sim; stop all but"):
        memory.assemble(0)
    memory.push_arm(arm(600 * MS))
    memory.push_objects(seen(600 * MS, "cube", "tray"))
    memory.assemble(600 * MS)


def test_what_nobody_asked_for_is_passed_over():
    memory = buffer()
    memory.push_arm(arm(0))
    memory.push_objects(Sightings(stamp_ns=0, source="sim", poses={"cup": np.eye(4)}))
    with pytest.raises(MissingObservationError, match="object cube was not seen yet"):
        memory.assemble(0)
    assert memory.object_names == ("cube", "tray")
