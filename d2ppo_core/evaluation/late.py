"""Chunks that come late, as they do on a robot: the arm goes on along the plan before while the next one is made.

The deployed stack makes absolute targets of a chunk, from what the arm was commanded to do when its observation was
taken, and drops by time what is past when the chunk arrives. The same is done here with the goals of the training
controller, in worlds that take goals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from d2ppo_core.actions import deltas_from_goals, goals_from_deltas, rotations_from_6d
from d2ppo_core.envs.protocol import Observation
from d2ppo_core.errors import ConfigError
from d2ppo_core.evaluation.noise import SeededActor
from d2ppo_core.geometry import Array
from d2ppo_core.manifest import ActionSpec
from d2ppo_core.representations import EE_ABSOLUTE
from d2ppo_core.runtime.inference.latency import Latencies, latencies
from d2ppo_core.runtime.inference.planner import PlannerConfig

_NEVER = np.iinfo(np.int64).max
_MS = 1_000_000


class _Plan(NamedTuple):
    """One chunk of every world."""

    born: NDArray[np.int64]
    """(N,) control tick at which its observation was taken."""
    arrives: NDArray[np.int64]
    """(N,) control tick from which it is followed."""
    goals: Array
    """(N, Tp, 10 A)."""


class _Hands(NamedTuple):
    """What N worlds' arms are commanded to do, or where they are."""

    positions_m: Array
    """(N, A, 3) of the grip sites, world frame."""
    rotations: Array
    """(N, A, 3, 3) of the hands."""
    twists: Array
    """(N, A, 6)."""


def delay_of(text: str) -> Callable[[], Latencies]:
    """What makes the latencies of one world, of `--delay`: milliseconds, or a live evaluation's record to draw from.

    Raises:
        ConfigError: it is neither, or the milliseconds are not 0 … 5000.
    """
    try:
        delay_ms = float(text)
    except ValueError:
        latencies(0.0, 0.0, text, 0)  # refuses what is none
        return lambda: latencies(0.0, 0.0, text, 0)
    if not 0.0 <= delay_ms <= 5000.0:
        raise ConfigError(f"--delay: wanted 0 … 5000 ms, got {text}")
    return lambda: latencies(0.0, delay_ms, "", 0)


