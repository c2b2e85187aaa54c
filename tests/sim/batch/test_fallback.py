"""Without a compiler the same worlds run in NumPy."""

import numpy as np
import pytest

from d2ppo_core.errors import ConfigError, WorldError
from sim.batch.build import library
from sim.batch.env import BatchedEnv
from sim.batch.fallback import NumpyKernel
from sim.tasks import TASKS


@pytest.mark.parametrize("task", TASKS)
def test_numpy_and_native_kernels_agree(task):
    with BatchedEnv(task, 2, kernel="native") as native, BatchedEnv(task, 2, kernel="numpy") as slow:
        ends = []
        for env in (native, slow):
            env.reset(seed=4)
            for t in range(6):
                actions = np.random.default_rng(t).uniform(-1.2, 1.2, env.action_space.shape)
                env.step(actions)
            ends.append(env.states())
    np.testing.assert_allclose(ends[1], ends[0], atol=1e-9)


def test_delays_and_gains_mean_the_same_in_both():
    ends = []
    for kernel in ("native", "numpy"):
        with BatchedEnv("lift", 1, kernel=kernel) as env:
            env.reset(seed=0)
            env.kernel.set_controller(0, kp=120.0, damping_ratio=0.9, action_delay=7, observation_delay=5)
            for t in range(4):
                obs, *_ = env.step(np.random.default_rng(t).uniform(-1, 1, (1, 7)))
            ends.append(np.concatenate([obs["robot0_eef_pos"][0], env.states()[0]]))
    np.testing.assert_allclose(ends[1], ends[0], atol=1e-9)


def test_without_a_compiler_numpy_takes_over_and_says_so(monkeypatch, caplog):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with BatchedEnv("lift", 1) as env:
        assert isinstance(env.kernel, NumpyKernel)
    assert "no C++ compiler found" in caplog.text


def test_asking_for_the_native_kernel_without_a_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(WorldError, match=r"needs a C\+\+ compiler; install one with: sudo apt-get install g\+\+"):
        library()


def test_an_unknown_kernel_or_arithmetic_is_refused():
    with pytest.raises(ConfigError, match="auto, native or numpy, got 'cuda'"):
        BatchedEnv("lift", 1, kernel="cuda")
    with pytest.raises(ConfigError, match="fast or exact, got 'slow'"):
        BatchedEnv("lift", 1, arithmetic="slow")
