"""What a fine-tuning run consists of. Every value has a default; YAML files hold only what differs."""

from dataclasses import dataclass, field, replace

from d2ppo_core.config.algorithms import QppoConfig, SelfCloningConfig
from d2ppo_core.config.checks import one_of, require
from d2ppo_core.config.randomisation import RandomisationConfig
from d2ppo_core.config.schema import DEVICES, PRECISIONS, SAMPLER_TIMES, PretrainConfig
from d2ppo_core.config.success import SuccessConfig

ALGORITHMS = ("ppo", "qppo", "drwr", "dawr")
GROUPINGS = ("pairs", "observations")
CRITIC_BATCHES = ("own", "shared")
COLLECTORS = ("local", "ray")


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """The worlds that the policy acts in."""

    num_envs: int = 50
    chunks_per_iteration: int = 300
    """Chunks executed in each world before an update; episodes start anew with every iteration."""
    horizon_steps: int = 300
    """Control steps per episode."""
    terminate_on_success: bool = False
    """End an episode when it is solved; robosuite goes on and rewards every solved step."""
    arm_limits: bool = False
    """An episode of training in which an arm leans on an end of its joints or is stretched out, as no real one can, is
    lost and ends."""
    threads: int = 2
    """Of the simulation, per process."""
    collector: str = "local"
    """`local`: all worlds in this process; `ray`: spread over `workers`, which needs the extra `ray`."""
    workers: int = 1
    """Ray processes of one CPU each; their number decides the seeds of the worlds."""
    ray_address: str = ""
    """`host:port` of a running Ray cluster, or `auto`; empty starts one on this machine for the run."""
    randomisation: RandomisationConfig = field(default_factory=RandomisationConfig)
    """Of the worlds to train in; evaluations stay in robosuite's own, so that their figures compare."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a number below 1 or workers that the collector or the worlds do not allow."""
        for name in ("num_envs", "chunks_per_iteration", "horizon_steps", "threads", "workers"):
            require(getattr(self, name) >= 1, f"env.{name}: wanted >= 1, got {getattr(self, name)}")
        one_of("env.collector", self.collector, COLLECTORS)
        require(
            self.workers == 1 or self.collector == "ray",
            f"env.workers: wanted env.collector=ray with {self.workers} workers, got {self.collector!r}",
        )
        require(
            self.num_envs % self.workers == 0,
            f"env.num_envs: wanted a multiple of env.workers = {self.workers}, got {self.num_envs}",
        )


