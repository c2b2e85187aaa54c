"""The experiments that come with the package."""

from d2ppo_core.data.tasks import ENV_NAMES
from d2ppo_core.errors import ConfigError
from d2ppo_core.experiments.dispersive import DISPERSIVE_CONFIRM, DISPERSIVE_IMAGES, DISPERSIVE_SCREEN, demonstrations
from d2ppo_core.experiments.plan import Cell, Plan

_TASKS = tuple(ENV_NAMES)
_PLAIN = "loss.dispersive=none"
_OURS = ("loss.dispersive=infonce_l2", "loss.dispersive_form=raw")
"""The term as it was before its scale was taken away, with which the committed tables were made."""
_CLONES = "success of the pre-trained policy"
_LAMBDAS = ("0", "0.1", "0.3", "0.5", "0.7", "1")

LAMBDA_SWEEP = Plan(
    name="lambda_sweep",
    question="Which weight of the dispersive term helps on Square? (Paper: 0.5 best, 0.3 below the baseline.)",
    cells=tuple(Cell(name=f"lambda_{x}", pretrain=(*_OURS, f"loss.dispersive_weight={x}")) for x in _LAMBDAS),
    reference="lambda_0",
    tasks=("square",),
    measures=_CLONES,
)
DISPERSIVE_VS_NONE = Plan(
    name="dispersive_vs_none",
    question="Does a dispersive term that is not scale-free help, with the same data, steps and seeds?",
    cells=(Cell(name="none", pretrain=(_PLAIN,)), Cell(name="dispersive", pretrain=_OURS)),
    reference="none",
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
        Cell(name="64", pretrain=(*_SMALL, *_OURS), steps_factor=4.0),
        Cell(name="256_none", pretrain=("optim.batch_size=256", "optim.ema_decay=0.995", _PLAIN)),
        Cell(name="256", pretrain=("optim.batch_size=256", "optim.ema_decay=0.995", *_OURS)),
        Cell(name="1024_none", pretrain=(*_LARGE, _PLAIN), steps_factor=0.25),
        Cell(name="1024", pretrain=(*_LARGE, *_OURS), steps_factor=0.25),
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
            pretrain=("loss.dispersive=infonce_l2", "model.kind=diffusion"),
            finetune=("algorithm=ppo",),
        ),
        Cell(name="gaussian", pretrain=(_PLAIN, "model.kind=gaussian"), finetune=("algorithm=ppo",)),
        Cell(name="self_cloning", clone_of="plain", finetune=("algorithm=ppo", "self_cloning.weight=0.3")),
        Cell(name="qppo", clone_of="plain", finetune=("algorithm=qppo",)),
        Cell(name="drwr", clone_of="plain", finetune=("algorithm=drwr",)),
        Cell(name="dawr", clone_of="plain", finetune=("algorithm=dawr",)),
    ),
    reference="plain",
    tasks=_TASKS,
    measures="success of the fine-tuned policy, and on the way against control steps",
    tunes=True,
)
CLONE_RATE = Plan(
    name="clone_rate",
    question="Which learning rate, how many steps and how many demonstrations give the clone that solves most?",
    cells=tuple(
        Cell(
            name=f"rate_{rate}_{length}_{count or 'all'}",
            pretrain=(_PLAIN, f"optim.lr={rate}", *demonstrations(count)),
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
        CLONE_RATE,
        DISPERSIVE_SCREEN,
        DISPERSIVE_CONFIRM,
        DISPERSIVE_IMAGES,
        LAMBDA_SWEEP,
        DISPERSIVE_VS_NONE,
        BATCH_SIZE,
        SAMPLE_EFFICIENCY,
    )
}


def find_plan(name: str) -> Plan:
    """One of the plans. Raises ConfigError, naming all of them, when there is none of that name."""
    if name not in PLANS:
        raise ConfigError(f"unknown experiment {name!r}; there are {', '.join(PLANS)}")
    return PLANS[name]
