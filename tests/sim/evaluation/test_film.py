"""Episodes before a screen: a film, or a viewer that is not there."""

from pathlib import Path
from types import SimpleNamespace

import imageio.v3 as iio
import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("robosuite", reason="robosuite is not installed (pip install --no-deps robosuite==1.5.2)")

from d2ppo_core.data.episodes import EpisodeWriter
from d2ppo_core.errors import ConfigError, DataError, OutputError, WorldError
from sim.cli.data import data
from sim.cli.play import play as command
from sim.evaluation.film import Film, Viewer, expert_episode, play, policy_episode, recorded_episode
from sim.evaluation.playback import play_back_episode, playback
from sim.experts.recording import Recording, attempt
from sim.robosuite.env import RobosuiteEnv


@pytest.fixture(scope="module")
def env():
    with RobosuiteEnv("lift") as env:
        yield env


@pytest.fixture(scope="module")
def episode():
    recording = Recording(task="lift", seed=3, images=False)
    with recording.studio() as studio:
        episode = attempt(studio, recording, 0)
    assert episode is not None
    return episode


@pytest.fixture(scope="module")
def recorded(env, episode, tmp_path_factory):
    path = tmp_path_factory.mktemp("play") / "lift.hdf5"
    with EpisodeWriter(path, env_args=env.env_args()) as writer:
        writer.append(episode)
        spoilt = np.array(episode.actions)
        spoilt[:, 6] = -1.0  # never grasps
        writer.append(type(episode)(**{**vars(episode), "actions": spoilt}))
    return path


def states_seen(env, source):
    states = []
    screen = SimpleNamespace(show=lambda env: states.append(env.state()))
    return play(env, source, screen), np.array(states)


def test_a_recorded_episode_passes_through_its_states(env, episode):
    outcome, states = states_seen(env, recorded_episode(env, episode))
    assert (outcome.success, outcome.steps) == (True, len(episode))
    np.testing.assert_allclose(states, episode.states, atol=1e-9)


def test_the_plain_expert_solves_and_says_when(env):
    outcome, states = states_seen(env, expert_episode(env, "lift", 5, None))
    assert outcome.success and 20 < outcome.steps <= len(states) - 1


def test_a_policy_that_stands_still_does_not_solve_and_sees_an_observation_per_chunk(env):
    calls = []

    def still(observation):
        calls.append(observation["robot0_eef_pos"])
        return np.zeros((4, 7))

    outcome, states = states_seen(env, policy_episode(env, still, 0, action_horizon=4, images=False, max_steps=12))
    assert (outcome.success, outcome.steps, len(states), len(calls)) == (False, 12, 13, 3)


def test_actions_played_back_repeat_the_episode(env, episode):
    success, error = play_back_episode(env, episode)
    assert success and error < 1e-6


def test_demonstrations_that_do_not_repeat_are_told_apart(recorded):
    results = list(playback(recorded))
    assert [(result.name, result.success, result.total) for result in results] == [
        ("demo_0", True, 2),
        ("demo_1", False, 2),
    ]


def test_the_playback_command_names_what_failed(recorded):
    good = CliRunner().invoke(data, ["playback", str(recorded), "--num", "1"])
    assert good.exit_code == 0 and "all 1 demonstrations solved again" in good.output
    bad = CliRunner().invoke(data, ["playback", str(recorded)])
    assert isinstance(bad.exception, DataError) and "1 solved again, but not demo_1" in str(bad.exception)


