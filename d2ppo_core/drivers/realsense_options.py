"""A RealSense's settings: exposure, gain, white balance and projector, checked against what the camera offers."""

from dataclasses import dataclass
from typing import Any

from d2ppo_core.errors import CameraError, ConfigError


@dataclass(frozen=True, kw_only=True)
class RealSenseOptions:
    """What is set when the camera is connected; every number in the camera's own unit.

    Attributes:
        exposure: Of the colour sensor (100 µs on D400 cameras); 0: automatic.
        gain: Of the colour sensor, with an exposure; 0: as it is.
        white_balance_k: Colour temperature; 0: automatic.
        emitter: Infrared projector: `enabled`, `disabled`, or `as_is`.
    """

    exposure: float = 0.0
    gain: float = 0.0
    white_balance_k: float = 0.0
    emitter: str = "as_is"

    def __post_init__(self) -> None:
        """Raise ConfigError for settings that contradict each other."""
        if min(self.exposure, self.gain, self.white_balance_k) < 0.0:
            raise ConfigError(f"exposure, gain and white_balance_k must be positive, or 0 for automatic, got {self}")
        if self.gain and not self.exposure:
            raise ConfigError(f"gain {self.gain:g} needs an exposure too: automatic exposure sets both")
        if self.emitter not in EMITTER:
            raise ConfigError(f"emitter must be one of {', '.join(EMITTER)}, got {self.emitter!r}")

    def apply(self, rs: Any, colour: Any, sensors: list[Any], camera: str) -> None:
        """Set them.

        Args:
            rs: librealsense's module.
            colour: The sensor with the colour stream.
            sensors: All of the device; the projector belongs to another than colour on most.
            camera: Name for messages.

        Raises:
            CameraError: the camera has no such setting, or refuses the value; the message says what it takes.
        """
        option = rs.option
        if colour.supports(option.global_time_enabled):
            _set(colour, option.global_time_enabled, 0.0, camera)  # the mapping of clocks is ours
        if self.exposure:
            _set(colour, option.enable_auto_exposure, 0.0, camera, optional=True)
            _set(colour, option.exposure, self.exposure, camera)
        else:
            _set(colour, option.enable_auto_exposure, 1.0, camera, optional=True)
        if self.gain:
            _set(colour, option.gain, self.gain, camera)
        automatic = not self.white_balance_k
        _set(colour, option.enable_auto_white_balance, float(automatic), camera, optional=True)
        if not automatic:
            _set(colour, option.white_balance, self.white_balance_k, camera)
        if self.emitter != "as_is":
            with_emitter = next((s for s in sensors if s.supports(option.emitter_enabled)), colour)
            _set(with_emitter, option.emitter_enabled, EMITTER[self.emitter], camera)


EMITTER = {"as_is": -1.0, "disabled": 0.0, "enabled": 1.0}


def _set(sensor: Any, option: Any, value: float, camera: str, *, optional: bool = False) -> None:
    name = option.name
    if not sensor.supports(option):
        if optional:
            return
        raise CameraError(f"camera {camera} has no setting {name}; leave it as it is")
    try:
        sensor.set_option(option, value)
    except RuntimeError as error:
        allowed = sensor.get_option_range(option)
        raise CameraError(
            f"camera {camera} refuses {name} {value:g}: {error}; it takes {allowed.min:g} to {allowed.max:g}"
        ) from error
