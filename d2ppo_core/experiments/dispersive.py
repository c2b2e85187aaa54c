"""The question of the dispersive term in three plans: many forms shortly, the best to convergence, pictures.

Every arm is trained at several learning rates and shown at its own best one (`arms.py`).
"""

from d2ppo_core.experiments.plan import Cell, Plan

_HELD_OUT = 10
"""Episodes; demonstrations of a cell are those that it trains on."""
NONE = ("loss.dispersive=none",)
_TERM = "loss.dispersive=infonce_l2"
FORMS = {
    "published": (_TERM, "loss.dispersive_form=published"),
    "raw": (_TERM, "loss.dispersive_form=raw"),
    "scale_free": (_TERM, "loss.dispersive_form=scale_free"),
    "equal_t": (_TERM, "loss.dispersive_form=scale_free", "loss.dispersive_equal_t=true"),
    "batch_max": (_TERM, "loss.dispersive_form=batch_max", "loss.temperature=1.0"),
}
"""The published code's, ours before, ours now, the same blind to time, MP1's (with its temperature)."""
_MEASURES = "success of the pre-trained policy"


def demonstrations(count: int) -> tuple[str, str]:
    """Overrides: the first so many, 0 = all, beside those that are held out."""
    return f"data.max_episodes={count and count + _HELD_OUT}", f"data.validation_episodes={_HELD_OUT}"


def arm(name: str, against: str, overrides: tuple[str, ...], rates: tuple[str, ...]) -> tuple[Cell, ...]:
    """Cells of one arm, one for each learning rate."""
    return tuple(
        Cell(name=f"{name}_lr{rate}", pretrain=(*overrides, f"optim.lr={rate}"), arm=name, against=against)
        for rate in rates
    )


_RATES = ("0.001", "0.003")
DISPERSIVE_SCREEN = Plan(
    name="dispersive_screen",
    question="Which form of the dispersive term, at which layer and how strong, may be worth a long look?",
    cells=(
        *arm("none", "", (*NONE, *demonstrations(50)), _RATES),
        *(
            cell
            for form, overrides in FORMS.items()
            for tap in ("early", "late")
            for weight in ("0.1", "0.5")
            for cell in arm(
                f"{form}_{tap}_{weight}",
                "none",
                (*overrides, f"loss.dispersive_tap={tap}", f"loss.dispersive_weight={weight}", *demonstrations(50)),
                _RATES,
            )
        ),
    ),
    reference="none_lr0.003",
    tasks=("lift", "can", "square"),
    measures=_MEASURES,
    seeds=(0, 1),
)

_CONFIRMED = {"none": NONE, **{name: FORMS[name] for name in ("published", "scale_free", "equal_t")}}
"""None, published, and the best two of the screen."""
DISPERSIVE_CONFIRM = Plan(
    name="dispersive_confirm",
    question="Does a clone gain by the dispersive term at convergence, with many demonstrations or few?",
    cells=tuple(
        cell
        for count in (50, 200)
        for form, overrides in _CONFIRMED.items()
        for cell in arm(
            f"{form}_{count}",
            "" if form == "none" else f"none_{count}",
            (*overrides, "loss.dispersive_tap=early", "loss.dispersive_weight=0.5", *demonstrations(count)),
            _RATES,
        )
    ),
    reference="none_50_lr0.003",
    tasks=("lift", "can", "square", "transport"),
    measures=_MEASURES,
    seeds=(0, 1, 2, 3, 4),
    selection_seeds=(100, 101),
)

_IMAGE_RATES = ("0.0005", "0.001")
_ENCODER = ("loss.dispersive_tap=encoder", "loss.dispersive_weight=0.5")
DISPERSIVE_IMAGES = Plan(
    name="dispersive_images",
    question="From pictures, where observations can collapse: does the term help at the encoder?",
    cells=(
        *arm("none", "", NONE, _IMAGE_RATES),
        *(
            cell
            for form in ("raw", "scale_free", "batch_max")
            for cell in arm(f"{form}_encoder", "none", (*FORMS[form], *_ENCODER), _IMAGE_RATES)
        ),
    ),
    reference="none_lr0.0005",
    tasks=("lift", "can"),
    measures=_MEASURES,
    inputs="image",
    seeds=(0, 1, 2),
    selection_seeds=(100,),
)