class LateActor:
    """A policy as `run_episodes` wants it, whose chunks arrive late; it answers goals (`ee_absolute`).

    Chunks are asked for every `action_horizon` ticks, whether or not the one before has arrived. One that arrives
    between two ticks counts from the later one on. Before the first, the arms hold; past a chunk's end its last goal
    stays.
    """

    def __init__(
        self,
        actor: SeededActor,
        num_envs: int,
        *,
        action_horizon: int,
        representation: str,
        delay: Callable[[], Latencies],
        bases: Callable[[], Array],
    ) -> None:
        """Delay a policy.

        Args:
            actor: Makes the chunks.
            num_envs: N.
            action_horizon: Control ticks between two observations.
            representation: What the numbers of its chunks mean.
            delay: Makes the latencies of one world, from observation to chunk.
            bases: Asked for the rotations (A, 3, 3) of the robots' bases, once worlds run.
        """
        self._actor, self._ticks, self._representation, self._bases = actor, action_horizon, representation, bases
        self._delays = [delay() for _ in range(num_envs)]
        self._law, self._leash = ActionSpec(), PlannerConfig()
        self._tick = np.zeros(num_envs, np.int64)
        self._fresh = np.ones(num_envs, bool)
        self._plans: list[_Plan] = []
        self._reference: _Hands | None = None
        self._hold = np.zeros((num_envs, 0))

    def begin(self, worlds: Sequence[int], seeds: Sequence[int]) -> None:
        """New episodes start in these worlds."""
        self._actor.begin(worlds, seeds)
        for world, seed in zip(worlds, seeds, strict=True):
            self._delays[world].restart(seed)
        self._fresh[list(worlds)] = True
        for plan in self._plans:
            plan.arrives[list(worlds)] = _NEVER

    def __call__(self, obs: Observation) -> Array:
        """Observations (N, ...) by name to the goals (N, action_horizon, 10 A) that are pursued from now on."""
        bases = self._bases()
        measured = _measured(obs, len(bases))
        self._restart(measured, bases)
        assert self._reference is not None
        reference = self._leashed(self._reference, measured)
        chunks = np.asarray(self._actor(obs), np.float64)
        goals = chunks if self._representation == EE_ABSOLUTE else self._goals_of(chunks, reference, bases)
        late = [math.ceil(d.draw().published_ns / _MS * self._law.control_hz / 1e3 - 1e-9) for d in self._delays]
        self._plans.append(_Plan(self._tick.copy(), self._tick + late, goals))
        executed = []
        for _ in range(self._ticks):
            executed.append(self._due())
            reference = self._respond(reference, executed[-1], bases)
            self._tick += 1
        self._reference = reference
        self._forget()
        return np.stack(executed, axis=1)

    def _restart(self, measured: _Hands, bases: Array) -> None:
        """In fresh worlds the arms are told to stay where they are, hands open."""
        if not self._fresh.any():
            return
        rest = np.zeros((len(self._tick), 7 * len(bases)))
        rest[:, 6::7] = -1.0
        hold = goals_from_deltas(rest, measured.positions_m, measured.rotations, bases)
        if self._reference is None:
            self._reference, self._hold = measured, hold
        for old, new in zip((*self._reference, self._hold), (*measured, hold), strict=True):
            old[self._fresh] = new[self._fresh]
        self._tick[self._fresh] = 0
        self._fresh[:] = False

    def _leashed(self, reference: _Hands, measured: _Hands) -> _Hands:
        """As the planner does: a chunk starts from the reference, pulled back to within a bounded lead."""
        lead_m = reference.positions_m - measured.positions_m
        turn = _rotvec(reference.rotations @ np.swapaxes(measured.rotations, -1, -2))
        lead_m, turn = _within(lead_m, self._leash.max_lead_m), _within(turn, self._leash.max_lead_rad)
        return _Hands(measured.positions_m + lead_m, _matrix(turn) @ measured.rotations, reference.twists)

    def _goals_of(self, chunks: Array, start: _Hands, bases: Array) -> Array:
        """What chunks (N, Tp, 7 A) of deltas ask for, one tick after the other, were they followed from `start` on."""
        goals = []
        for t in range(chunks.shape[1]):
            goals.append(goals_from_deltas(chunks[:, t], start.positions_m, start.rotations, bases))
            start = self._respond(start, goals[-1], bases)
        return np.stack(goals, axis=1)

    def _respond(self, hands: _Hands, goals: Array, bases: Array) -> _Hands:
        """One tick of the critically damped law that the training controller follows, towards goals (N, 10 A)."""
        near = deltas_from_goals(goals, hands.positions_m, hands.rotations, bases)  # no further than a delta of 1
        wanted = goals_from_deltas(near, hands.positions_m, hands.rotations, bases)
        wanted = wanted.reshape(*hands.positions_m.shape[:2], -1)
        scale = np.repeat([self._law.translation_scale_m, self._law.rotation_scale_rad], 3)
        ahead = near.reshape(*hands.positions_m.shape[:2], -1)[..., :6] * scale
        ahead = np.einsum("aij,napj->napi", bases, ahead.reshape(*ahead.shape[:2], 2, 3)).reshape(ahead.shape)
        rate, time_s = math.sqrt(self._law.kp), 1.0 / self._law.control_hz
        slope, decay = hands.twists - rate * ahead, math.exp(-rate * time_s)
        error = (slope * time_s - ahead) * decay
        twists = (hands.twists - rate * slope * time_s) * decay
        rotations = _matrix(error[..., 3:]) @ rotations_from_6d(wanted[..., 3:9])[0]
        return _Hands(wanted[..., :3] + error[..., :3], rotations, twists)

    def _due(self) -> Array:
        """(N, 10 A) what is pursued in this tick: of the newest chunk that has arrived."""
        due = self._hold.copy()
        for plan in self._plans:  # oldest first
            arrived = plan.arrives <= self._tick
            place = np.clip(self._tick - plan.born, 0, plan.goals.shape[1] - 1)
            due[arrived] = plan.goals[arrived, place[arrived]]
        return due

    def _forget(self) -> None:
        """Drop the plans that no world will follow any more."""
        replaced = np.zeros_like(self._fresh)
        kept = []
        for plan in reversed(self._plans):
            if not (replaced | (plan.arrives == _NEVER)).all():
                kept.append(plan)
            replaced |= plan.arrives <= self._tick
        self._plans = kept[::-1]


def _measured(obs: Observation, arms: int) -> _Hands:
    positions = np.stack([obs[f"robot{arm}_eef_pos"] for arm in range(arms)], axis=1).astype(np.float64)
    quats = np.stack([obs[f"robot{arm}_eef_quat"] for arm in range(arms)], axis=1).astype(np.float64)
    quats[~quats.any(axis=-1)] = 0.0, 0.0, 0.0, 1.0  # of worlds in which no episode ever ran
    rotations = Rotation.from_quat(quats.reshape(-1, 4)).as_matrix().reshape(*positions.shape, 3)
    return _Hands(positions, rotations, np.zeros((*positions.shape[:2], 6)))


def _rotvec(rotations: Array) -> Array:
    return np.asarray(Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec().reshape(rotations.shape[:-1]))


def _matrix(vectors: Array) -> Array:
    return np.asarray(Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape, 3))


def _within(vectors: Array, most: float) -> Array:
    """Vectors (…, 3), the longer ones shortened."""
    return np.asarray(
        vectors * np.minimum(1.0, most / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))
    )
