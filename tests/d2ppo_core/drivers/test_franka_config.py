"""What an operator is told before anything moves."""

import pytest

from d2ppo_core.drivers.franka import FrankaArm, FrankaConfig
from d2ppo_core.drivers.franka_config import has_realtime_kernel
from d2ppo_core.errors import ConfigError


def test_without_a_real_time_kernel_a_laboratory_is_warned_in_one_line():
    warning = FrankaArm(FrankaConfig(address="172.16.0.2", realtime="ignore")).warning
    assert "not a real-time one" in warning and "PREEMPT_RT" in warning and "\n" not in warning
    assert FrankaArm(FrankaConfig(address="127.0.0.2")).warning == "", "a simulated robot needs none"
    assert bool(FrankaArm(FrankaConfig(address="172.16.0.2")).warning) != has_realtime_kernel()


def test_parameters_out_of_range_are_refused_before_anything_moves():
    with pytest.raises(ConfigError, match=r"stiffness_n_m must lie in \[10.0, 3000.0\], got 1000000000"):
        FrankaConfig(address="127.0.0.1", stiffness_n_m=1e9)
    with pytest.raises(ConfigError, match="robot: wanted one of panda, fr3, got 'ur5'"):
        FrankaConfig(address="127.0.0.1", robot="ur5")
    with pytest.raises(ConfigError, match="client must be one of auto, franky, franka_rs, got 'libfranka'"):
        FrankaConfig(address="127.0.0.1", client="libfranka")
    with pytest.raises(ConfigError, match="realtime must be one of auto, enforce, ignore, got 'yes'"):
        FrankaConfig(address="127.0.0.1", realtime="yes")
