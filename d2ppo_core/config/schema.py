"""What a pre-training run consists of. Every value has a default; YAML files hold only what differs."""

from dataclasses import dataclass, field

from d2ppo_core.config.checks import one_of, require
from d2ppo_core.config.distil import DistilConfig
from d2ppo_core.representations import OSC_DELTA, REPRESENTATIONS

LEADING, CENTRED, TRAILING = "leading", "centred", "trailing"
SAMPLER_TIMES = (TRAILING, LEADING, CENTRED)
STEMS = ("plain", "overlap")
DISPERSIVE_VARIANTS = ("none", "infonce_l2", "infonce_cosine", "hinge", "covariance")
TAPS = ("encoder", "early", "mid", "late")
"""Features of the network: the observation's embedding and the denoiser's hidden activations, in order of depth."""
SCALE_FREE, BATCH_MAX, RAW, PUBLISHED = "scale_free", "batch_max", "raw", "published"
DISPERSIVE_FORMS = (SCALE_FREE, BATCH_MAX, RAW, PUBLISHED)
ACTION_TARGETS = ("expert", "executed")
TAILS = ("hold", "drop")
PRECISIONS = ("float32", "bfloat16")
POLICIES = ("diffusion", "gaussian")
DEVICES = ("cpu", "cuda")
IMAGE_FITS = ("pad", "crop", "resize")
IMAGE_STEP_PX = 8
"""The image encoder cuts pictures into squares of this side."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which observations become the policy's input, and how episodes are cut into windows."""

    low_dim_keys: tuple[str, ...] = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "object")
    """Concatenated in this order to the state vector; keys ending in `_quat` are made sign-canonical."""
    image_keys: tuple[str, ...] = ()
    """One camera each; empty for a state policy."""
    image_fit: str = "pad"
    """How pictures whose sides the encoder cannot cut (multiples of 8) are made to fit: `pad` repeats the border's
    pixels, `crop` takes the centre, `resize` averages areas. The bundle's graph does the same, to the bit."""
    image_size_px: tuple[int, ...] = ()
    """Height and width that the network sees; empty takes the nearest that fits. Large pictures want `resize` here."""
    pred_horizon: int = 4
    action_horizon: int = 4
    min_range: float = 0.02
    """Narrower dimensions are normalised as if they spanned this much (raw units)."""
    random_shift_px: int = 4
    """Images are shifted by up to this many pixels per axis in training; 0 turns it off."""
    state_noise_std: float = 0.0
    """Gaussian noise on the normalised state in training."""
    max_episodes: int = 0
    """Use only the first so many episodes; 0 = all."""
    validation_episodes: int = 0
    """So many episodes at the end are kept out of training and measure over-fitting."""
    filter_key: str = ""
    """Train on this subset of the file (robomimic's `mask`, e.g. `train`); empty = all."""
    validation_filter_key: str = ""
    """Measure over-fitting on this subset (e.g. `valid`) instead of the last episodes."""
    action_target: str = "expert"
    """`expert`: what the demonstrator meant, where the file tells; `executed`: what the controller got."""
    action_representation: str = OSC_DELTA
    """`osc_delta`: the file's own; `ee_absolute`: the goals that they lead to, made of them and the observed poses."""
    base_yaw_rad: tuple[float, ...] = (0.0,)
    """Turn of each arm's base about the vertical in the file's world: the deltas of robosuite 1.5 are in its frame,
    older ones in the world's (0). `ee_absolute` and the bundle ask."""
    tails: str = "hold"
    """Chunks that reach over the end of their episode: `hold` fills them by standing still, `drop` leaves them out."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown name, a value out of range, or two ways at once to choose what validates."""
        one_of("data.action_target", self.action_target, ACTION_TARGETS)
        one_of("data.action_representation", self.action_representation, REPRESENTATIONS)
        one_of("data.tails", self.tails, TAILS)
        one_of("data.image_fit", self.image_fit, IMAGE_FITS)
        sides = self.image_size_px
        require(
            not sides or (len(sides) == 2 and all(side > 0 and side % IMAGE_STEP_PX == 0 for side in sides)),
            f"data.image_size_px: wanted [height, width], both multiples of {IMAGE_STEP_PX}, got {list(sides)}",
        )
        require(
            not (self.validation_episodes and self.validation_filter_key),
            "data: wanted validation_episodes or validation_filter_key, got both",
        )
        require(bool(self.low_dim_keys), "data.low_dim_keys: wanted at least one key, got none")
        require(
            1 <= self.action_horizon <= self.pred_horizon,
            f"data: wanted 1 <= action_horizon <= pred_horizon, got {self.action_horizon} and {self.pred_horizon}",
        )
        require(self.min_range > 0, f"data.min_range: wanted > 0, got {self.min_range}")
        require(self.random_shift_px >= 0, f"data.random_shift_px: wanted >= 0, got {self.random_shift_px}")
        require(self.state_noise_std >= 0, f"data.state_noise_std: wanted >= 0, got {self.state_noise_std}")
        require(
            self.validation_episodes >= 0,
            f"data.validation_episodes: wanted >= 0, got {self.validation_episodes}",
        )
        require(self.max_episodes >= 0, f"data.max_episodes: wanted >= 0, got {self.max_episodes}")


