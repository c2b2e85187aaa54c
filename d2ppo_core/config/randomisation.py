"""How much the batched worlds may differ from episode to episode in what a real robot does not know."""

from dataclasses import asdict, dataclass, fields

from d2ppo_core.config.checks import require

MAX_LATENCY_S = 0.048
"""Latencies stay below one control step."""
_DYNAMICS = ("mass", "friction", "damping")
_PICTURE = ("camera_position_m", "camera_rotation_rad", "light", "colour")


@dataclass(frozen=True, kw_only=True)
class RandomisationConfig:
    """How much may differ; 0 is off. A factor of 0.2 means: drawn from 0.8 to 1.2 for each thing and episode."""

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
        """Raise ConfigError for an amount that is negative or too large to be meant."""
        for field in fields(self):
            value = getattr(self, field.name)
            limit = MAX_LATENCY_S if field.name.endswith("latency_s") else 0.9
            require(0.0 <= value <= limit, f"env.randomisation.{field.name}: wanted within [0, {limit}], got {value}")

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
