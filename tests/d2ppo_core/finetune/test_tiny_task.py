from d2ppo_core.envs import AutoresetMode
from d2ppo_core.envs.contract import HORIZON, EnvContract
from d2ppo_core.envs.protocol import VecEnv

from .tiny_task import PointEnv


class TestPoint(EnvContract):
    def make(self, *, autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP) -> VecEnv:
        return PointEnv(2, horizon_steps=HORIZON, autoreset_mode=autoreset_mode)


class TestPointWithPictures(EnvContract):
    def make(self, *, autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP) -> VecEnv:
        return PointEnv(2, horizon_steps=HORIZON, autoreset_mode=autoreset_mode, images=True)
