"""Recording in the real robosuite: what comes out replays, repeats and goes on after an interruption."""

import multiprocessing
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("robosuite", reason="robosuite is not installed (pip install --no-deps robosuite==1.5.2)")

from d2ppo_core.data.episodes import EpisodeReader
from d2ppo_core.errors import ConfigError, DataError, WorldError
from sim.cli.demos import demos
from sim.experts.recording import Recording, attempt, record
from sim.robosuite.env import RobosuiteEnv
from sim.tasks import arm_limits

PLAIN = Recording(task="lift", seed=3, images=False)
PICTURES = Recording(task="lift", seed=3, image_size_px=48)


@pytest.fixture(scope="module")
def env():
    with RobosuiteEnv("lift", image_size_px=48) as env:
        yield env


@pytest.fixture(scope="module")
def episode():
    """One demonstration with pictures."""
    with PICTURES.studio() as studio:
        episode = attempt(studio, PICTURES, 0)
    assert episode is not None
    return episode


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two demonstrations, recorded by two processes."""
    path = tmp_path_factory.mktemp("demos") / "lift.hdf5"
    assert list(record(PLAIN, path, num_demos=2, num_workers=2))[-1].demos == 2
    return path


def assert_same_demonstrations(left, right, count):
    with EpisodeReader(left) as one, EpisodeReader(right) as other:
        assert len(one) == len(other) == count
        for a, b in zip(one.episodes(), other.episodes(), strict=True):
            np.testing.assert_array_equal(a.states, b.states)
            np.testing.assert_array_equal(a.actions, b.actions)


def test_a_demonstration_ends_solved_and_has_bounded_smooth_labels(episode):
    assert 30 <= len(episode) <= 300
    assert episode.dones[-1] == 1 and episode.dones[0] == 0
    assert np.abs(episode.actions).max() <= 1 and np.abs(episode.expert_actions).max() <= 1
    assert set(np.unique(episode.expert_actions[:, 6])) == {-1.0, 1.0}
    assert not np.array_equal(episode.actions, episode.expert_actions)
    assert episode.labels is episode.expert_actions


def test_actions_replay_to_the_recorded_states(env, episode):
    env.reset_to(episode.model_xml, episode.states[0])
    for action, state in zip(episode.actions[:-1], episode.states[1:], strict=True):
        env.step(action)
        np.testing.assert_allclose(env.state(), state, atol=1e-6)


def test_observations_belong_to_their_states(env, episode):
    cube = env.raw.sim.model.get_joint_qpos_addr("cube_joint0")[0]
    for t in (0, len(episode) - 1):
        np.testing.assert_allclose(episode.observations["object"][t, :3], episode.states[t, 1 + cube : 4 + cube])
    np.testing.assert_array_equal(
        episode.observations["robot0_eef_pos"][1:], episode.next_observations["robot0_eef_pos"][:-1]
    )


def test_batched_worlds_record_what_robosuite_does(episode):
    """The same episode and style; robosuite's expert sees positions a substep old, which is a millimetre at most."""
    recording = replace(PICTURES, worlds="batched")
    with recording.studio() as studio:
        other = attempt(studio, recording, 0)
    assert other.attributes == episode.attributes and abs(len(other) - len(episode)) <= 2
    assert other.observations.keys() == episode.observations.keys()
    np.testing.assert_allclose(other.states[0], episode.states[0], atol=1e-6)
    both = slice(min(len(other), len(episode)))
    for key, tolerance in (("robot0_eef_pos", 5e-3), ("object", 2e-2)):
        assert other.observations[key].dtype == np.float64
        np.testing.assert_allclose(other.observations[key][both], episode.observations[key][both], atol=tolerance)
    first = [e.observations["robot0_eye_in_hand_image"][0].astype(int) for e in (other, episode)]
    assert np.abs(first[0] - first[1]).mean() < 0.5


def test_where_arm_limits_are_kept_a_demonstration_beyond_them_is_not(episode, monkeypatch):
    keeping = replace(PLAIN, arm_limits=True)
    with keeping.studio() as studio:
        kept = attempt(studio, keeping, 0)
        assert kept is not None
        np.testing.assert_array_equal(kept.states, episode.states)
        reached = kept.states[:, 1:8].max(axis=0)
        monkeypatch.setattr(arm_limits, "HIGH_RAD", np.where(np.arange(7) == 3, reached - 1e-6, reached))
        assert attempt(studio, keeping, 0) is None


def test_worlds_of_another_kind_do_not_continue_a_file(recorded):
    with pytest.raises(DataError, match="worlds None not 'batched'"):
        list(record(replace(PLAIN, worlds="batched"), recorded, num_demos=3))


