"""Objects as perception would report them: exact, or with the flaws that somebody asked for; the live policy sees
what training sees.
"""

import numpy as np
import pytest

from d2ppo_core.bundle import load_bundle
from d2ppo_core.errors import WorldError
from d2ppo_core.geometry import RigidState
from d2ppo_core.runtime.inference.observation import ArmSample, ObservationBuffer, Sightings
from sim.tasks import TASKS
from sim.tasks.taps import GeomGroups, read, resolve
from sim.world.sight import Flaws, ObjectSight, Report
from sim.world.world import World

EXACT = Flaws()


def newest(sight: ObjectSight, flaws: Flaws = EXACT) -> Report:
    sight.look(flaws)
    return sight.due()[-1]


def rest(world: World, milliseconds: int) -> None:
    for _ in range(milliseconds):
        world.step(np.zeros(7 * len(world.arms)))


@pytest.mark.parametrize("task", ["lift", "can", "square"])
def test_the_live_policy_sees_what_training_sees_of_the_same_world(task):
    world = World(TASKS[task], seed=3)
    rest(world, 300)
    groups = GeomGroups(world.model)
    taps = resolve(world.model, TASKS[task].observation_taps, groups)
    row = np.empty(taps.width)
    read(world.data, taps, groups.masks, row)
    wanted = TASKS[task].observe(taps.split(row))
    buffer = ObservationBuffer(load_bundle(f"{task}_state").manifest)
    report, hand = newest(ObjectSight(world)), RigidState(world.ee_pose(), np.zeros(6))
    width_m = float(np.abs(wanted["robot0_gripper_qpos"]).sum())
    sample = ArmSample(stamp_ns=world.time_ns, measured=hand, reference=hand, gripper_width_m=width_m, epoch=1)
    buffer.push_arm(sample)
    buffer.push_objects(Sightings(stamp_ns=report.stamp_ns, source="sim", poses=report.poses))
    seen = buffer.assemble(world.time_ns).inputs["state"][0]
    trained = np.concatenate([wanted[spec.key] for spec in load_bundle(f"{task}_state").manifest.state_observations])
    np.testing.assert_allclose(seen, trained, atol=5e-4)  # the arm's joints give the hand, not MuJoCo's bodies


def test_two_arms_see_what_training_sees_touches_and_all(pair_bundle):
    world = World(TASKS["transport"], seed=3)
    rest(world, 300)
    joint = int(world.model.joint("trash_joint0").qposadr[0])
    world.data.qpos[joint : joint + 2] = world.data.body("transport_trash_bin_root").xpos[:2]
    rest(world, 100)
    groups = GeomGroups(world.model)
    taps = resolve(world.model, TASKS["transport"].observation_taps, groups)
    row = np.empty(taps.width)
    read(world.data, taps, groups.masks, row)
    wanted = TASKS["transport"].observe(taps.split(row))
    manifest = load_bundle(pair_bundle).manifest
    buffer, report = ObservationBuffer(manifest), newest(ObjectSight(world))
    assert report.touching == {("trash", "trash_bin")}
    for arm, its in enumerate(world.arms):
        hand = RigidState(its.ee_pose(), np.zeros(6))
        width_m = float(np.abs(wanted[f"robot{arm}_gripper_qpos"]).sum())
        sample = ArmSample(stamp_ns=world.time_ns, measured=hand, reference=hand, gripper_width_m=width_m, epoch=1)
        buffer.push_arm(sample, arm)
    seen = Sightings(stamp_ns=report.stamp_ns, source="sim", poses=report.poses, touching=report.touching)
    buffer.push_objects(seen)
    state = buffer.assemble(world.time_ns).inputs["state"][0]
    trained = np.concatenate([wanted[spec.key] for spec in manifest.state_observations])
    assert trained[18 + 27 : 18 + 29].tolist() == [0.0, 1.0]
    np.testing.assert_allclose(state, trained, atol=5e-4)


def test_noise_is_as_large_as_was_asked_for_and_the_same_for_the_same_episode():
    world, flaws = World(TASKS["lift"], seed=5), Flaws(noise_m=0.004, noise_rad=0.05)
    truth = newest(ObjectSight(world)).poses["cube"]

    def draws() -> np.ndarray:
        sight = ObjectSight(world)
        return np.array([newest(sight, flaws).poses["cube"] for _ in range(400)])

    noisy = draws()
    assert (noisy[:, :3, 3] - truth[:3, 3]).std(axis=0) == pytest.approx([0.004] * 3, rel=0.2)
    turned = noisy[:, :3, :3] @ truth[:3, :3].T
    assert turned[:, 2, 1].std() == pytest.approx(0.05, rel=0.2)
    assert np.diag(newest(ObjectSight(world), flaws).covariance) == pytest.approx([1.6e-5] * 3 + [2.5e-3] * 3)
    np.testing.assert_array_equal(draws(), noisy)
    world.reset_objects(6)
    assert not np.array_equal(draws()[:, 0, 3] - newest(ObjectSight(world)).poses["cube"][0, 3], noisy[:, 0, 3])


def test_a_report_comes_after_its_delay_and_carries_the_instant_that_it_is_of():
    world = World(TASKS["lift"])
    sight = ObjectSight(world)
    sight.look(Flaws(delay_s=0.02))
    for _ in range(19):
        rest(world, 1)
        assert sight.due() == []
    rest(world, 1)
    (report,) = sight.due()
    assert report.stamp_ns == 0 and world.time_ns == report.due_ns == 20_000_000
    sight.look(Flaws(delay_s=0.02))
    world.reset_objects(1)
    rest(world, 30)
    sight.look(EXACT)
    assert [one.stamp_ns for one in sight.due()] == [world.time_ns], "of the episode before, nothing is reported"


def test_a_share_is_lost_and_a_hidden_object_is_left_out_while_the_others_are_seen():
    world = World(TASKS["transport"])
    sight = ObjectSight(world)
    assert sight.names == set(newest(sight).poses) == {"hammer", "trash", "lid", "target_bin", "trash_bin"}
    assert set(newest(sight, Flaws(hidden=frozenset({"lid"}))).poses) == sight.names - {"lid"}
    seen = sum(len(newest(sight, Flaws(lost_share=0.3)).poses) for _ in range(300))
    assert seen == pytest.approx(0.7 * 1500, rel=0.1)


def test_from_a_camera_an_object_is_hidden_by_what_stands_before_it():
    world = World(TASKS["lift"])
    sight = ObjectSight(world, "agentview")
    assert set(newest(sight).poses) == {"cube"}
    at = int(world.model.joint("cube_joint0").qposadr[0])
    qpos = world.data.qpos.copy()
    qpos[at : at + 3] = (-0.72, 0.0, 1.0)
    world.set_positions(qpos)
    assert newest(sight).poses == {}, "behind the robot's base"
    assert set(newest(ObjectSight(world)).poses) == {"cube"}
    with pytest.raises(WorldError, match="no camera 'attic' in this world; it has frontview"):
        ObjectSight(world, "attic")
