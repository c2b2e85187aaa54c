"""Each fault in each state of the arm node, through both Franka clients: where it ends, and how one gets out."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from d2ppo_core.runtime.control.arm import ArmMode
from d2ppo_core.runtime.control.chunk import ChunkRefusedError

DATA = yaml.safe_load(Path(__file__).with_name("fault_matrix.yaml").read_text())
STATES = tuple(DATA["states"])
DOCUMENT = Path(__file__).parents[3] / "docs/reference/fault_matrix.md"
TITLE = """# Fault matrix of the arm node

Where the node ends when a fault meets it in a state (columns); after the arrow, where it is once the fault is over and
nobody has done anything. `·`: it stays. From each end the operator's `clear_estop`, `recover` and `home` lead
back to `ready`, and no chunk of before is followed. Homing is a part of `Idle`.

Made from `tests/d2ppo_core/drivers/fault_matrix.yaml`, which a test runs against a simulated robot, all of it with
`D2PPO_LONG=1 python -m pytest tests/d2ppo_core/drivers/test_fault_matrix.py`; `python` on that file writes this one.
"""
CLIENTS = ("franky", "franka_rs")
NODE_FAULTS = ("chunks_stop", "estop", "deadman_released", "ticks_stall")
CHANGES: dict[str, Callable] = {
    "chunk_not_finite": lambda chunk: replace(chunk, positions_m=np.full_like(chunk.positions_m, np.nan)),
    "chunk_of_an_old_epoch": lambda chunk: replace(chunk, epoch=chunk.epoch - 1),
    "chunk_of_the_future": lambda chunk: replace(chunk, stamp_ns=chunk.stamp_ns + 10**9),
    "chunk_of_a_foreign_bundle": lambda chunk: replace(chunk, bundle_hash="foreign"),
}
MOVE_THE_HAND = ("gripper_blocked", "gripper_slow")
LASTS_S = {"homing": 0.7, "running": 0.5, "holding": 0.4, "ready": 0.25}
"""How long a fault is watched; what is at rest shows at once what it makes of it."""
SLOWER_S = {("franka_rs", "holding"): 0.1}
"""And longer by this: a stop from there takes franka_rs up to 0.45 s until the joints stand."""
AT_REST_S, AFTERWARDS_S, STAYS_S, TICK_S, AT_MOST_S = 0.12, 0.16, 0.1, 0.008, 20.0
LONGEST_BLOCK_S = 5.0
"""A client waits a second or two for a lost robot, once; the node's own watchdog ends a process that hangs for 5 s."""
CREEPS_RAD_S = 1e-6
SAMPLE = {
    ("lossy_network", "running"),
    ("lost_commands", "running"),
    ("late_commands", "ready"),
    ("network_cut", "idle"),
    ("state_frozen", "running"),
    ("clock_jump", "homing"),
    ("cartesian_reflex", "running"),
    ("user_stop", "reflex"),
    ("guiding", "homing"),
    ("estop", "running"),
    ("deadman_released", "running"),
    ("chunk_not_finite", "running"),
    ("ticks_stall", "running"),
}


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One cell of the table."""

    fault: str
    state: str
    end: str
    then: str
    robot: tuple = ()
    errors: tuple[str, ...] = field(default=())
    blind: bool = False

    @property
    def moved(self) -> bool:
        """Whether the node does anything about the fault, or might have to."""
        return self.end != self.state or self.state in ("homing", "running")


def combinations(client: str = "franky") -> list[Combination]:
    """All of them; homing ends in ready unless the table knows better."""
    made = []
    for fault, row in DATA["faults"].items():
        ends = row.get("ends", {}) | row.get(client, {})
        for state in STATES:
            end = ends.get(state, "ready" if state == "homing" else state)
            then = row.get("then", {}).get(state, end)
            robot, errors = tuple(row.get("robot", ())), tuple(row.get("errors", ()))
            blind = bool(row.get("blind"))
            made.append(
                Combination(fault=fault, state=state, end=end, then=then, robot=robot, errors=errors, blind=blind)
            )
    return made


def parameters() -> list:
    """Every combination through both clients; the sample is quick enough for every day."""
    made = []
    for client in CLIENTS:
        for combination in combinations(client):
            key = (combination.fault, combination.state)
            marks = [] if key in SAMPLE else [pytest.mark.long]
            made.append(pytest.param(client, combination, id="-".join((client, *key)), marks=marks))
    return made


def differences() -> list[str]:
    """Where the second client ends elsewhere, in words."""
    pairs = zip(combinations(), combinations("franka_rs"), strict=True)
    return [
        f"{DATA['faults'][there.fault]['what']}, {there.state}: {there.end}" for here, there in pairs if here != there
    ]


def document() -> str:
    """The table for people."""

    def cell(combination: Combination) -> str:
        end = "·" if combination.end == combination.state else combination.end
        return end if combination.then == combination.end else f"{end} → {combination.then}"

    lines = [TITLE, f"| fault | {' | '.join(STATES)} |", "|---" * (len(STATES) + 1) + "|"]
    made = combinations()
    for fault, row in DATA["faults"].items():
        cells = " | ".join(cell(c) for c in made if c.fault == fault)
        lines.append(f"| {row['what']} | {cells} |")
    lines += [
        "",
        "Through franka_rs all of them end alike but for:",
        "",
        *(f"- {each}" for each in differences()),
    ]
    lines += ["", "| state | |", "|---|---|", *(f"| {state} | {what} |" for state, what in DATA["states"].items())]
    return "\n".join(lines) + "\n"


def state_of(bench) -> str:
    """The node's state, homing told apart from idle."""
    if bench.report.mode == ArmMode.IDLE and bench.arm._going_to:
        return "homing"
    return bench.report.mode.name.lower()


