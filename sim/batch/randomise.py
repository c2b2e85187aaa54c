"""Worlds that differ from episode to episode in what a real robot does not know: off by default, recorded when on.

Starts stay robosuite's: what is drawn here comes from a stream of its own, split off each world's generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.errors import ConfigError
from sim.batch.layout import Parameter

Array = NDArray[np.float64]

SUBSTEP_S = 0.002
MAX_LATENCY_S = 0.048
"""Latencies stay below one control step."""
CONTROLLER_KP = 150.0
_DYNAMICS = ("mass", "friction", "damping")
_PICTURE = ("camera_position_m", "camera_rotation_rad", "light", "colour")
_BODY_FIELDS = ("body_mass", "body_inertia", "body_ipos", "body_iquat", "body_invweight0", "body_subtreemass")
_DOF_FIELDS = ("dof_invweight0", "dof_M0", "dof_damping", "dof_frictionloss")
_GEOM_FIELDS = ("geom_friction", "geom_size", "geom_pos", "geom_quat", "geom_rbound", "geom_aabb")


@dataclass(frozen=True, kw_only=True)
class Randomisation:
    """How much may differ. A factor of 0.2 means: drawn from 0.8 to 1.2 for each thing and episode."""

    mass: float = 0.0
    """Factor on mass and inertia of every moving body; the controller knows them, as robosuite's does."""
    friction: float = 0.0
    """Factor on the friction of every geom."""
    damping: float = 0.0
    """Factor on damping and dry friction of every joint."""
    gain: float = 0.0
    """Factor on the controller's stiffness, one for the world; damping stays critical."""
    action_latency_s: float = 0.0
    """Longest delay between an action and its effect; whole substeps of 2 ms."""
    observation_latency_s: float = 0.0
    """Longest age of an observed state."""
    camera_position_m: float = 0.0
    """Standard deviation along each axis."""
    camera_rotation_rad: float = 0.0
    """Standard deviation about each axis."""
    light: float = 0.0
    """Factor on each light's brightness and colour."""
    colour: float = 0.0
    """Factor on each colour channel of every geom and material."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            limit = MAX_LATENCY_S if field.name.endswith("latency_s") else 0.9
            if not 0.0 <= value <= limit:
                raise ConfigError(f"{field.name} must be within [0, {limit}], got {value}")

    @property
    def of_dynamics(self) -> bool:
        """Whether masses, friction or damping differ."""
        return any(getattr(self, name) > 0.0 for name in _DYNAMICS)

    @property
    def of_pictures(self) -> bool:
        """Whether cameras, lights or colours differ."""
        return any(getattr(self, name) > 0.0 for name in _PICTURE)

    def as_record(self) -> dict[str, float]:
        """What is switched on, for the manifest of whatever is trained with it; empty if nothing is."""
        return {name: value for name, value in asdict(self).items() if value > 0.0}

    def controller(self, rng: np.random.Generator) -> dict[str, float]:
        """Arguments of the kernel's `set_controller` for one episode."""
        delays = [
            int(rng.integers(0, round(latency_s / SUBSTEP_S) + 1))
            for latency_s in (self.action_latency_s, self.observation_latency_s)
        ]
        kp = CONTROLLER_KP * float(_factors(rng, self.gain, ()))
        return {"kp": kp, "damping_ratio": 1.0, "action_delay": delays[0], "observation_delay": delays[1]}

    def dynamics(self, rng: np.random.Generator, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Change masses, friction and damping of `model`, and what MuJoCo derives from them."""
        mass = _factors(rng, self.mass, model.nbody)
        model.body_mass[:] *= mass
        model.body_inertia[:] *= mass[:, None]
        model.geom_friction[:] *= _factors(rng, self.friction, model.ngeom)[:, None]
        model.dof_damping[:] *= _factors(rng, self.damping, model.nv)
        model.dof_frictionloss[:] *= _factors(rng, self.damping, model.nv)
        mujoco.mj_setConst(model, data)

    def picture(self, rng: np.random.Generator, model: mujoco.MjModel) -> Mapping[str, NDArray[np.floating]]:
        """Fields of a model for rendering that differ in one episode."""
        quats = model.cam_quat.copy()
        for camera, turn in enumerate(rng.normal(0.0, 1.0, (model.ncam, 3)) * self.camera_rotation_rad):
            mujoco.mju_quatIntegrate(quats[camera], turn, 1.0)
        brightness = _factors(rng, self.light, (model.nlight, 1)) * _factors(rng, self.light / 3, (model.nlight, 3))
        colour = {"geom_rgba": (model.ngeom, 3), "mat_rgba": (model.nmat, 3)}
        changed: dict[str, NDArray[np.floating]] = {
            "cam_pos": model.cam_pos + rng.normal(0.0, 1.0, (model.ncam, 3)) * self.camera_position_m,
            "cam_quat": quats,
            "light_diffuse": (model.light_diffuse * brightness).astype(np.float32),
        }
        for name, shape in colour.items():
            rgba = getattr(model, name).copy()
            rgba[:, :3] = np.clip(rgba[:, :3] * _factors(rng, self.colour, shape), 0.0, 1.0)
            changed[name] = rgba
        return changed


def dynamics_parameters(model: mujoco.MjModel) -> tuple[Parameter, ...]:
    """Everything in a model that `Randomisation.dynamics`, or another object, may change."""
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
