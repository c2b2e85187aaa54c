"""The worlds that `d2ppo finetune` builds."""

from dataclasses import asdict

import pytest

from d2ppo_core.config import FinetuneConfig, from_mapping
from d2ppo_core.config.finetune import RandomisationConfig
from d2ppo_core.envs import AutoresetMode
from d2ppo_core.errors import ConfigError
from sim.batch.randomise import Randomisation
from sim.cli.finetune import worlds_of


def config(**randomisation: float) -> FinetuneConfig:
    env = {"num_envs": 3, "horizon_steps": 40, "threads": 1, "randomisation": randomisation}
    success = {"episodes": 2}
    return from_mapping(FinetuneConfig, {"name": "lift", "task": "lift", "env": env, "success": success})


def test_the_configuration_has_the_switches_of_the_worlds():
    assert asdict(RandomisationConfig()) == asdict(Randomisation())


def test_training_worlds_differ_as_configured_and_evaluation_keeps_to_robosuites():
    make = worlds_of(config(mass=0.2, gain=0.1), image_size_px=0)
    with make(AutoresetMode.SAME_STEP) as training, make(AutoresetMode.DISABLED) as evaluation:
        assert training.metadata["randomisation"] == {"mass": 0.2, "gain": 0.1}
        assert evaluation.metadata["randomisation"] == {}
        assert (training.num_envs, evaluation.num_envs) == (3, 2)
        assert (training.terminate_on_success, evaluation.terminate_on_success) == (False, True)
        assert training.metadata["horizon_steps"] == evaluation.metadata["horizon_steps"] == 40


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"mass": -0.1}, "env.randomisation.mass: wanted >= 0, got -0.1"),
        ({"action_latency_s": 0.2}, r"action_latency_s must be within \[0, 0.048\], got 0.2"),
        ({"masss": 0.1}, "env.randomisation: unknown key masss; allowed: mass"),
    ],
)
def test_worlds_that_cannot_be_are_refused(switches, message):
    with pytest.raises(ConfigError, match=message):
        worlds_of(config(**switches), image_size_px=0)
