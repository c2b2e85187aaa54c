"""Worlds that differ from episode to episode in what a real robot does not know: off by default, recorded when on.

Starts stay robosuite's: what is drawn here comes from a stream of its own, split off each world's generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.config.randomisation import RandomisationConfig
from sim.batch.layout import Parameter

Array = NDArray[np.float64]

SUBSTEP_S = 0.002
CONTROLLER_KP = 150.0
_BODY_FIELDS = ("body_mass", "body_inertia", "body_ipos", "body_iquat", "body_invweight0", "body_subtreemass")
_DOF_FIELDS = ("dof_invweight0", "dof_M0", "dof_damping", "dof_frictionloss")
_GEOM_FIELDS = ("geom_friction", "geom_size", "geom_pos", "geom_quat", "geom_rbound", "geom_aabb")


class ControllerSettings(TypedDict):
    """Arguments of the kernel's `set_controller`."""

    kp: float
    damping_ratio: float
    action_delay: int
    observation_delay: int


def controller(config: RandomisationConfig, rng: np.random.Generator) -> ControllerSettings:
    """Arguments of the kernel's `set_controller` for one episode."""
    delays = [
        int(rng.integers(0, round(latency_s / SUBSTEP_S) + 1))
        for latency_s in (config.action_latency_s, config.observation_latency_s)
    ]
    kp = CONTROLLER_KP * float(_factors(rng, config.gain, ()))
    return {"kp": kp, "damping_ratio": 1.0, "action_delay": delays[0], "observation_delay": delays[1]}


def dynamics(config: RandomisationConfig, rng: np.random.Generator, model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Change masses, friction and damping of `model`, and what MuJoCo derives from them."""
    mass = _factors(rng, config.mass, model.nbody)
    model.body_mass[:] *= mass
    model.body_inertia[:] *= mass[:, None]
    model.geom_friction[:] *= _factors(rng, config.friction, model.ngeom)[:, None]
    model.dof_damping[:] *= _factors(rng, config.damping, model.nv)
    model.dof_frictionloss[:] *= _factors(rng, config.damping, model.nv)
    mujoco.mj_setConst(model, data)


def picture(
    config: RandomisationConfig, rng: np.random.Generator, model: mujoco.MjModel
) -> Mapping[str, NDArray[np.floating]]:
    """Fields of a model for rendering that differ in one episode."""
    quats = model.cam_quat.copy()
    for camera, turn in enumerate(rng.normal(0.0, 1.0, (model.ncam, 3)) * config.camera_rotation_rad):
        mujoco.mju_quatIntegrate(quats[camera], turn, 1.0)
    brightness = _factors(rng, config.light, (model.nlight, 1)) * _factors(rng, config.light / 3, (model.nlight, 3))
    colour = {"geom_rgba": (model.ngeom, 3), "mat_rgba": (model.nmat, 3)}
    changed: dict[str, NDArray[np.floating]] = {
        "cam_pos": model.cam_pos + rng.normal(0.0, 1.0, (model.ncam, 3)) * config.camera_position_m,
        "cam_quat": quats,
        "light_diffuse": (model.light_diffuse * brightness).astype(np.float32),
    }
    for name, shape in colour.items():
        rgba = getattr(model, name).copy()
        rgba[:, :3] = np.clip(rgba[:, :3] * _factors(rng, config.colour, shape), 0.0, 1.0)
        changed[name] = rgba
    return changed


def dynamics_parameters(model: mujoco.MjModel) -> tuple[Parameter, ...]:
    """Everything in a model that `dynamics`, or another object, may change."""
    return (
        *(Parameter(name, tuple(range(model.nbody))) for name in _BODY_FIELDS),
        *(Parameter(name, tuple(range(model.nv))) for name in _DOF_FIELDS),
        *(Parameter(name, tuple(range(model.ngeom))) for name in _GEOM_FIELDS),
        Parameter("bvh_aabb", tuple(range(model.nbvhstatic))),
        Parameter("meaninertia"),
    )


def _factors(rng: np.random.Generator, spread: float, shape: int | tuple[int, ...]) -> Array:
    """Uniform in 1 ± spread; drawn even where the spread is zero, so that switches do not disturb each other."""
    return np.asarray(1.0 + spread * rng.uniform(-1.0, 1.0, shape))
