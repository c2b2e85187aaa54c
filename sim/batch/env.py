"""The batched environment: N worlds with robosuite's dynamics, stepped by native threads.

Observations are fresh: what robosuite reports after `sim.forward()` and forced updates until nothing changes.
(robosuite's own live observations are up to a substep old, and poses relative to the hand a control step.) Rewards
and success are robosuite's to the step: judged from positions as of the last substep's beginning.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from d2ppo_core.actions import deltas_from_goals
from d2ppo_core.config.randomisation import RandomisationConfig
from d2ppo_core.envs import AutoresetMode, BatchEnv, Box
from d2ppo_core.envs.base import Advance, Mask
from d2ppo_core.envs.protocol import Observation
from d2ppo_core.representations import EE_ABSOLUTE, OSC_DELTA, SIZES
from sim.assets.saved import load_physics_model
from sim.batch import randomise
from sim.batch.kernel import Arithmetic, KernelName, make_kernel
from sim.batch.layout import Layout, ParameterTable
from sim.batch.pictures import Pictures
from sim.batch.variation import BodyVariation
from sim.rendering.offscreen import PictureSize
from sim.tasks import arm_limits, task_named
from sim.tasks.base import CONTROL_HZ
from sim.tasks.training import HOME_Q_RAD, PARKED_POSE, START_FINGERS_M, Start


class BatchedEnv(BatchEnv):
    """N worlds of one task, robosuite's or your own."""

    def __init__(
        self,
        task: str,
        num_envs: int,
        *,
        num_threads: int | None = None,
        horizon_steps: int | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        terminate_on_success: bool = False,
        images: bool = False,
        image_size_px: PictureSize = 96,
        randomisation: RandomisationConfig | None = None,
        keep_arm_limits: bool = False,
        shortcuts: bool = True,
        kernel: KernelName = "auto",
        arithmetic: Arithmetic = "fast",
        pin: bool = False,
        action_representation: str = OSC_DELTA,
    ) -> None:
        """Build the worlds; needs MuJoCo and a C++ compiler, not robosuite.

        Args:
            task: Name of a task, or path of the folder of your own.
            num_envs: Number of worlds.
            num_threads: None takes as many as this process may use cores.
            horizon_steps: Control steps per episode; None takes the task's.
            autoreset_mode: When worlds start again.
            terminate_on_success: End an episode when it is solved.
            images: Also observe the task's cameras.
            image_size_px: Side of the pictures, or their height and width.
            randomisation: What differs between episodes; None: nothing that does not in robosuite.
            keep_arm_limits: An episode in which an arm passes the limits of real ones is lost, and ends.
            shortcuts: Leave out of physics what cannot matter: parked objects, pairs of bodies that never touch.
            kernel: `native`, `numpy` (slow, needs no compiler), or what is possible.
            arithmetic: `exact` makes the compiled controllers compute as robosuite with numba does, in its order of
                sums; `fast` differs in the last digits. The NumPy kernel is always exact.
            pin: Bind each thread to a core.
            action_representation: `osc_delta`, or `ee_absolute`: goals, of which each control step makes the delta
                that leads there from where the arm is (with an action latency: was, when the step began).

        Raises:
            ConfigError: unknown task, or a number that is not positive.
            WorldError: the worlds or the kernel cannot be built.
        """
        self.task = task_named(task)
        super().__init__(
            num_envs=num_envs,
            horizon_steps=horizon_steps or self.task.robosuite.horizon_steps,
            autoreset_mode=autoreset_mode,
            terminate_on_success=terminate_on_success,
        )
        self.randomisation, self._arm_limits = randomisation or RandomisationConfig(), keep_arm_limits
        self._load(task, shortcuts=shortcuts)
        threads = min(num_envs, num_threads or len(os.sched_getaffinity(0)))
        self.kernel = make_kernel(
            kernel, self.model, self.layout, num_envs, num_threads=threads, pin=pin, arithmetic=arithmetic
        )
        cameras = self.task.robosuite.cameras
        self._pictures = Pictures(task, cameras, image_size_px, num_envs) if images else None
        self._describe(action_representation)

    def set_states(self, states: NDArray[np.float64], starts: Sequence[Start] | None = None) -> Observation:
        """Put all worlds into given states, as robomimic's `reset_to` does before it replays a demonstration.

        robosuite's controllers then start from the home posture, not from the arms' pose in the state.

        Args:
            states: (N, 1 + nq + nv) robomimic's flattened states: time, positions, velocities.
            starts: where the saved demonstrations' objects differ from the standard ones, their geoms.
        """
        nq = self.model.nq
        everything = np.ones(self.num_envs, bool)
        for env, start in enumerate(starts or ()):
            self._vary(env, start, np.random.default_rng(env))
        self._home[:] = HOME_Q_RAD
        self.kernel.reset(everything, self._home, states[:, 1 : 1 + nq], states[:, 1 + nq :])
        self._elapsed[:], self._return[:] = 0, 0.0
        self._solved[:] = self._solved_now[:] = self._over[:] = False
        self._rngs = self._rngs or [np.random.default_rng(i) for i in range(self.num_envs)]
        return self._observe(everything)

    def states(self) -> NDArray[np.float64]:
        """(N, 1 + nq + nv) robomimic's flattened states."""
        return np.stack([np.concatenate([[d.time], d.qpos, d.qvel]) for d in self.kernel.data])

    def stages(self, obs: Observation) -> dict[str, Mask]:
        """The task's; see `VecEnv.stages`."""
        return self.task.stages(obs)

    def base_rotations(self) -> NDArray[np.float64]:
        """(A, 3, 3) of the robots' bases in the world, once an episode has begun."""
        sites = [arm.base_site for arm in self.layout.arms]
        return np.array(self.kernel.data[0].site_xmat[sites].reshape(-1, 3, 3))

    def close(self) -> None:
        """Stop the threads and free the renderer."""
        self.kernel.close()
        if self._pictures is not None:
            self._pictures.close()

    def _load(self, task: str, *, shortcuts: bool) -> None:
        """Load the model, find what is read and written in it, and make room for what each world starts from."""
        self.model = load_physics_model(task, parked=self.task.parked if shortcuts else (), skip_apart=shortcuts)
        self.layout = self._make_layout()
        self._arm_joints = np.array([arm.qpos for arm in self.layout.arms])
        self._hand_bodies = [self.model.body(f"robot{arm}_right_hand").id for arm in range(self.task.num_arms)]
        self._home = np.empty((self.num_envs, self.task.num_arms, 7))
        self._qpos = np.tile(self._resting_qpos(), (self.num_envs, 1))
        self._qvel = np.zeros((self.num_envs, self.model.nv))

    def _describe(self, action_representation: str) -> None:
        """Say what is observed, which actions are taken, and how the worlds were made."""
        self.single_observation_space = self._observation_space()
        self.action_representation = action_representation
        size, bound = self.task.num_arms * SIZES[action_representation], np.inf if self._takes_goals else 1.0
        self.single_action_space = Box(low=-bound, high=bound, shape=(size,), dtype=np.dtype(np.float32))
        self.metadata: Mapping[str, Any] = {
            "task": self.task.name,
            "control_hz": CONTROL_HZ,
            "action_representation": action_representation,
            "autoreset_mode": self.autoreset_mode,
            "horizon_steps": self.horizon_steps,
            "randomisation": self.randomisation.as_record(),
        }

    def _start(self, mask: Mask, rngs: Sequence[np.random.Generator]) -> None:
        for env in np.flatnonzero(mask).tolist():
            start = self.task.draw(rngs[env])
            self._vary(env, start, rngs[env].spawn(1)[0])
            self._home[env] = start.arm_q_rad
            for arm, index in enumerate(self.layout.arms):
                self._qpos[env, list(index.qpos)] = start.arm_q_rad[arm]
            for joint, pose in start.objects.items():
                address = int(self.model.joint(joint).qposadr[0])
                self._qpos[env, address : address + 7] = pose
        self.kernel.reset(mask, self._home, self._qpos, self._qvel)

    @property
    def _takes_goals(self) -> bool:
        return self.action_representation == EE_ABSOLUTE

    def _advance(self, actions: NDArray[np.float64], steps: NDArray[np.int32]) -> Advance:
        rows, diverged = (self._pursue if self._takes_goals else self.kernel.step)(actions, steps)
        success = self.task.success(self.layout.step_taps.split(rows))
        return Advance(success.astype(np.float32), success, diverged, self._lost() & ~success.any(axis=1))

    def _lost(self) -> NDArray[np.bool_]:
        """(N,) episodes in which an arm is beyond limits that are to be kept."""
        if not self._arm_limits:
            return np.zeros(self.num_envs, bool)
        q_rad = np.stack([data.qpos[self._arm_joints] for data in self.kernel.data])
        return np.asarray(arm_limits.passed(q_rad).any(axis=1))

    def _pursue(
        self, goals: NDArray[np.float64], steps: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """As the kernel's step, with goals: only one control step at a time tells where the arms have got to."""
        rows, diverged = [], np.zeros(self.num_envs, bool)
        for t in range(goals.shape[1]):
            ones = (steps > t).astype(np.int32)
            deltas = deltas_from_goals(goals[:, t], *self._hands(), self.base_rotations())
            row, broken = self.kernel.step(deltas[:, None], ones)
            rows.append(row)
            diverged |= broken & (ones > 0)
        return np.concatenate(rows, axis=1), diverged

    def _hands(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Grip sites' positions (N, A, 3) and hands' rotations (N, A, 3, 3), now."""
        sites, bodies = [arm.grip_site for arm in self.layout.arms], self._hand_bodies
        positions = np.stack([data.site_xpos[sites] for data in self.kernel.data])
        rotations = np.stack([data.xmat[bodies] for data in self.kernel.data])
        return positions, rotations.reshape(*positions.shape, 3)

    def _observe(self, mask: Mask) -> Observation:
        taps = self.layout.observation_taps.split(self.kernel.observations)
        observation: Observation = {key: values.astype(np.float32) for key, values in self.task.observe(taps).items()}
        if self._pictures is not None:
            observation |= self._pictures.draw(mask, [data.qpos for data in self.kernel.data])
        return observation

    def _vary(self, env: int, start: Start, rng: np.random.Generator) -> None:
        """Give a world the objects of this start, and whatever else differs in this episode."""
        row, switches = self.kernel.parameters[env], self.randomisation
        if switches.of_dynamics:
            scratch = self.model.__copy__()
            if self._variation is not None:
                varied = self._variation_table.row(self.model)
                self._variation.write(self._variation_table, varied, start.geoms)
                self._variation_table.write(scratch, varied)
            randomise.dynamics(switches, rng, scratch, mujoco.MjData(scratch))
            row[:] = self.layout.table.row(scratch)
        elif self._variation is not None:
            self._variation.write(self._variation_table, row, start.geoms)
        if switches.as_record():
            self.kernel.set_controller(env, **randomise.controller(switches, rng))
        if self._pictures is not None:
            changes = randomise.picture(switches, rng, self._pictures.model) if switches.of_pictures else {}
            self._pictures.dress(env, start, changes)

    def _make_layout(self) -> Layout:
        body = self.task.varied_body
        self._variation = BodyVariation(self.task.name, self.model, body) if body else None
        varied = self._variation.parameters if self._variation else ()
        self._variation_table = ParameterTable(self.model, varied)
        return Layout.of(
            self.model,
            num_arms=self.task.num_arms,
            step_taps=self.task.success_taps,
            observation_taps=self.task.observation_taps,
            parameters=randomise.dynamics_parameters(self.model) if self.randomisation.of_dynamics else varied,
        )

    def _resting_qpos(self) -> NDArray[np.float64]:
        """(nq,) fingers half open, objects parked; arms and objects are set by each start."""
        qpos = np.array(self.model.qpos0)
        for joint in range(self.model.njnt):
            address = self.model.jnt_qposadr[joint]
            if self.model.jnt_type[joint] == 0:  # free
                qpos[address : address + 7] = PARKED_POSE
        for arm in range(self.task.num_arms):
            for finger, position in enumerate(START_FINGERS_M, 1):
                qpos[self.model.joint(f"gripper{arm}_right_finger_joint{finger}").qposadr[0]] = position
        return qpos

    def _observation_space(self) -> dict[str, Box]:
        sizes: dict[str, int] = {}
        for arm in range(self.task.num_arms):
            sizes |= {f"robot{arm}_eef_pos": 3, f"robot{arm}_eef_quat": 4, f"robot{arm}_gripper_qpos": 2}
        sizes["object"] = self.task.object_size
        floats, bytes_ = np.dtype(np.float32), np.dtype(np.uint8)
        spaces = {key: Box(low=-np.inf, high=np.inf, shape=(size,), dtype=floats) for key, size in sizes.items()}
        if self._pictures is not None:
            shape = (*self._pictures.image_hw, 3)
            spaces |= {
                f"{name}_image": Box(low=0, high=255, shape=shape, dtype=bytes_) for name in self._pictures.cameras
            }
        return spaces
