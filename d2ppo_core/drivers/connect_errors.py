"""What happened when a client could not connect, whichever client it is: only what waiting can cure is retried."""

from d2ppo_core.compatibility import Client
from d2ppo_core.drivers.server_version import no_answer
from d2ppo_core.errors import RobotError, RobotUnreachableError

NETWORK, PROTOCOL, VERSION, REALTIME, OTHER = "network", "protocol", "version", "realtime", "other"
_FRANKY_KINDS = {
    "NetworkException": NETWORK,
    "ProtocolException": PROTOCOL,
    "IncompatibleVersionException": VERSION,
    "RealtimeException": REALTIME,
}
_FRANKA_RS_KINDS = {
    "network": NETWORK,
    "protocol": PROTOCOL,
    "incompatible_version": VERSION,
    "realtime": REALTIME,
}


def one_line(error: BaseException) -> str:
    """Return the text of an error as one line, its class where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def kind_of(error: BaseException) -> str:
    """Tell what kind of failure a client's exception is, by its class (franky) or its ``kind`` (franka-rs)."""
    kind = getattr(error, "kind", None)
    if isinstance(kind, str):
        return _FRANKA_RS_KINDS.get(kind, OTHER)
    return next((_FRANKY_KINDS[each.__name__] for each in type(error).__mro__ if each.__name__ in _FRANKY_KINDS), OTHER)


def not_installed(client: Client, error: ImportError) -> RobotError:
    """Return what to raise when a client's package cannot be imported."""
    return RobotError(f"{client.name} cannot be imported ({error}); run: {client.install_line}")


def not_connected(what: str, address: str, error: BaseException) -> RobotError:
    """Return what to raise when ``what``, robot or gripper, could not be connected: RobotUnreachableError or not."""
    kind, text = kind_of(error), one_line(error)
    if kind == NETWORK:
        return RobotUnreachableError(no_answer(what, address, text))
    if kind == REALTIME:
        return RobotError(f"realtime: enforce needs a real-time kernel: {text}")
    if kind == VERSION:
        return RobotError(f"the {what} at {address} speaks another version: {text}; run: d2ppo doctor --stack real")
    if kind == PROTOCOL:
        return RobotError(f"the {what} at {address} does not answer as a Franka {what} does ({text}); reboot it?")
    return RobotError(f"the {what} at {address} was reached, but could not be set up: {type(error).__name__}: {text}")
