"""From a configuration and the shapes of a dataset to the networks."""

from dataclasses import dataclass

from d2ppo_core.config import PretrainConfig
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.models.mlp import Denoiser
from d2ppo_core.models.vit import ImageEncoder, StateEncoder


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Sizes that come from the data, not from the configuration."""

    state_dim: int
    action_dim: int
    num_cameras: int = 0
    image_hw: tuple[int, int] = (0, 0)


def build_policy(config: PretrainConfig, shapes: Shapes) -> DiffusionPolicy:
    """Return a freshly initialised policy; weights follow torch's global generator."""
    model = config.model
    encoder: ImageEncoder | StateEncoder
    if shapes.num_cameras:
        encoder = ImageEncoder(
            image_hw=shapes.image_hw,
            num_cameras=shapes.num_cameras,
            state_dim=shapes.state_dim,
            stem=model.stem,
            width=model.vit_width,
            heads=model.vit_heads,
            depth=model.vit_depth,
            features=model.camera_features,
        )
    else:
        encoder = StateEncoder(shapes.state_dim)
    denoiser = Denoiser(
        chunk_dim=config.data.pred_horizon * shapes.action_dim,
        condition_dim=encoder.out_dim,
        hidden_dim=model.hidden_dim,
        time_dim=model.time_dim,
    )
    return DiffusionPolicy(
        encoder=encoder,
        denoiser=denoiser,
        pred_horizon=config.data.pred_horizon,
        action_dim=shapes.action_dim,
        num_train_steps=model.num_train_steps,
        num_denoising_steps=model.num_denoising_steps,
    )