def begin_fault(bench, case: Combination) -> None:
    bench.change = CHANGES.get(case.fault, bench.change)
    bench.chunks = bench.chunks or case.fault in CHANGES
    if case.fault in MOVE_THE_HAND:
        bench.change = lambda chunk: replace(chunk, gripper_width_m=np.full_like(chunk.gripper_width_m, 0.07))
    if case.robot:
        bench.ask("inject", *case.robot)
    match case.fault:
        case "chunks_stop":
            bench.chunks = False
        case "estop":
            bench.call(bench.arm.estop)
        case "deadman_released":
            bench.deadman = False
            bench.arm.hold_deadman(False, bench.now_ns)
        case "ticks_stall":
            bench.pass_time(300_000_000)


def end_fault(bench, case: Combination) -> None:
    if case.robot:
        bench.ask("end", case.robot[0])
    bench.change, bench.deadman, bench.chunks = (lambda chunk: chunk), True, case.state == "running"


def reaches(bench, state: str, watched_s: float) -> str:
    """Tick for a while, longer if the state is not there to stay; returns it, or the way if it came in turns."""
    path, stayed, ticks = [state_of(bench)], 0, 0
    deadline = time.monotonic() + AT_MOST_S
    while ticks * TICK_S < watched_s or stayed * TICK_S < STAYS_S:
        bench.tick()
        ticks, stayed = ticks + 1, stayed + 1 if state_of(bench) == state else 0
        if state_of(bench) != path[-1]:
            path.append(state_of(bench))
        if time.monotonic() > deadline:
            break
    return path[-1] if path[1:].count(path[-1]) <= 1 else " ".join(path)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("client", "case"), parameters())
def test_a_fault_ends_in_the_state_that_the_table_says_and_an_operator_gets_out(
    fault_bench, module_addresses, client, case
):
    bench = fault_bench(module_addresses[list(CLIENTS).index(client)], client)
    bench.begin()
    try:
        bench.reach(case.state)
        assert state_of(bench) == case.state
        before, known = bench.last_chunk, len(bench.ask("told")["errors"])
        accepted, bench.blocked_s = bench.report.chunks_accepted, 0.0
        begin_fault(bench, case)
        watched_s = LASTS_S.get(case.state, AT_REST_S) + SLOWER_S.get((client, case.state), 0.0)
        end = reaches(bench, case.end, watched_s)
        assert end == case.end, bench.report.reason
        if case.state != "running":
            assert bench.report.chunks_accepted == accepted
        if case.end not in ("running", "holding", "ready", "homing"):
            assert bench.report.reference is None
            assert np.abs(bench.ask("told")["dq_rad_s"]).max() < CREEPS_RAD_S
        end_fault(bench, case)
        then = reaches(bench, case.then, AFTERWARDS_S)
        assert then == case.then, bench.report.reason
        told = bench.ask("told")
        assert set(told["errors"][known:]) <= set(case.errors)
        bench.chunks = False
        bench.ask("end", "user_stop")  # the button of the state itself
        if case.moved:
            go_on_without_old_chunks(bench, before)
        assert bench.blocked_s < LONGEST_BLOCK_S
        speed, acceleration, jerk = bench.ask("told")["shares"]
        assert max(speed, jerk) <= 1.0 and (acceleration <= 1.0 or case.blind), (speed, acceleration, jerk)
        assert max(bench.reference_shares) <= 1.0, "speed, acceleration, jerk of the references"
    finally:
        bench.end()


def go_on_without_old_chunks(bench, old) -> None:
    """The operator brings the arm home and starts it; what was planned before is refused."""
    bench.recover()
    bench.call(bench.arm.start)
    if old is None:
        return
    accepted = bench.report.chunks_accepted
    with pytest.raises(ChunkRefusedError, match="epoch"):
        bench.arm.offer(old, bench.now_ns)
    bench.tick()
    assert bench.report.chunks_accepted == accepted and not bench.report.reference.twist.any()


def test_the_document_shows_the_table_that_is_tested():
    assert DOCUMENT.read_text() == document(), f"run: python {Path(__file__).name}"


def test_the_table_knows_every_fault_and_at_least_a_hundred_combinations():
    from sim.fci.faults import FAULTS

    rows = DATA["faults"].values()
    elsewhere = {"reflex", "led_home"}  # each of its errors has a row; an arm that is led home is helped
    assert {row["robot"][0] for row in rows if "robot" in row} | elsewhere >= set(FAULTS)
    assert {row["node"] for row in rows if "node" in row} == {*NODE_FAULTS, *CHANGES}
    assert len(combinations()) >= 100
    known = {(c.fault, c.state) for c in combinations()}
    assert known >= SAMPLE and all(
        {*row.get("ends", {}), *row.get("ends", {}).values(), *row.get("then", {}), *row.get("franka_rs", {})}
        <= set(STATES)
        for row in rows
    )


if __name__ == "__main__":
    DOCUMENT.write_text(document())
