"""Runs episodes in a live stack: home, new world, start, until success or the time is over."""

import time
from collections.abc import Callable
from functools import partial

from d2ppo_core.analysis.evaluation import ChunkTiming, Episode, Hand, Sample
from d2ppo_core.errors import StackError
from d2ppo_core.runtime.control.arm import AT_HOME
from d2ppo_core.runtime.control.pair import PairMode
from d2ppo_interfaces.msg import ActionChunk, ArmState, WorldState
from d2ppo_nodes.client import StackClient
from d2ppo_nodes.convert import time_ns

FAULTS = {
    ArmState.REFLEX: "reflex",
    ArmState.USER_STOPPED: "user stop",
    ArmState.ESTOPPED: "emergency stop",
    ArmState.DISCONNECTED: "disconnected",
    ArmState.IDLE: "control loop ended",
}
_HOMING_WALL_S = 60.0
_HOMING_ATTEMPTS = 3
_ANSWER_WALL_S = 30.0


class EpisodeRunner:
    """Operates one stack through its public interfaces, and records what an operator could see."""

    def __init__(self, client: StackClient, check: Callable[[], None], horizon_s: float) -> None:
        """Prepare.

        Args:
            client: Client of the running stack.
            check: Raises StackError when a process of the stack has died.
            horizon_s: Time on the stack's clock after which an episode has failed.
        """
        self._client, self._check, self._horizon_s = client, check, horizon_s
        self._chunks: dict[tuple[str, int], ActionChunk] = {}
        self._first_command: dict[tuple[str, int], int] = {}
        self._samples: list[Sample] = []
        client.on_chunk = self._on_chunk
        client.on_arm = self._on_arm
        client.on_world = self._on_world

    def wait_until_up(self, timeout_s: float) -> None:
        """Wait for the robot, the world and the policy."""
        client = self._client
        client.spin_until(lambda: client.world, timeout_s, "the simulated world (sim/state)", self._check)
        for name in client.names:
            called = f"the arm {name} (arm/state)".replace("  ", " ")
            client.spin_until(lambda name=name: name in client.states, timeout_s, called, self._check)  # type: ignore[misc]
        if client.is_pair:
            client.spin_until(lambda: client.together, timeout_s, "the coordinator (state)", self._check)
        client.spin_until(lambda: client.policy, timeout_s, "the policy (policy/status)", self._check)

    def run(self, index: int, seed: int) -> Episode:
        """Run one episode; faults of the robot end it, they do not raise."""
        began = time.monotonic()
        self.bring_home()
        self.reset_world(seed)
        start_ns = self._begin(seed)
        given_up = self._world.waits_given_up
        before = self._arms
        outcome, factors, end_ns = self._watch(start_ns)
        duration_s = (end_ns - start_ns) * 1e-9
        after = self._arms
        if any(arm.state in (ArmState.RUNNING, ArmState.HOLDING) for arm in after):
            self._stop()

        def more(count: str) -> int:
            return sum(int(getattr(b, count) - getattr(a, count)) for a, b in zip(before, after, strict=True))

        return Episode(
            index=index,
            seed=seed,
            success=outcome == "success",
            outcome=outcome,
            duration_s=duration_s,
            wall_s=time.monotonic() - began,
            ticks=more("ticks"),
            missed_ticks=more("missed_ticks"),
            chunks_refused=more("chunks_refused"),
            safety_interventions=more("safety_interventions"),
            real_time_factor=sum(factors) / max(1, len(factors)),
            digest=self._digest(start_ns, end_ns),
            waits_given_up=self._world.waits_given_up - given_up,
            chunks_alone=self._chunks_alone(),
            arms=self._client.names if self._client.is_pair else (),
            timings=self._timings(),
            samples=tuple(self._samples),
        )

    def _stop(self) -> None:
        """Stop the arm; one that stopped itself at this very moment refuses, and needs no stop."""
        try:
            self._client.trigger(self._client.service("stop"))
        except StackError as refusal:
            try:
                self._client.spin_until(self._fault, 1.0, "the arm's own stop", self._check)
            except StackError:
                raise refusal from None

    def reset_world(self, seed: int) -> None:
        """Put the task's objects where this seed has them, and wait until that shows."""
        client = self._client
        number = client.reset_world(seed, _ANSWER_WALL_S)
        client.spin_until(
            lambda: client.world and client.world.episode == number, _ANSWER_WALL_S, "the new episode", self._check
        )

    def _begin(self, seed: int) -> int:
        """Let the policy move the arm; returns the stack's time."""
        self._forget()
        start_ns = self._client.now_ns()
        self._client.trigger(self._client.service("start"))
        return start_ns

    def _forget(self) -> None:
        self._chunks, self._first_command, self._samples = {}, {}, []

    def _digest(self, start_ns: int, end_ns: int) -> str:
        """Of what happened, where the same can happen again."""
        return ""

    def bring_home(self) -> None:
        """Go home; a robot that stopped itself is recovered first, a few times at most."""
        client = self._client
        for attempt in range(_HOMING_ATTEMPTS):
            if attempt:
                client.inject_fault("led_home")  # the way was barred, by a peg say; with a real arm a person does that
            if any(arm.state in (ArmState.REFLEX, ArmState.DISCONNECTED) for arm in self._arms):
                client.trigger(client.service("recover"), _ANSWER_WALL_S)
            epochs = [arm.epoch for arm in self._arms]
            try:
                client.trigger(client.service("home"))
                client.spin_until(
                    partial(self._is_decided, epochs),
                    _HOMING_WALL_S,
                    "the arm to reach home",
                    self._check,
                )
            except StackError:
                if attempt == _HOMING_ATTEMPTS - 1:
                    raise
            if self._is_home(epochs):
                return
        raise StackError(f"the arm does not reach home: {'; '.join(arm.reason for arm in self._arms)}")

    @property
    def _arms(self) -> list[ArmState]:
        """What each arm said last, in the order of the policy's."""
        client = self._client
        if silent := [name for name in client.names if name not in client.states]:
            raise StackError(f"the arm {silent[0]} has said nothing yet (arm/state)".replace("  ", " "))
        return [client.states[name] for name in client.names]

    def _fault(self) -> str:
        """What ended an episode: an arm's own stop, or that of all of them; empty: nothing did."""
        for name, arm in zip(self._client.names, self._arms, strict=True):
            if arm.state in FAULTS:
                return f"{name} {FAULTS[arm.state]}: {arm.reason}".lstrip()
        return ""

    @property
    def _world(self) -> WorldState:
        if self._client.world is None:
            raise StackError("the simulated world has said nothing yet (sim/state)")
        return self._client.world

    def _is_decided(self, epochs_before: list[int]) -> bool:
        return self._is_home(epochs_before) or self._has_fault(epochs_before)

    def _has_fault(self, epochs_before: list[int]) -> bool:
        stops = (ArmState.REFLEX, ArmState.USER_STOPPED, ArmState.ESTOPPED)
        arms = zip(self._arms, epochs_before, strict=True)
        return any(arm.epoch != epoch and arm.state in stops for arm, epoch in arms)

    def _is_home(self, epochs_before: list[int]) -> bool:
        """Tell a new READY from one that was on its way here when homing began."""
        if self._client.is_pair and not self._client.together.startswith(PairMode.READY.name):
            return False
        arms = zip(self._arms, epochs_before, strict=True)
        return all(arm.state == ArmState.READY and arm.reason == AT_HOME and arm.epoch != epoch for arm, epoch in arms)

    def _watch(self, start_ns: int) -> tuple[str, list[float], int]:
        """Wait for the end of the episode, and return how it came, the world's pace, and when.

        A world that stands still for half a minute is a hang.
        """
        client = self._client
        factors: list[float] = []
        while True:
            try:
                self._wait_for_clock(client.now_ns())
            except StackError as error:
                self._check()
                return f"hang: {error}", factors, client.now_ns()
            world = self._world
            if world.success:
                return "success", factors, client.now_ns()
            factors.append(world.real_time_factor)
            if ended := self._ended():
                return ended, factors, client.now_ns()
            if (client.now_ns() - start_ns) * 1e-9 > self._horizon_s:
                return "time out", factors, client.now_ns()

    def _wait_for_clock(self, after_ns: int) -> None:
        client = self._client
        client.spin_until(lambda: client.now_ns() > after_ns, _ANSWER_WALL_S, "/clock to advance", self._check)

    def _ended(self) -> str:
        """What ended the episode although nothing was solved: a fault, or the coordinator; empty: nothing did."""
        together = self._client.together
        alone = self._client.is_pair and not together.startswith((PairMode.STARTING.name, PairMode.RUNNING.name))
        return self._fault() or (f"stopped: {together}" if alone else "")

    def _on_chunk(self, chunk: ActionChunk, name: str = "") -> None:
        self._chunks[name, chunk.sequence] = chunk

    def _on_arm(self, state: ArmState, name: str = "") -> None:
        first_ns = time_ns(state.chunk_first_command)
        if first_ns:
            self._first_command.setdefault((name, state.chunk_sequence), first_ns)

    def _on_world(self, world: WorldState) -> None:
        if any(name not in self._client.states for name in self._client.names):
            return
        first, *others = (_hand(arm) for arm in self._arms)
        self._samples.append(
            Sample(
                time_s=time_ns(world.header.stamp) * 1e-9,
                qpos=tuple(world.qpos),
                partners=tuple(others),
                **vars(first),
            )
        )

    def _timings(self) -> tuple[ChunkTiming, ...]:
        """One for each plan: until the last arm had its first command."""
        timings = []
        for (name, sequence), chunk in self._chunks.items():
            if name != self._client.names[0]:
                continue
            capture_ns = time_ns(chunk.header.stamp)
            firsts_ns = self._firsts_ns(sequence)
            complete = len(firsts_ns) == len(self._client.names)
            first_ns = max(firsts_ns) if complete else None
            timings.append(
                ChunkTiming(
                    received_ms=(time_ns(chunk.received) - capture_ns) * 1e-6,
                    published_ms=(time_ns(chunk.published) - capture_ns) * 1e-6,
                    first_command_ms=None if first_ns is None else (first_ns - capture_ns) * 1e-6,
                    inference_wall_ms=chunk.inference_wall_s * 1e3,
                    apart_ms=(max(firsts_ns) - min(firsts_ns)) * 1e-6 if complete and len(firsts_ns) > 1 else None,
                )
            )
        return tuple(timings)

    def _firsts_ns(self, sequence: int) -> list[int]:
        """When each arm had the first command of a plan, of those that had one."""
        keys = ((name, sequence) for name in self._client.names)
        return [self._first_command[key] for key in keys if key in self._first_command]

    def _chunks_alone(self) -> int:
        """Plans that some arms executed and others did not."""
        sequences = {sequence for _, sequence in self._first_command}
        return sum(len(self._firsts_ns(sequence)) < len(self._client.names) for sequence in sequences)


def _hand(arm: ArmState) -> Hand:
    measured, reference = arm.pose.position, arm.reference_pose.position
    return Hand(
        measured_m=(measured.x, measured.y, measured.z),
        reference_m=(reference.x, reference.y, reference.z),
        gripper_width_m=arm.gripper_width_m,
    )
