"""A report of an evaluation as one HTML file, with plots, filmstrip and video."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from d2ppo_core.analysis.evaluation import Episode, Evaluation, Hand
from d2ppo_core.analysis.pages import data_uri, png_uri, svg_uri, write_page

Frames = Sequence[npt.NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class Film:
    """Pictures of one episode, at equal times: the scene, what the policy saw, and the rate in Hz."""

    episode: Episode
    scene: Frames
    wrist: Frames
    rate_hz: float


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A film as the page holds it."""

    episode: Episode
    video: str
    strip: str
    motion: str


def chosen_episodes(evaluation: Evaluation) -> list[Episode]:
    """The ones worth a film: the first that failed and the first that succeeded, as far as they were recorded."""
    recorded = [episode for episode in evaluation.episodes if len(episode.samples) > 1]
    firsts = [next((e for e in recorded if e.success is success), None) for success in (False, True)]
    return [episode for episode in firsts if episode is not None]


def write_report(
    path: Path, evaluation: Evaluation, films: Sequence[Film], row: Mapping[str, str] | None = None
) -> Path:
    """Write the report.

    Args:
        path: HTML file to write.
        evaluation: What was measured.
        films: Pictures of some of its episodes.
        row: The line of the table that all evaluations share, by column.

    Returns:
        The path.
    """
    return write_page(
        path,
        "evaluation.html.j2",
        e=evaluation,
        row=row or {},
        latency_plots=_latency_plots(evaluation),
        outcome_plot=_outcome_plot(evaluation),
        films=[
            Shown(episode=f.episode, video=_video(f), strip=_strip(f), motion=_motion_plot(f.episode)) for f in films
        ],
    )


def _latency_plots(evaluation: Evaluation) -> list[str]:
    """Two small figures, side by side where there is room."""
    timings = [timing for episode in evaluation.episodes for timing in episode.timings]
    end_to_end = [t.first_command_ms for t in timings if t.first_command_ms is not None]
    wanted = (
        (end_to_end, "capture → first command, ms (the world's clock)", "#3b6ea5"),
        ([t.inference_wall_ms for t in timings], "inference alone, ms (wall clock)", "#c2703d"),
    )
    plots = []
    for values, label, colour in wanted:
        if not values:
            continue
        figure = Figure(figsize=(5.0, 2.8), layout="constrained")
        axis = figure.subplots()
        axis.hist(values, bins=40, color=colour)
        axis.set(xlabel=label, ylabel="chunks")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        plots.append(svg_uri(figure))
    return plots


def _outcome_plot(evaluation: Evaluation) -> str:
    figure = Figure(figsize=(7.0, 2.4), layout="constrained")
    axis = figure.subplots()
    for success, colour, label in ((True, "#4a9a5b", "success"), (False, "#c0392b", "no success")):
        shown = [e for e in evaluation.episodes if e.success is success]
        if shown:
            axis.bar([e.index for e in shown], [e.duration_s for e in shown], color=colour, label=label)
    axis.set(xlabel="episode", ylabel="duration, s (simulated)")
    axis.set_xlim(-0.6, len(evaluation.episodes) - 0.4)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.legend(loc="outside right upper", frameon=False)
    return svg_uri(figure)


def _motion_plot(episode: Episode) -> str:
    start_s = episode.samples[0].time_s
    time_s = np.array([sample.time_s for sample in episode.samples]) - start_s
    num_arms = len(episode.samples[0].hands)
    figure = Figure(figsize=(7.0 * (1 + 0.4 * (num_arms - 1)), 4.4), layout="constrained")
    axes = figure.subplots(2, num_arms, sharex=True, sharey="row", squeeze=False)
    for arm in range(num_arms):
        _draw_hand(axes[:, arm], time_s, [sample.hands[arm] for sample in episode.samples])
        axes[0, arm].set(title=episode.arms[arm] if episode.arms else "")
        axes[1, arm].set(xlabel="time, s")
    axes[0, 0].set(ylabel="end effector, m\n(dashed: commanded)")
    axes[0, -1].legend(loc="center right", frameon=False)
    axes[1, 0].set(ylabel="gripper opening, mm", ylim=(-2, 85))
    return svg_uri(figure)


def _draw_hand(axes: Any, time_s: npt.NDArray[np.float64], hands: Sequence[Hand]) -> None:
    measured = np.array([hand.measured_m for hand in hands])
    reference = np.array([hand.reference_m for hand in hands])
    for i, (name, colour) in enumerate(zip("xyz", ("#c0392b", "#4a9a5b", "#3b6ea5"), strict=True)):
        axes[0].plot(time_s, reference[:, i], "--", color=colour, linewidth=1)
        axes[0].plot(time_s, measured[:, i], color=colour, label=name)
    axes[1].plot(time_s, 1e3 * np.array([hand.gripper_width_m for hand in hands]), color="#333")


def _strip(film: Film, columns: int = 5) -> str:
    picks = np.linspace(0, len(film.scene) - 1, columns).round().astype(int)
    figure = Figure(figsize=(8.5, 3.3), layout="constrained")
    axes = figure.subplots(2, columns)
    for column, pick in enumerate(picks):
        for row, frames in enumerate((film.scene, film.wrist)):
            axes[row, column].imshow(frames[pick])
            axes[row, column].axis("off")
        axes[0, column].set_title(f"{pick / film.rate_hz:.1f} s", fontsize=9)
    return png_uri(figure)


def _video(film: Film) -> str:
    """Scene with the policy's view in a corner, as MP4."""
    frames = []
    for scene, wrist in zip(film.scene, film.wrist, strict=True):
        frame = np.array(scene)
        frame[8 : 8 + wrist.shape[0], 8 : 8 + wrist.shape[1]] = wrist
        frames.append(frame)
    buffer = io.BytesIO()
    imageio.mimwrite(buffer, frames, format="mp4", fps=film.rate_hz, codec="libx264", quality=7)  # type: ignore[arg-type]
    return data_uri("video/mp4", buffer.getvalue())
