"""The experiments that come with the package."""

from d2ppo_core.config.schema import DISPERSIVE_VARIANTS
from d2ppo_core.data.tasks import ENV_NAMES
from d2ppo_core.errors import ConfigError
from d2ppo_core.experiments.plan import Cell, Plan

_TASKS = tuple(ENV_NAMES)
_PLAIN, _OURS = "loss.dispersive=none", "loss.dispersive=infonce_l2"
_CLONES = "success of the pre-trained policy"
_TAPS = ("early", "mid", "late", "all")

_LAMBDAS = ("0", "0.1", "0.3", "0.5", "0.7", "1")

LAMBDA_SWEEP = Plan(
    name="lambda_sweep",
    question="Which weight of the dispersive term helps on Square? (Paper: 0.5 best, 0.3 below the baseline.)",
    cells=tuple(Cell(name=f"lambda_{x}", pretrain=(_OURS, f"loss.dispersive_weight={x}")) for x in _LAMBDAS),
    reference="lambda_0",
    tasks=("square",),
    measures=_CLONES,
)
LAYER_X_LOSS = Plan(
    name="layer_x_loss",
    question="Which dispersive loss at which layer is best for which task? (Paper: early for Lift and Can, else late.)",
    cells=(
        Cell(name="none", pretrain=(_PLAIN,)),
        *(
            Cell(name=f"{variant}_{tap}", pretrain=(f"loss.dispersive={variant}", f"loss.dispersive_tap={tap}"))
            for variant in DISPERSIVE_VARIANTS
            if variant != "none"
            for tap in _TAPS
        ),
    ),
    reference="none",
    tasks=_TASKS,
    measures=_CLONES,
)
DISPERSIVE_VS_NONE = Plan(
    name="dispersive_vs_none",
    question="Does the default dispersive term help, with the same data, steps and seeds?",
    cells=(Cell(name="none", pretrain=(_PLAIN,)), Cell(name="dispersive", pretrain=(_OURS,))),
    reference="none",
    tasks=_TASKS,
    measures=_CLONES,
)
OFFICIAL_VS_OURS = Plan(
    name="official_vs_ours",
    question="Is the dispersive term as published (no division by the width, its taps) better or worse than ours?",
    cells=(
        Cell(name="none", pretrain=(_PLAIN, "loss.official=false")),
        Cell(name="official", pretrain=(_OURS, "loss.official=true")),
        Cell(name="ours", pretrain=(_OURS, "loss.official=false")),
    ),
    reference="official",
    tasks=_TASKS,
    measures=_CLONES,
)
BALANCED_WEIGHT = Plan(
    name="balanced_weight",
    question="Is a weight that is balanced against the noise loss better than a fixed one?",
    cells=(
        Cell(name="none", pretrain=(_PLAIN, "loss.weight_mode=fixed")),
        Cell(name="fixed", pretrain=(_OURS, "loss.weight_mode=fixed")),
        Cell(name="balanced", pretrain=(_OURS, "loss.weight_mode=balanced")),
    ),
    reference="fixed",
    tasks=_TASKS,
    measures=_CLONES,
)
AUTO_TAP = Plan(
    name="auto_tap",
    question="Does the layer that is chosen during the run keep up with the best fixed one?",
    cells=tuple(
        Cell(name=tap, pretrain=(_OURS, f"loss.dispersive_tap={tap}")) for tap in ("auto", "early", "mid", "late")
    ),
    reference="auto",
    tasks=_TASKS,
    measures=_CLONES,
)
_SMALL = ("optim.batch_size=64", "optim.ema_decay=0.99875")
_LARGE = ("optim.batch_size=1024", "optim.ema_decay=0.98")
"""The averages reach back over as many samples as with 256 and 0.995."""
BATCH_SIZE = Plan(
    name="batch_size",
    question="How does the batch, over which features are dispersed, matter when equally many samples are seen?",
    cells=(
        Cell(name="64_none", pretrain=(*_SMALL, _PLAIN), steps_factor=4.0),
        Cell(name="64", pretrain=(*_SMALL, _OURS), steps_factor=4.0),
        Cell(name="256_none", pretrain=("optim.batch_size=256", "optim.ema_decay=0.995", _PLAIN)),
        Cell(name="256", pretrain=("optim.batch_size=256", "optim.ema_decay=0.995", _OURS)),
        Cell(name="1024_none", pretrain=(*_LARGE, _PLAIN), steps_factor=0.25),
        Cell(name="1024", pretrain=(*_LARGE, _OURS), steps_factor=0.25),
    ),
    reference="256",
    tasks=_TASKS,
    measures=_CLONES,
)
SAMPLE_EFFICIENCY = Plan(
    name="sample_efficiency",
    question="How many control steps does fine-tuning need, from which clone and by which algorithm?",
    cells=(
        Cell(name="plain", pretrain=(_PLAIN, "model.kind=diffusion"), finetune=("algorithm=ppo",)),
        Cell(
            name="dispersive",
            pretrain=(_OURS, "model.kind=diffusion"),
            finetune=("algorithm=ppo",),
        ),
        Cell(name="gaussian", pretrain=(_PLAIN, "model.kind=gaussian"), finetune=("algorithm=ppo",)),
        Cell(name="drwr", clone_of="plain", finetune=("algorithm=drwr",)),
        Cell(name="dawr", clone_of="plain", finetune=("algorithm=dawr",)),
    ),
    reference="plain",
    tasks=_TASKS,
    measures="success of the fine-tuned policy, and on the way against control steps",
    tunes=True,
)
_HELD_OUT = 10
"""Episodes; demonstrations of a cell are those that it trains on."""


def _demonstrations(count: int) -> tuple[str, str]:
    """Overrides: the first so many, 0 = all, beside those that are held out."""
    return f"data.max_episodes={count and count + _HELD_OUT}", f"data.validation_episodes={_HELD_OUT}"


CLONE_RATE = Plan(
    name="clone_rate",
    question="Which learning rate, how many steps and how many demonstrations give the clone that solves most?",
    cells=tuple(
        Cell(
            name=f"rate_{rate}_{length}_{count or 'all'}",
            pretrain=(_PLAIN, f"optim.lr={rate}", *_demonstrations(count)),
            steps_factor=factor,
        )
        for count in (50, 200, 0)
        for length, factor in (("short", 1.0), ("long", 4.0))
        for rate in ("0.001", "0.003", "0.006")
    ),
    reference="rate_0.001_long_200",
    tasks=_TASKS,
    measures=_CLONES,
    seeds=(0, 1),
)

PLANS = {
    plan.name: plan
    for plan in (
        LAMBDA_SWEEP,
        LAYER_X_LOSS,
        DISPERSIVE_VS_NONE,
        OFFICIAL_VS_OURS,
        BALANCED_WEIGHT,
        AUTO_TAP,
        BATCH_SIZE,
        CLONE_RATE,
        SAMPLE_EFFICIENCY,
    )
}


def find_plan(name: str) -> Plan:
    """One of the plans. Raises ConfigError, naming all of them, when there is none of that name."""
    if name not in PLANS:
        raise ConfigError(f"unknown experiment {name!r}; there are {', '.join(PLANS)}")
    return PLANS[name]
