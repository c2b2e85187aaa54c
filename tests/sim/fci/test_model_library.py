"""The library that a Panda hands out computes what the simulated arm does: kinematics, masses, torques."""

import ctypes
import math
import platform

import mujoco
import numpy as np
import pytest

from d2ppo_core.errors import WorldError
from sim.fci.hand import F_T_EE, hand_load
from sim.fci.kinematic_arm import bare_arm_model
from sim.fci.kinematics import ArmKinematics
from sim.fci.limits import PANDA
from sim.fci.model_library import find_compiler, is_served, model_library

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler")

FRAMES = range(1, 10)
GRAVITY = np.array([0.0, 0.0, -9.81])


@pytest.fixture(scope="module")
def model():
    return bare_arm_model()


class Library:
    """Calls the symbols as libfranka does."""

    def __init__(self, model):
        self._lib = ctypes.CDLL(str(model_library(model)))
        self._load = hand_load(model)

    def call(self, name, shape, *arguments):
        out = np.empty(math.prod(shape))
        packed = [a if isinstance(a, float) else np.ascontiguousarray(a, float) for a in arguments]
        function = getattr(self._lib, name)
        types = [ctypes.c_double if isinstance(a, float) else ctypes.c_void_p for a in packed]
        function.argtypes = [*types, ctypes.c_void_p]
        function.restype = None
        function(*(a if isinstance(a, float) else a.ctypes.data for a in packed), out.ctypes.data)
        return out.reshape(shape[::-1]).T

    def frame(self, symbol, frame, shape, q):
        if frame == 9:
            return self.call(f"{symbol}9", shape, q, F_T_EE.ravel(order="F"))
        if frame == 1 and symbol != "O_T_J":
            return self.call(f"{symbol}1", shape)
        return self.call(f"{symbol}{frame}", shape, q)

    def mass(self, q):
        return self.call("M_NE", (7, 7), q, *self._hand())

    def coriolis(self, q, dq):
        return self.call("c_NE", (7,), q, dq, *self._hand())

    def gravity(self, q):
        load = self._load
        return self.call("g_NE", (7,), q, GRAVITY, load.mass_kg, load.com_m)

    def _hand(self):
        load = self._load
        return load.inertia_kg_m2.ravel(order="F"), load.mass_kg, load.com_m


@pytest.fixture(scope="module")
def library(model):
    return Library(model)


@pytest.fixture(scope="module")
def postures():
    rng = np.random.default_rng(0)
    return rng.uniform(PANDA.q_min_rad, PANDA.q_max_rad, (20, 7)), rng.uniform(-2.0, 2.0, (20, 7))


def test_end_effector_and_its_jacobian_are_the_worlds(model, library, postures):
    kinematics = ArmKinematics(model)
    for q in postures[0]:
        pose = kinematics.pose(q)
        assert np.allclose(library.frame("O_T_J", 9, (4, 4), q), pose, atol=2e-6)  # the world's quaternions are rounded
        assert np.allclose(library.frame("O_J_J", 9, (6, 7), q), kinematics.jacobian(pose), atol=5e-6)


def test_every_frame_moves_as_its_jacobian_says_and_no_joint_beyond_it_moves_it(library, postures):
    q, eps = postures[0][0], 1e-6
    for frame in FRAMES:
        pose, jacobian = library.frame("O_T_J", frame, (4, 4), q), library.frame("O_J_J", frame, (6, 7), q)
        for joint in range(7):
            moved = library.frame("O_T_J", frame, (4, 4), q + eps * np.eye(7)[joint])
            turn = (moved[:3, :3] @ pose[:3, :3].T - np.eye(3)) / eps
            rate = [*(moved[:3, 3] - pose[:3, 3]) / eps, turn[2, 1], turn[0, 2], turn[1, 0]]
            assert np.allclose(jacobian[:, joint], rate, atol=1e-5)
        assert not jacobian[:, frame:].any() or frame > 7


def test_body_jacobians_are_the_same_in_the_frames_own_axes(library, postures):
    q = postures[0][1]
    for frame in FRAMES:
        rotation = library.frame("O_T_J", frame, (4, 4), q)[:3, :3]
        zero, body = library.frame("O_J_J", frame, (6, 7), q), library.frame("Ji_J_J", frame, (6, 7), q)
        turned = (rotation.T @ zero.T.reshape(7, 2, 3)[..., None])[..., 0]
        assert np.allclose(turned.reshape(7, 6).T, body, atol=1e-12)


def test_dynamics_are_mujocos(model, library, postures):
    data, full = mujoco.MjData(model), np.zeros((model.nv, model.nv))
    for q, dq in zip(*postures, strict=True):
        data.qpos[:7], data.qvel[:7] = q, dq
        mujoco.mj_forward(model, data)
        mujoco.mj_fullM(model, full, data.qM)
        mass = full[:7, :7] - np.diag(model.dof_armature[:7])
        assert np.allclose(library.mass(q), mass, atol=2e-5)  # kg m^2
        assert np.allclose(library.gravity(q), data.qfrc_gravcomp[:7], atol=2e-4)  # Nm
        coriolis = data.qfrc_bias[:7] - data.qfrc_gravcomp[:7]
        assert np.allclose(library.coriolis(q, dq), coriolis, atol=2e-4)  # Nm at up to 2 rad/s


def test_a_load_weighs_on_the_joints(library, postures):
    q, com = postures[0][2], np.array([0.01, 0.02, 0.15])
    jacobian = library.frame("O_J_J", 8, (6, 7), q)
    flange = library.frame("O_T_J", 8, (4, 4), q)
    arm = flange[:3, :3] @ com
    lever = jacobian[:3] + np.cross(jacobian[3:].T, arm).T
    with_load = library.call("g_NE", (7,), q, GRAVITY, 1.5, com)
    without = library.call("g_NE", (7,), q, GRAVITY, 0.0, com)
    assert np.allclose(with_load - without, 1.5 * 9.81 * lever[2], atol=1e-10)


def test_library_exports_what_libfranka_looks_for(library):
    names = ["M_NE", "c_NE", "g_NE", *(f"{kind}{i}" for kind in ("O_T_J", "O_J_J", "Ji_J_J") for i in FRAMES)]
    assert len(names) == 30
    assert all(hasattr(library._lib, name) for name in names)


def test_compiler_is_asked_for_when_it_is_missing(monkeypatch, model):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(WorldError, match="needs a C compiler; install one"):
        model_library(model)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="asks as a client of this machine would")
def test_clients_on_other_machines_are_told_that_there_is_none():
    assert is_served(0, 0)
    assert not is_served(3, 0) and not is_served(0, 1)
