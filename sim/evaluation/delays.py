"""Success against the time from an observation to its chunk, in one figure."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from d2ppo_core.evaluation.results import Result


def draw_delays(rows: Sequence[Result], path: Path) -> Path:
    """Draw success with its 95 % Wilson interval against the delay; rows without any are left out. Returns `path`."""
    lines: dict[str, list[tuple[float, Result]]] = defaultdict(list)
    for row in rows:
        where, _, delay = row.where.partition(" +")
        try:
            lines[f"{where}, {row.variant.weights}, K = {row.variant.num_denoising_steps}"].append((float(delay), row))
        except ValueError:  # drawn from a record
            continue
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        delays = [delay for delay, _ in points]
        rates = [100 * row.successes / len(row.episodes.seeds) for _, row in points]
        low, high = zip(*((100 * a, 100 * b) for a, b in (row.interval for _, row in points)), strict=True)
        errors = [[rate - edge for rate, edge in zip(rates, low, strict=True)],
                  [edge - rate for rate, edge in zip(rates, high, strict=True)]]  # fmt: skip
        axes.errorbar(delays, rates, yerr=errors, marker="o", capsize=3, label=name)
    axes.set(xlabel="observation to chunk, ms", ylabel="success, %", ylim=(-2, 102), title=rows[0].task)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=120)
    return path