def test_the_command_films_a_recorded_episode(recorded, episode, tmp_path):
    film = tmp_path / "film.mp4"
    arguments = ["lift", "--episode", str(recorded), "--film", "--size", "64", "48", "--out", str(film)]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.exception
    assert f"solved after {len(episode)} control steps" in result.output
    pictures = iio.imread(film)
    assert pictures.shape == (len(episode), 48, 64, 3)
    assert pictures[0].std() > 10, "the first picture is empty"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["juggling"], ConfigError, "unknown task 'juggling'; known are lift"),
        (["lift", "--bundle", "a", "--episode", "b"], ConfigError, "got both"),
        (["can", "--episode", "{file}", "--film"], DataError, "must hold PickPlaceCan demonstrations, got Lift"),
        (["lift", "--episode", "{file}", "--demo", "demo_7", "--film"], DataError, "no 'demo_7'; it holds demo_0"),
        (["lift", "--episode", "{file}", "--film", "--camera", "moon"], WorldError, "no camera 'moon' in this world"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(recorded, tmp_path, arguments, error, message):
    arguments = [argument.format(file=recorded) for argument in arguments]
    result = CliRunner().invoke(command, [*arguments, "--out", str(tmp_path / "film.mp4")])
    assert isinstance(result.exception, error), result.exception
    assert message in str(result.exception)


@pytest.mark.parametrize("wish", [["--demo", "demo_7"], ["--camera", "moon"]])
def test_a_wish_that_cannot_be_met_leaves_the_last_film(recorded, tmp_path, wish):
    film = tmp_path / "film.mp4"
    arguments = ["lift", "--episode", str(recorded), "--film", "--size", "64", "48", "--out", str(film)]
    assert CliRunner().invoke(command, arguments).exit_code == 0
    before = film.read_bytes()
    assert CliRunner().invoke(command, [*arguments, *wish]).exit_code != 0
    assert film.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_film_does_not_take_the_place_of_what_is_no_film(recorded, tmp_path):
    (tmp_path / "film.mp4").write_text("precious")
    arguments = ["lift", "--episode", str(recorded), "--film", "--out", str(tmp_path / "film.mp4")]
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, OutputError) and "it is no film" in str(result.exception)
    assert (tmp_path / "film.mp4").read_text() == "precious"


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        (command, ["lift", "--num", "0"]),
        (command, ["lift", "--num", "-1"]),
        (command, ["lift", "--seed", "-1"]),
        (command, ["lift", "--skill", "2"]),
        (command, ["lift", "--size", "0", "48"]),
        (data, ["playback", "{file}", "--num", "-1"]),
        (data, ["playback", "{file}", "--num", "0"]),
    ],
)
def test_numbers_that_mean_nothing_are_refused_before_anything_is_done(recorded, tmp_path, verb, arguments):
    out = [] if verb is data else ["--film", "--out", str(tmp_path / "film.mp4")]
    result = CliRunner().invoke(verb, [argument.format(file=recorded) for argument in arguments] + out)
    assert result.exit_code == 2 and "is not in the range" in result.output, result.output
    assert not list(tmp_path.iterdir())


def test_no_demonstrations_are_not_all_of_them(recorded):
    with pytest.raises(ConfigError, match="must be positive, got -1"):
        next(playback(recorded, num=-1))


def test_the_viewer_draws_each_step_at_the_robots_pace(env, monkeypatch):
    window = SimpleNamespace(syncs=0, closed=False)
    window.sync = lambda: setattr(window, "syncs", window.syncs + 1)
    window.close = lambda: setattr(window, "closed", True)
    slept = []
    monkeypatch.setattr("sim.evaluation.film.time.sleep", slept.append)
    viewer = Viewer(lambda *args, **kwargs: window)
    for _ in range(3):
        viewer.show(env)
    viewer.close()
    assert (window.syncs, window.closed) == (3, True)
    assert sum(slept) > 0.1


def test_without_a_display_the_error_offers_a_film(env):
    def no_display(*args, **kwargs):
        raise RuntimeError("X11: no display")

    with pytest.raises(WorldError, match=r"wants a display \(X11: no display\); make a film instead"):
        Viewer(no_display).show(env)


def test_a_film_closes_without_a_picture(tmp_path: Path):
    Film(tmp_path / "none.mp4", camera="frontview", width=64, height=48).close()
    assert not (tmp_path / "none.mp4").exists(), "an empty film"
