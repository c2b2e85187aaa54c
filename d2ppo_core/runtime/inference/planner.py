"""From observations to timed targets: one inference, and the training controller's response to its actions."""

import time
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from d2ppo_core.errors import ConfigError
from d2ppo_core.geometry import Array
from d2ppo_core.representations import EE_ABSOLUTE
from d2ppo_core.runtime.inference.observation import ArmSample, Observation, ObservationBuffer
from d2ppo_core.runtime.inference.osc import Targets, leashed, targets_from_deltas, targets_from_goals
from d2ppo_core.runtime.inference.policy import Policy


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """How chunks are planned.

    Attributes:
        replan_ticks: Control ticks between two inferences; 0 takes the bundle's action horizon.
        settle_ticks: Ticks added to a chunk in which the arm comes to rest if no other chunk follows.
        max_lead_m: How far the start of a chunk may lead the measured position.
        max_lead_rad: The same for the rotation.
        noise_seed: Seed of the sampler's noise.
        max_age_s: Oldest observation that may be used.
        max_skew_s: How far apart in time what is put together may be.
    """

    replan_ticks: int = 0
    settle_ticks: int = 8
    max_lead_m: float = 0.02
    max_lead_rad: float = 0.15
    noise_seed: int = 0
    max_age_s: float = 0.5
    max_skew_s: float = 0.03

    def __post_init__(self) -> None:
        """Raise ConfigError for ticks below the least that makes sense."""
        if self.replan_ticks < 0 or self.settle_ticks < 1:
            raise ConfigError(
                f"replan_ticks must be >= 0 and settle_ticks >= 1, got {self.replan_ticks} and {self.settle_ticks}"
            )


@dataclass(frozen=True)
class Plan:
    """One chunk for each arm, and what they were made from."""

    targets: tuple[Targets, ...]
    observation: Observation
    inference_s: float
    noise: npt.NDArray[np.float32]
    """(1, Tp, Da) with which it was sampled."""


class ChunkPlanner:
    """Asks the policy whenever a chunk is due, and turns its answer into absolute targets."""

    def __init__(self, policy: Policy, config: PlannerConfig, arms: tuple[str, ...] = ()) -> None:
        """Plan with a policy that has been verified, for arms that are called so; one needs no name."""
        self.policy = policy
        self.observations = ObservationBuffer(policy.manifest, config.max_age_s, config.max_skew_s, arms=arms)
        self._config = config
        self._T_ee_site = np.asarray(policy.manifest.T_ee_site).reshape(4, 4)
        self._noise = np.random.default_rng(config.noise_seed)
        self._last: Observation | None = None
        self.inference_s: deque[float] = deque(maxlen=100)
        self.replace(policy)

    @property
    def period_s(self) -> float:
        """Between two chunks."""
        return self._ticks / self.policy.manifest.action.control_hz

    @property
    def _ticks(self) -> int:
        """The same in control ticks."""
        return self._config.replan_ticks or self.policy.manifest.action_horizon

    def restart(self, noise_seed: int) -> None:
        """Begin anew with this seed: the next observation makes a chunk due."""
        self._noise = np.random.default_rng(noise_seed)
        self._last = None

    def retry(self) -> None:
        """Let the next observation make a chunk due: the last one is not followed."""
        self._last = None

    def plan(self, now_ns: int) -> Plan | None:
        """Make the next chunks, one for each arm, if they are due.

        Returns:
            None when the newest observation is not yet a replanning period newer than the last one used.

        Raises:
            MissingObservationError: An observation is missing or too old.
            ActionError: The policy answered something that is no pose.
        """
        observation = self.observations.assemble(now_ns)
        last = self._last
        if last is not None and last.epochs == observation.epochs:
            if 0 <= observation.stamp_ns - last.stamp_ns < self._replan_ns:
                return None
        self._last = observation
        manifest = self.policy.manifest
        noise = self._noise.standard_normal((1, manifest.pred_horizon, manifest.action.dim), dtype=np.float32)
        plan = self.answer(self.policy, observation, noise)
        self.inference_s.append(plan.inference_s)
        return plan

    def answer(self, policy: Policy, observation: Observation, noise: npt.NDArray[np.float32]) -> Plan:
        """Ask any policy of the same contract; noise of another horizon is cut or repeated to its own.

        Raises:
            ActionError: The policy answered something that is no pose.
        """
        manifest = policy.manifest
        noise = np.resize(noise, (1, manifest.pred_horizon, manifest.action.dim))
        began = time.perf_counter()
        actions = policy.infer({**observation.inputs, "noise": noise})
        inference_s = time.perf_counter() - began
        per_arm = np.split(actions.astype(np.float64), manifest.num_arms, axis=1)
        targets = tuple(map(self._targets, per_arm, observation.arms, manifest.bases))
        return Plan(targets, observation, inference_s, noise)

    def replace(self, policy: Policy) -> None:
        """Ask another policy of the same contract from the next chunk on."""
        self.policy = policy
        self.inference_s.clear()
        self._replan_ns = round((self._ticks - 0.5) / policy.manifest.action.control_hz * 1e9)

    def _targets(self, actions: Array, arm: ArmSample, T_world_base: Array) -> Targets:
        spec, settle_ticks = self.policy.manifest.action, self._config.settle_ticks
        start = leashed(arm.reference, arm.measured, self._config.max_lead_m, self._config.max_lead_rad)
        if spec.representation == EE_ABSOLUTE:
            return targets_from_goals(actions, start, spec, T_world_base, self._T_ee_site, settle_ticks)
        return targets_from_deltas(actions, start, spec, self._T_ee_site, settle_ticks)
