"""What an evaluation in a live stack is asked for. The ROS packages run it; they add themselves by an entry point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import entry_points
from pathlib import Path

from d2ppo_core.errors import ConfigError
from d2ppo_core.evaluation.late import delay_of
from d2ppo_core.stack.ros_packages import FIX, missing_ros

EVALUATORS = "d2ppo.evaluators"
"""Entry-point group; this room need not import the nodes."""
SIM = "sim"


@dataclass(frozen=True, kw_only=True)
class LiveRequest:
    """One evaluation in a live stack."""

    command: str
    """As the user typed it, for the record."""
    task: str
    policy: str
    """A bundle: a folder, or the name of a shipped one; empty: the task's."""
    stack: str = SIM
    """Name or file of the stack."""
    episodes: int
    seed: int
    """Of the first episode."""
    horizon_s: float
    """Simulated time per episode."""
    out: Path | None = None
    """Folder of the report; None: `reports/<time>`."""
    settings: Mapping[str, str]
    """Arguments of the stack and `node.parameter`s, as texts."""


def delayed(request: LiveRequest, delays: Sequence[str]) -> list[LiveRequest]:
    """The request once for each delay: milliseconds from a capture to its chunk, or the record to draw them from."""
    out = request.out or Path("reports") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    requests = []
    for delay in delays:
        delay_of(delay)
        wanted = {"policy.image_latency_ms": "0.0", "policy.inference_latency_ms": f"{delay}"}
        if Path(delay).is_file():
            wanted = {"policy.latency_ledger": str(Path(delay).resolve())}
        requests.append(replace(request, out=out / Path(delay).name, settings={**wanted, **request.settings}))
    return requests


def live_evaluator() -> Callable[[LiveRequest], None]:
    """What runs a request and prints the result.

    Raises:
        ConfigError: the ROS packages are not built.
    """
    if lack := missing_ros():
        raise ConfigError(f"--in stack: {lack}")
    for point in entry_points(group=EVALUATORS, name="live"):
        run: Callable[[LiveRequest], None] = point.load()
        return run
    raise ConfigError(f"--in stack: d2ppo_nodes is here without its evaluator; run: {FIX}")
