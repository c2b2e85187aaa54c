"""Randomisation: off by default, reproducible, recorded, and each switch does what it says."""

import numpy as np
import pytest

from d2ppo_core.config.randomisation import RandomisationConfig
from d2ppo_core.errors import ConfigError
from sim.batch.env import BatchedEnv

EVERYTHING = RandomisationConfig(
    mass=0.2, friction=0.3, damping=0.2, gain=0.1, action_latency_s=0.02, observation_latency_s=0.02,
    camera_position_m=0.01, camera_rotation_rad=0.02, light=0.3, colour=0.2,
)  # fmt: skip


def rollout(task, randomisation, images=False):
    with BatchedEnv(task, 2, randomisation=randomisation, images=images, image_size_px=48) as env:
        env.reset(seed=0)
        starts = env.states()
        for t in range(5):
            obs, *_ = env.step(np.random.default_rng(t).uniform(-1, 1, env.action_space.shape))
        return starts, env.states(), obs


def test_nothing_is_randomised_unless_asked_for():
    with BatchedEnv("lift", 1) as env:
        assert env.metadata["randomisation"] == {}
    np.testing.assert_array_equal(rollout("can", None)[1], rollout("can", RandomisationConfig())[1])


def test_what_is_on_is_recorded():
    with BatchedEnv("lift", 1, randomisation=RandomisationConfig(mass=0.2, light=0.1)) as env:
        assert env.metadata["randomisation"] == {"mass": 0.2, "light": 0.1}


def test_equal_seeds_repeat():
    one, other = rollout("transport", EVERYTHING), rollout("transport", EVERYTHING)
    np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize("switch", [{"mass": 0.3}, {"damping": 0.5}, {"gain": 0.3}, {"action_latency_s": 0.04}])
def test_each_switch_changes_the_motion_and_not_the_start(switch):
    plain, changed = rollout("lift", None), rollout("lift", RandomisationConfig(**switch))
    np.testing.assert_array_equal(plain[0], changed[0])
    assert np.abs(plain[1] - changed[1]).max() > 1e-6


def test_an_old_observation_leaves_the_motion_alone():
    plain, late = rollout("lift", None), rollout("lift", RandomisationConfig(observation_latency_s=0.048))
    np.testing.assert_array_equal(plain[1], late[1])
    assert np.abs(plain[2]["robot0_eef_pos"] - late[2]["robot0_eef_pos"]).max() > 1e-4


@pytest.mark.parametrize(
    "switch", [{"camera_position_m": 0.02}, {"camera_rotation_rad": 0.05}, {"light": 0.5}, {"colour": 0.5}]
)
def test_pictures_change_and_the_motion_does_not(switch):
    plain, changed = rollout("lift", None, images=True), rollout("lift", RandomisationConfig(**switch), images=True)
    np.testing.assert_array_equal(plain[1], changed[1])
    one, other = (result[2]["robot0_eye_in_hand_image"].astype(int) for result in (plain, changed))
    assert np.abs(one - other).mean() > 0.5


@pytest.mark.parametrize(("switch", "field"), [("mass", "body_mass"), ("friction", "geom_friction")])
def test_parameters_differ_by_as_much_as_was_asked_for(switch, field):
    with BatchedEnv("square", 40, randomisation=RandomisationConfig(**{switch: 0.2})) as env:
        env.reset(seed=0)
        wanted = getattr(env.model, field)
        index = env.model.body("SquareNut_main").id if switch == "mass" else env.model.body("SquareNut_main").geomadr[0]
        values = env.kernel.parameters[:, env.layout.table.columns[field]].reshape(40, *wanted.shape)[:, index]
        factors = values / wanted[index]
    assert 0.8 <= factors.min() < 0.85 and 1.15 < factors.max() <= 1.2


def test_ranges_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match=r"mass: wanted within \[0, 0.9\], got -1"):
        RandomisationConfig(mass=-1.0)
    with pytest.raises(ConfigError, match=r"action_latency_s: wanted within \[0, 0.048\], got 0.1"):
        RandomisationConfig(action_latency_s=0.1)
