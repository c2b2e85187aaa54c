"""From a configuration and the shapes of a dataset to the networks."""

from dataclasses import dataclass

from d2ppo_core.config import PretrainConfig
from d2ppo_core.config.finetune import ChainConfig
from d2ppo_core.errors import ConfigError
from d2ppo_core.models.chain import ChainPolicy, DiffusionChain
from d2ppo_core.models.diffusion import DiffusionPolicy
from d2ppo_core.models.gaussian import GaussianChain, GaussianPolicy, MeanNetwork
from d2ppo_core.models.mlp import Denoiser
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.models.vit import ImageEncoder, StateEncoder


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Sizes that come from the data, not from the configuration."""

    state_dim: int
    action_dim: int
    num_cameras: int = 0
    image_hw: tuple[int, int] = (0, 0)
    """Height and width that the network sees, pixels."""
    camera_hw: tuple[int, int] = (0, 0)
    """Height and width of the cameras' pictures, which are fitted to `image_hw`; not given: the same."""

    def __post_init__(self) -> None:
        """Take the size of the images for that of the cameras when it was left open."""
        if self.camera_hw == (0, 0):
            object.__setattr__(self, "camera_hw", self.image_hw)


def build_policy(config: PretrainConfig, shapes: Shapes) -> ChunkPolicy:
    """Return a freshly initialised policy of the configured kind; weights follow torch's global generator."""
    return build_diffusion(config, shapes) if config.model.kind == "diffusion" else _build_gaussian(config, shapes)


def build_diffusion(config: PretrainConfig, shapes: Shapes) -> DiffusionPolicy:
    """As `build_policy`, for what only a diffusion policy has. Raises ConfigError when it is of another kind."""
    model = config.model
    if model.kind != "diffusion":
        raise ConfigError(f"wanted a diffusion policy, got a {model.kind} one")
    encoder = _build_encoder(config, shapes)
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
        sampler_times=model.sampler_times,
    )


def build_chain(policy: ChunkPolicy, config: ChainConfig, *, action_horizon: int) -> ChainPolicy:
    """The policy as one that explores and has likelihoods; its weights are the actor's from now on.

    Raises ConfigError for a policy of unknown kind.
    """
    if isinstance(policy, GaussianPolicy):
        return GaussianChain(policy, config, action_horizon=action_horizon)
    if isinstance(policy, DiffusionPolicy):
        return DiffusionChain(policy, config, action_horizon=action_horizon)
    raise ConfigError(f"wanted a diffusion or a Gaussian policy, got {type(policy).__name__}")


def _build_gaussian(config: PretrainConfig, shapes: Shapes) -> GaussianPolicy:
    encoder = _build_encoder(config, shapes)
    mean = MeanNetwork(
        chunk_dim=config.data.pred_horizon * shapes.action_dim,
        condition_dim=encoder.out_dim,
        hidden_dim=config.model.hidden_dim,
    )
    return GaussianPolicy(
        encoder=encoder,
        mean=mean,
        pred_horizon=config.data.pred_horizon,
        action_dim=shapes.action_dim,
        config=config.model.gaussian,
    )


def _build_encoder(config: PretrainConfig, shapes: Shapes) -> ImageEncoder | StateEncoder:
    model = config.model
    if not shapes.num_cameras:
        return StateEncoder(shapes.state_dim)
    return ImageEncoder(
        image_hw=shapes.image_hw,
        num_cameras=shapes.num_cameras,
        state_dim=shapes.state_dim,
        stem=model.stem,
        width=model.vit_width,
        heads=model.vit_heads,
        depth=model.vit_depth,
        features=model.camera_features,
    )
