"""A task that is learned in seconds: a point in the plane has to stop at a goal. Seven actions, of which two count."""

from pathlib import Path

import numpy as np

from d2ppo_core.data.episodes import Episode, EpisodeWriter
from d2ppo_core.envs import AutoresetMode, BatchEnv, Box
from d2ppo_core.envs.base import Advance

TASK = "point"
KEYS = ("position", "goal")
CAMERA = "top_image"
SIDE_PX = 16
SPEED = 0.1
"""Way per step at full action; the plane spans [-1, 1]."""
RADIUS = 0.08
"""Solved within this distance of the goal."""
HORIZON = 16


class PointEnv(BatchEnv):
    """Reward 1 for every step that ends at the goal."""

    def __init__(self, num_envs=8, *, images=False, **options):
        super().__init__(num_envs=num_envs, **({"horizon_steps": HORIZON} | options))
        self.metadata = {"autoreset_mode": self.autoreset_mode, "control_hz": 20, "task": TASK}
        self.images = images
        self.position, self.goal = np.zeros((num_envs, 2)), np.zeros((num_envs, 2))
        self.radius = np.full(num_envs, RADIUS)
        self.actions = []
        """Every array of actions that arrived, (N, T, 7)."""
        number, byte = np.dtype(np.float32), np.dtype(np.uint8)
        self.single_observation_space = {
            key: Box(low=-np.inf, high=np.inf, shape=(2,), dtype=number) for key in KEYS
        } | ({CAMERA: Box(low=0, high=255, shape=(SIDE_PX, SIDE_PX, 3), dtype=byte)} if images else {})
        self.single_action_space = Box(low=-1.0, high=1.0, shape=(7,), dtype=number)

    def close(self):
        self.actions = []

    def stages(self, obs):
        """Half the way first."""
        return {"half_way": np.linalg.norm(obs["position"] - obs["goal"], axis=-1) < 0.3}

    def _start(self, mask, rngs):
        for i in np.flatnonzero(mask):
            angle = rngs[i].uniform(0, 2 * np.pi)
            self.position[i] = rngs[i].uniform(-0.1, 0.1, 2)
            self.goal[i] = 0.6 * np.array([np.cos(angle), np.sin(angle)])

    def _advance(self, actions, steps):
        self.actions.append(actions)
        rewards = np.zeros(actions.shape[:2])
        for t in range(actions.shape[1]):
            self.position += SPEED * actions[:, t, :2] * (t < steps)[:, None]
            rewards[:, t] = np.linalg.norm(self.position - self.goal, axis=1) < self.radius
        return Advance(rewards, rewards > 0, *np.zeros((2, self.num_envs), bool))

    def _observe(self, mask):
        obs = {"position": self.position.astype(np.float32), "goal": self.goal.astype(np.float32)}
        return obs | ({CAMERA: self._draw()} if self.images else {})

    def _draw(self):
        """Point in red, goal in green."""
        places = (np.arange(SIDE_PX) + 0.5) / SIDE_PX * 2 - 1
        picture = np.full((self.num_envs, SIDE_PX, SIDE_PX, 3), 20, np.uint8)
        for channel, where in enumerate((self.position, self.goal)):
            near = np.abs(places - where[..., None]) < 0.15
            picture[..., channel] += (near[:, 1, :, None] & near[:, 0, None, :]).astype(np.uint8) * 200
        return picture


def worlds(num_envs=8, *, images=False):
    """How to build worlds for training and, ending an episode when it is solved, for evaluation."""

    def make(mode):
        ends = mode is AutoresetMode.DISABLED
        return PointEnv(num_envs, autoreset_mode=mode, terminate_on_success=ends, images=images)

    return make


def demonstrate(path: Path, *, episodes: int, seed: int, miss: float = 0.1, images: bool = False) -> float:
    """Write demonstrations that head for a place about `miss` beside the goal; returns the share that is solved."""
    rng = np.random.default_rng(seed)
    env = PointEnv(num_envs=episodes, images=images)
    obs, _ = env.reset(seed=seed)
    aim = env.goal + rng.normal(scale=miss / 2**0.5, size=(episodes, 2))
    frames, actions, rewards = [obs], [], []
    for _ in range(HORIZON - 1):
        action = np.zeros((episodes, 7))
        action[:, :2] = np.clip((aim - env.position) / SPEED, -1, 1) + rng.normal(scale=0.1, size=(episodes, 2))
        obs, reward, *_ = env.step(action.clip(-1, 1))
        frames.append(obs)
        actions.append(action.clip(-1, 1))
        rewards.append(reward)
    with EpisodeWriter(path, env_args={"env_name": "Point"}) as writer:
        for i in range(episodes):
            reward = np.array([r[i] for r in rewards], dtype=float)
            writer.append(
                Episode(
                    actions=np.array([a[i] for a in actions]),
                    rewards=reward,
                    dones=reward.astype(np.int64),
                    states=np.zeros((HORIZON - 1, 1)),
                    observations={key: np.array([frame[key][i] for frame in frames[:-1]]) for key in obs},
                )
            )
    return float(np.mean(np.any(rewards, axis=0)))