@dataclass(frozen=True, kw_only=True)
class GaussianConfig:
    """Spread of the Gaussian policy (normalised actions); the same for every observation."""

    std: float = 0.1
    """Standard deviation, or where learning it starts."""
    learn_std: bool = False
    """Per entry of the chunk, by maximum likelihood; else cloning minimises squared errors."""
    std_min: float = 0.01
    std_max: float = 0.2
    """Bounds of a learned one."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a spread <= 0, or one outside the bounds that it is learnt within."""
        require(self.std > 0, f"model.gaussian.std: wanted > 0, got {self.std}")
        require(
            not self.learn_std or 0 < self.std_min < self.std < self.std_max,
            f"model.gaussian: wanted 0 < std_min < std < std_max, got {self.std_min}, {self.std} and {self.std_max}",
        )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes of the networks and the length of the diffusion."""

    kind: str = "diffusion"
    """`gaussian`: the baseline without diffusion, on the same encoder and trunk."""
    stem: str = "plain"
    """`plain`: one 8x8/8 convolution; `overlap`: 8x8/4, ReLU, 3x3/2 (published, a quarter more costly)."""
    vit_width: int = 128
    vit_heads: int = 4
    vit_depth: int = 1
    camera_features: int = 128
    hidden_dim: int = 512
    time_dim: int = 16
    num_train_steps: int = 20
    """Length T of the forward process."""
    num_denoising_steps: int = 10
    """K of the DDIM sampler at inference."""
    sampler_times: str = TRAILING
    """Where these K steps lie: `trailing` begins at T - 1, where noise is pure; `leading`, as in runs from before this
    was a choice, at T - T/K; `centred` between them, for few steps that are learned from a teacher. Noise prediction
    does not depend on it; distillation, fine-tuning and bundles are made for one of them."""
    gaussian: GaussianConfig = field(default_factory=GaussianConfig)

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown name, a size out of range, or steps that do not divide the diffusion."""
        one_of("model.kind", self.kind, POLICIES)
        one_of("model.stem", self.stem, STEMS)
        one_of("model.sampler_times", self.sampler_times, SAMPLER_TIMES)
        require(
            self.vit_width % self.vit_heads == 0,
            f"model: wanted vit_width divisible by vit_heads, got {self.vit_width} and {self.vit_heads}",
        )
        require(self.vit_depth >= 1, f"model.vit_depth: wanted >= 1, got {self.vit_depth}")
        require(
            self.time_dim >= 4 and self.time_dim % 2 == 0,
            f"model.time_dim: wanted an even number >= 4, got {self.time_dim}",
        )
        require(
            1 <= self.num_denoising_steps <= self.num_train_steps
            and self.num_train_steps % self.num_denoising_steps == 0,
            "model: wanted num_denoising_steps to divide num_train_steps, got "
            f"{self.num_denoising_steps} and {self.num_train_steps}",
        )


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The noise-prediction loss plus the weighted dispersive term."""

    dispersive: str = "infonce_l2"
    """`none` leaves the term out."""
    dispersive_form: str = SCALE_FREE
    """`scale_free`: features centred and divided by the batch's RMS, so that growing is no way apart; `batch_max`:
    distances divided by their largest (MP1); `raw`: as they are, which makes features grow and policies deaf;
    `published`: as the published code computes it, for the record (`pretrain/objective.py`)."""
    dispersive_tap: str = "early"
    """Which features are pushed apart."""
    dispersive_equal_t: bool = False
    """Only pairs of one time step, whose own share in the features is then free: blind to time."""
    dispersive_weight: float = 0.5
    """λ."""
    temperature: float = 0.5
    margin: float = 1.0
    """Distance wanted by the hinge variant."""
    noise_samples_per_obs: int = 1
    """(t, noise) pairs drawn per encoded observation; more pay where the encoder is dear, with images."""

    @property
    def active(self) -> bool:
        """Whether the dispersive term takes part in training."""
        return self.dispersive != "none" and self.dispersive_weight > 0

    @property
    def published(self) -> bool:
        """Whether the term is that of the published code."""
        return self.dispersive_form == PUBLISHED

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown variant, a value out of range, or what the published loss does not have."""
        one_of("loss.dispersive", self.dispersive, DISPERSIVE_VARIANTS)
        one_of("loss.dispersive_form", self.dispersive_form, DISPERSIVE_FORMS)
        one_of("loss.dispersive_tap", self.dispersive_tap, TAPS)
        require(self.dispersive_weight >= 0, f"loss.dispersive_weight: wanted >= 0, got {self.dispersive_weight}")
        for name in ("temperature", "margin"):
            require(getattr(self, name) > 0, f"loss.{name}: wanted > 0, got {getattr(self, name)}")
        require(
            self.noise_samples_per_obs >= 1,
            f"loss.noise_samples_per_obs: wanted >= 1, got {self.noise_samples_per_obs}",
        )
        require(
            self.dispersive_form != BATCH_MAX or self.dispersive in ("none", "infonce_l2", "hinge"),
            f"loss.dispersive_form: wanted infonce_l2 or hinge, which have distances, for {BATCH_MAX}, got "
            f"{self.dispersive!r}",
        )
        require(
            not self.dispersive_equal_t or self.dispersive_tap != "encoder" or not self.active,
            "loss.dispersive_equal_t: wanted loss.dispersive_tap behind the encoder, which sees no time, got 'encoder'",
        )
        if self.published and self.active:
            self._check_published()

    def _check_published(self) -> None:
        """The published code taps the denoiser only, over all pairs, and draws one noise per observation."""
        wanted = f"loss.dispersive_form={PUBLISHED}: wanted"
        require(self.dispersive_tap != "encoder", f"{wanted} loss.dispersive_tap among early, mid, late, got 'encoder'")
        require(not self.dispersive_equal_t, f"{wanted} loss.dispersive_equal_t=false, got true")
        require(
            self.noise_samples_per_obs == 1,
            f"{wanted} loss.noise_samples_per_obs=1, got {self.noise_samples_per_obs}",
        )


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Optimiser, averaging and the book-keeping of the loop."""

    steps: int = 20_000
    batch_size: int = 256
    lr: float = 1e-3
    lr_final: float = 1e-5
    warmup_steps: int = 200
    weight_decay: float = 1e-6
    grad_clip_norm: float = 1.0
    """Global gradient norm limit; 0 turns clipping off."""
    ema_decay: float = 0.995
    ema_every: int = 10
    ema_start_step: int = 200
    ema_warmup: bool = True
    """The average reaches back less far at first; else that of a short run holds its beginning. Published: false."""
    precision: str = "float32"
    """Of the products in image encoder and residual block while training; weights, sums, losses stay in float32."""
    device: str = "cpu"
    """`cuda` takes the GPU of this process: number LOCAL_RANK under torchrun, else the first."""
    compile: bool = False
    """Compile the training step with torch.compile; on CUDA as CUDA graphs. The first steps take minutes."""
    threads: int = 1
    log_every: int = 50
    """A logged step takes a few times as long as another: it looks at all taps."""
    validate_every: int = 500
    checkpoint_every_s: float = 180.0

    def __post_init__(self) -> None:
        """Raise ConfigError for a rate, count or name out of range."""
        for name in ("steps", "batch_size", "ema_every", "threads", "log_every", "validate_every"):
            require(getattr(self, name) >= 1, f"optim.{name}: wanted >= 1, got {getattr(self, name)}")
        require(self.lr > 0, f"optim.lr: wanted > 0, got {self.lr}")
        require(0 <= self.lr_final <= self.lr, f"optim.lr_final: wanted 0 <= lr_final <= lr, got {self.lr_final}")
        require(self.warmup_steps >= 0, f"optim.warmup_steps: wanted >= 0, got {self.warmup_steps}")
        require(0 <= self.ema_decay < 1, f"optim.ema_decay: wanted in [0, 1), got {self.ema_decay}")
        require(self.grad_clip_norm >= 0, f"optim.grad_clip_norm: wanted >= 0, got {self.grad_clip_norm}")
        one_of("optim.precision", self.precision, PRECISIONS)
        one_of("optim.device", self.device, DEVICES)


# fmt: off
ROBOSUITE_PANDA_COUPLING = (
    1.0, 0.0, 0.0, 0.015, -0.280, 0.001,
    0.0, 1.0, 0.0, 0.581, -0.008, 0.102,
    0.0, 0.0, 1.0, 0.012, -0.158, 0.001,
    -0.056, 0.906, 0.053, 1.0, 0.0, 0.0,
    -2.209, 0.032, -0.319, 0.0, 1.0, 0.0,
    0.008, 0.856, -0.009, 0.0, 0.0, 1.0,
)
# fmt: on
"""J M⁻¹ Jᵀ · diag(Λ_translation, Λ_rotation) of robosuite 1.5's Panda at its grip site, base frame, mean over episodes
of Lift; it varies little over the workspace."""


@dataclass(frozen=True, kw_only=True)
class DeployConfig:
    """Where the robots stand in the frame of the dataset; goes into the bundle's manifest."""

    base_position_m: tuple[float, ...] = (-0.56, 0.0, 0.912)
    """Robot base in the dataset's world frame, of each arm one after the other; `data.base_yaw_rad` is its turn."""
    ee_site_offset_m: tuple[float, ...] = (0.0, 0.0, -0.0069)
    """From Franka's end-effector frame to the site whose position is `robot0_eef_pos` (identity rotation)."""
    control_hz: float = 20.0
    osc_coupling: tuple[float, ...] = ROBOSUITE_PANDA_COUPLING
    """(6, 6) row-major: how robosuite's controller moves the hand when it turns it, and the other way round."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a wrong count of numbers, or a rate <= 0."""
        require(len(self.osc_coupling) == 36, f"deploy.osc_coupling: wanted 36 numbers, got {len(self.osc_coupling)}")
        bases, site = len(self.base_position_m), len(self.ee_site_offset_m)
        require(bases > 0 and bases % 3 == 0, f"deploy.base_position_m: wanted 3 numbers per arm, got {bases}")
        require(site == 3, f"deploy.ee_site_offset_m: wanted 3 numbers, got {site}")
        require(self.control_hz > 0, f"deploy.control_hz: wanted > 0, got {self.control_hz}")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pre-training run; together with the dataset it determines the weights bit by bit."""

    name: str
    task: str
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    deploy: DeployConfig = field(default_factory=DeployConfig)
    distil: DistilConfig = field(default_factory=DistilConfig)

    def __post_init__(self) -> None:
        """Raise ConfigError for a negative seed, or a loss that neither the model nor the observations can serve."""
        require(self.seed >= 0, f"seed: wanted >= 0, got {self.seed}")
        if self.distil.teacher:
            self._check_distillation()
        require(
            bool(self.data.image_keys) or self.loss.dispersive_tap != "encoder" or not self.loss.active,
            "loss.dispersive_tap: wanted early, mid or late for a policy without images, got 'encoder', which is the "
            "raw state there and has nothing to learn",
        )
        diffuses, loss = self.model.kind == "diffusion", self.loss
        for name, asked in (
            (f"dispersive_form={PUBLISHED}", loss.published and loss.active),
            ("dispersive_equal_t", loss.dispersive_equal_t),
        ):
            require(diffuses or not asked, f"loss.{name}: wanted model.kind=diffusion with it, got {self.model.kind!r}")

    def _check_distillation(self) -> None:
        """A chunk of few steps is learned whole, and to more digits than bfloat16 has: its first step magnifies."""
        for name, got, wanted in (
            ("model.kind", self.model.kind, "diffusion"),
            ("loss.dispersive", self.loss.dispersive, "none"),
            ("optim.precision", self.optim.precision, "float32"),
        ):
            require(got == wanted, f"{name}: wanted {wanted} with distil.teacher, got {got!r}")
