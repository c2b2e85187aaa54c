"""Every error that the stack raises on purpose. Each message says what was wanted, what was got and what to do."""


class D2ppoError(Exception):
    """Root of all errors that a user can act on; the command line prints it as one line and exits with 2."""

    def __str__(self) -> str:
        """Return the message on one line, also where it repeats a name or value of a file that has several."""
        return " ".join(super().__str__().splitlines())


class ConfigError(D2ppoError):
    """A configuration file, key or value is not one that the program knows or allows."""


class DataError(D2ppoError):
    """A dataset misses keys, belongs to another task or cannot be read to its end."""


class OutputError(D2ppoError):
    """A place to write to holds what is not ours, is in use, or cannot be written."""


class BundleError(D2ppoError):
    """A policy bundle is missing, corrupt, of a foreign format or does not reproduce its golden example."""


class ActionError(D2ppoError):
    """A policy's answer is not one that an arm could execute."""


class ExportError(D2ppoError):
    """The exported graph does not compute what the trained policy computes."""


class TrainingError(D2ppoError):
    """Training cannot go on: a loss is not finite, or a checkpoint does not fit the configuration."""


class RobotError(D2ppoError):
    """The robot (or its server) refused, faulted or does not answer."""


class RobotUnreachableError(RobotError):
    """Nobody answers at the robot's address; it may be starting up."""


class CameraError(D2ppoError):
    """A camera cannot be opened or stopped delivering frames."""


class CameraGoneError(CameraError):
    """A camera was unplugged or broke off; it may come back and has to be connected anew."""


class DeviceError(D2ppoError):
    """An input device of a person cannot be found or opened, or was unplugged."""


class RecordingError(D2ppoError):
    """An episode cannot be recorded or read, or belongs to another set-up than those before it."""


class CalibrationError(D2ppoError):
    """A capture or a calibration is unusable, belongs to another device, or is less accurate than it has to be."""


class StackError(D2ppoError):
    """The processes of a stack cannot be started, or one of them died."""


class WorldError(D2ppoError):
    """The simulated world cannot be built, rendered or served."""