def test_the_wrist_camera_sees_the_red_cube_from_start_to_grasp(episode):
    pictures = episode.observations["robot0_eye_in_hand_image"].astype(int)
    assert pictures.shape[1:] == (48, 48, 3)
    red = (pictures[..., 0] > 120) & (pictures[..., 1] < 100) & (pictures[..., 2] < 120)
    before_grasp = episode.actions[:, 6] < 0
    share = red[before_grasp].mean(axis=(1, 2))
    assert share[0] > 0.002, "the cube is not in the first picture"
    assert share.max() > 5 * share[0], "the cube does not grow while the hand approaches"


def test_one_process_records_the_same_as_two(recorded, tmp_path):
    list(record(PLAIN, tmp_path / "one.hdf5", num_demos=2, num_workers=1))
    assert_same_demonstrations(recorded, tmp_path / "one.hdf5", 2)


def test_an_interrupted_recording_goes_on_where_it_stopped(recorded, tmp_path):
    path = tmp_path / "resumed.hdf5"
    interrupted = record(PLAIN, path, num_demos=2)
    assert next(interrupted).demos == 1
    interrupted.close()
    assert [progress.attempts for progress in record(PLAIN, path, num_demos=2)] == [2]
    assert_same_demonstrations(recorded, path, 2)


def test_a_dead_worker_ends_the_recording_with_a_clear_error_and_keeps_what_was_written(tmp_path):
    path = tmp_path / "killed.hdf5"
    recording = record(PLAIN, path, num_demos=50)
    assert next(recording).demos == 1
    for worker in multiprocessing.active_children():
        worker.kill()
    with pytest.raises(WorldError, match="worker died.*run the command again"):
        list(recording)
    with EpisodeReader(path) as reader:
        assert len(reader) >= 1


RECORD_UNTIL_FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
from d2ppo_core.cli.main import main
options = ["--num", "9", "--seed", "3", "--no-images", "--workers", "1", "--out", sys.argv[1]]
sys.argv = ["d2ppo", "demos", "lift", *options]
main()
"""


def test_a_full_disk_ends_the_recording_with_one_line_and_keeps_what_was_written(recorded, tmp_path):
    path = tmp_path / "full.hdf5"
    limit = recorded.stat().st_size + 2**18 + 2**13  # room for two and what is reserved, not for three
    command = [sys.executable, "-c", RECORD_UNTIL_FULL, str(path), str(limit)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "cannot write demo_2" in result.stderr.splitlines()[-1]
    assert "the 2 demonstrations before it are safe" in result.stderr.splitlines()[-1]
    assert_same_demonstrations(recorded, path, 2)


def test_without_robosuite_the_error_says_how_to_install_it():
    script = (
        "import sys; sys.modules['robosuite'] = None; from sim.robosuite.env import RobosuiteEnv; RobosuiteEnv('lift')"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "WorldError: robosuite cannot be imported" in result.stderr
    assert result.stderr.rstrip().endswith("tools/requirements-no-deps.txt")


def test_a_full_file_is_left_alone_and_one_of_other_settings_refused(recorded):
    assert list(record(PLAIN, recorded, num_demos=2)) == []
    with pytest.raises(DataError, match="seed 3 not 4"):
        list(record(Recording(task="lift", seed=4, images=False), recorded, num_demos=2))


def test_the_command_reports_what_is_there(recorded):
    result = CliRunner().invoke(demos, ["lift", "--num", "2", "--seed", "3", "--no-images", "--out", str(recorded)])
    assert result.exit_code == 0, result.output
    assert "already holds 2 demonstrations" in result.output


def test_env_args_let_robomimic_build_the_environment_again(recorded):
    with EpisodeReader(recorded, env_name="Lift") as reader:
        assert reader.env_args["type"] == 1
        assert reader.env_args["env_kwargs"]["controller_configs"]["body_parts"]["right"]["type"] == "OSC_POSE"
    with h5py.File(recorded) as file:
        assert "robot0_eye_in_hand_image" not in file["data/demo_0/obs"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "juggling"}, "unknown task 'juggling'; known are lift"),
        ({"task": "lift", "skill_min": 0.9, "skill_max": 0.5}, r"range within \[0, 1\], got \[0.9, 0.5\]"),
        ({"task": "lift", "image_size_px": 0}, "at least 8 pixels"),
        ({"task": "lift", "worlds": "moon"}, "worlds called robosuite or batched, got 'moon'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Recording(**settings)