@dataclass(frozen=True, kw_only=True)
class ChainConfig:
    """The denoising chain that explores. K = T and eta = 1 is DDPM; fewer steps are DDIM's."""

    num_denoising_steps: int = 20
    """K."""
    finetuned_steps: int = 10
    """K': the last steps; the noisier ones stay with the frozen pre-trained network."""
    sampler_times: str = ""
    """`trailing`, `leading` or `centred`; empty takes the clone's. The deployed sampler goes by the same."""
    eta: float = 1.0
    min_sampling_std: float = 0.1
    """Exploration noise never falls below this (normalised actions)."""
    min_log_prob_std: float = 0.1
    noise_clip: float = 3.0
    """Standard normal draws are limited to this magnitude."""

    def __post_init__(self) -> None:
        """Raise ConfigError for steps, eta or spreads out of range."""
        require(
            1 <= self.finetuned_steps <= self.num_denoising_steps,
            f"chain: wanted 1 <= finetuned_steps <= num_denoising_steps, got {self.finetuned_steps} and "
            f"{self.num_denoising_steps}",
        )
        if self.sampler_times:
            one_of("chain.sampler_times", self.sampler_times, SAMPLER_TIMES)
        require(0 <= self.eta <= 1, f"chain.eta: wanted in [0, 1], got {self.eta}")
        for name in ("min_sampling_std", "min_log_prob_std", "noise_clip"):
            require(getattr(self, name) > 0, f"chain.{name}: wanted > 0, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class PpoConfig:
    """The update."""

    epochs: int = 10
    minibatch_pairs: int = 7500
    """(observation, denoising step) pairs per optimiser step."""
    micro_batch_pairs: int = 0
    """Pairs whose gradient is computed at once, to save memory; 0 = the whole minibatch."""
    grouping: str = "pairs"
    """`pairs`: minibatches are drawn from all pairs; `observations`: an observation comes with all its steps."""
    critic_batches: str = "own"
    """`own`: the critic sees every observation once per epoch; `shared`: with every minibatch that holds one of its
    pairs, as published."""
    steps_per_observation: int = 0
    """Denoising steps drawn per observation and epoch, the later ones more often; 0 = all K'."""
    clip_low: float = 0.001
    """Clip range of the ratio at the noisiest fine-tuned step."""
    clip_high: float = 0.01
    """Clip range of the ratio at the last step."""
    gamma_env: float = 0.999
    """Per chunk."""
    gae_lambda: float = 0.95
    gamma_denoising: float = 0.99
    target_kl: float = 1.0
    """An iteration's update ends when a minibatch's approximate KL exceeds this."""
    scale_reward: bool = True
    """Divide rewards by the running standard deviation of the discounted return."""
    reward_scale_gamma: float = 0.0
    """Discount of that return, per chunk; 0 = `gamma_env`. As published it is .99 whatever `gamma_env` is."""
    bootstrap_truncated: bool = True
    """Value an episode that time ended by its own last observation; False: by what the next one brings, as published,
    where advantages pass from an episode to the one that time ended before it."""
    critic_warmup_iterations: int = 2
    bc_weight: float = 0.0
    """Weight of the likelihood of the pre-trained policy's own chains, which keeps the policy near its origin."""
    actor_lr: float = 1e-4
    critic_lr: float = 1e-3
    actor_weight_decay: float = 0.0
    critic_weight_decay: float = 0.0
    grad_clip_norm: float = 0.0
    """Of the actor; 0 turns clipping off."""
    ema_decay: float = 0.99
    """Per optimiser step."""
    random_shift_px: int = 0
    """Every picture of a rollout is shifted once by up to so many pixels per axis, before values and likelihoods are
    computed; actions are drawn from the pictures as they are. 4 in the image configurations, as published."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a value out of range, or micro-batches without grouping by observations."""
        one_of("ppo.grouping", self.grouping, GROUPINGS)
        one_of("ppo.critic_batches", self.critic_batches, CRITIC_BATCHES)
        for name in ("epochs", "minibatch_pairs"):
            require(getattr(self, name) >= 1, f"ppo.{name}: wanted >= 1, got {getattr(self, name)}")
        for name in (
            "micro_batch_pairs", "steps_per_observation", "critic_warmup_iterations", "bc_weight", "grad_clip_norm",
            "actor_weight_decay", "critic_weight_decay", "random_shift_px",
        ):  # fmt: skip
            require(getattr(self, name) >= 0, f"ppo.{name}: wanted >= 0, got {getattr(self, name)}")
        require(
            not self.micro_batch_pairs or self.grouping == "observations",
            "ppo.micro_batch_pairs: wanted ppo.grouping=observations with it, got pairs",
        )
        require(
            0 < self.clip_low <= self.clip_high < 1,
            f"ppo: wanted 0 < clip_low <= clip_high < 1, got {self.clip_low} and {self.clip_high}",
        )
        for name in ("gamma_env", "gae_lambda", "gamma_denoising", "ema_decay", "reward_scale_gamma"):
            require(0 <= getattr(self, name) <= 1, f"ppo.{name}: wanted in [0, 1], got {getattr(self, name)}")
        for name in ("actor_lr", "critic_lr", "target_kl"):
            require(getattr(self, name) > 0, f"ppo.{name}: wanted > 0, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class WeightedConfig:
    """The update of `drwr` and `dawr`; learning rates, discounts, averaging and warm-up are those of `ppo`."""

    beta: float = 10.0
    """A chunk weighs exp(beta * score), its score being the normalised return-to-go (drwr) or advantage (dawr)."""
    max_weight: float = 100.0
    replay_iterations: int = 10
    """`dawr` learns from this many rollouts, the newest included; `drwr` from the newest alone."""
    batch_size: int = 1000
    """Chunks per optimiser step."""
    updates: int = 240
    """Optimiser steps of the actor per iteration."""
    critic_updates: int = 240
    """Optimiser steps of the critic per iteration (`dawr`)."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a weight <= 0 or a count < 1."""
        for name in ("beta", "max_weight"):
            require(getattr(self, name) > 0, f"weighted.{name}: wanted > 0, got {getattr(self, name)}")
        for name in ("replay_iterations", "batch_size", "updates", "critic_updates"):
            require(getattr(self, name) >= 1, f"weighted.{name}: wanted >= 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class CriticConfig:
    """V(observation)."""

    hidden_dim: int = 256
    layers: int = 3

    def __post_init__(self) -> None:
        """Raise ConfigError for a size < 1."""
        for name in ("hidden_dim", "layers"):
            require(getattr(self, name) >= 1, f"critic.{name}: wanted >= 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """One fine-tuning run; together with the pre-trained policy it determines the weights bit by bit."""

    name: str
    task: str
    algorithm: str = "ppo"
    seed: int = 0
    iterations: int = 81
    threads: int = 2
    """Of torch."""
    device: str = "cpu"
    """Of policy, critic and update; the worlds stay on the CPU. `cuda` is the GPU of this process."""
    precision: str = "float32"
    """Of the observation encoders; `bfloat16` rounds likelihoods of the rollout and of the update differently, which
    the narrow clip range of the noisiest steps feels."""
    compile: bool = False
    """Compile PPO's networks with torch.compile; the first minibatches take minutes."""
    env: EnvConfig = field(default_factory=EnvConfig)
    chain: ChainConfig = field(default_factory=ChainConfig)
    ppo: PpoConfig = field(default_factory=PpoConfig)
    weighted: WeightedConfig = field(default_factory=WeightedConfig)
    qppo: QppoConfig = field(default_factory=QppoConfig)
    self_cloning: SelfCloningConfig = field(default_factory=SelfCloningConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    success: SuccessConfig = field(default_factory=SuccessConfig)

    def at_times_of(self, clone: PretrainConfig) -> "FinetuneConfig":
        """The same with the sampler times of the clone where it names none of its own."""
        times = self.chain.sampler_times or clone.model.sampler_times
        return replace(self, chain=replace(self.chain, sampler_times=times))

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown name, a value out of range, or parts that contradict each other."""
        one_of("algorithm", self.algorithm, ALGORITHMS)
        require(self.seed >= 0, f"seed: wanted >= 0, got {self.seed}")
        one_of("device", self.device, DEVICES)
        one_of("precision", self.precision, PRECISIONS)
        require(self.algorithm == "ppo" or not self.compile, f"compile: wanted false with {self.algorithm}, got true")
        if self.algorithm == "qppo":
            self._check_qppo()
        require(
            not self.self_cloning.weight or self.algorithm not in ("drwr", "dawr"),
            f"self_cloning.weight: wanted 0 with {self.algorithm}, which clones already, got "
            f"{self.self_cloning.weight}",
        )
        for name in ("iterations", "threads"):
            require(getattr(self, name) >= 1, f"{name}: wanted >= 1, got {getattr(self, name)}")
        require(
            self.ppo.minibatch_pairs >= self.chain.finetuned_steps,
            f"ppo.minibatch_pairs: wanted at least chain.finetuned_steps = {self.chain.finetuned_steps}, got "
            f"{self.ppo.minibatch_pairs}",
        )
        require(
            self.ppo.steps_per_observation <= self.chain.finetuned_steps,
            f"ppo.steps_per_observation: wanted at most chain.finetuned_steps = {self.chain.finetuned_steps}, got "
            f"{self.ppo.steps_per_observation}",
        )

    def _check_qppo(self) -> None:
        """It learns values of one success, from rollouts that its replay can hold."""
        env, least = self.env, 2 * self.env.num_envs * self.env.chunks_per_iteration
        require(env.terminate_on_success, "algorithm=qppo: wanted env.terminate_on_success=true with it, got false")
        require(not self.ppo.bc_weight, f"ppo.bc_weight: wanted 0 with qppo, got {self.ppo.bc_weight}")
        require(
            self.qppo.replay_chunks >= least,
            f"qppo.replay_chunks: wanted at least 2 * env.num_envs * env.chunks_per_iteration = {least}, so that a "
            f"rollout fits, got {self.qppo.replay_chunks}",
        )
