"""A report of an evaluation as one HTML file, with plots, filmstrip and video."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from d2ppo_core.analysis.evaluation import Episode, Evaluation
from d2ppo_core.analysis.pages import data_uri, png_uri, svg_uri, write_page

Frames = Sequence[npt.NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class Film:
    """Pictures of one episode, at equal times: the scene, what the policy saw, and the rate in Hz."""

    episode: Episode
    scene: Frames
    wrist: Frames
    rate_hz: float


def write_report(path: Path, evaluation: Evaluation, film: Film | None) -> Path:
    """Write the report.

    Args:
        path: HTML file to write.
        evaluation: What was measured.
        film: Pictures of one of its episodes; None leaves them out.

    Returns:
        The path.
    """
    return write_page(
        path,
        "evaluation.html.j2",
        e=evaluation,
        latency_plot=_latency_plot(evaluation),
        outcome_plot=_outcome_plot(evaluation),
        motion_plot=_motion_plot(film.episode) if film else None,
        filmed=film.episode if film else None,
        strip=_strip(film) if film else None,
        video=_video(film) if film else None,
    )


def _latency_plot(evaluation: Evaluation) -> str:
    timings = [timing for episode in evaluation.episodes for timing in episode.timings]
    figure = Figure(figsize=(9.5, 3.0), layout="constrained")
    axes = figure.subplots(1, 2)
    end_to_end = [t.first_command_ms for t in timings if t.first_command_ms is not None]
    axes[0].hist(end_to_end, bins=40, color="#3b6ea5")
    axes[0].set(xlabel="capture → first command, ms", ylabel="chunks")
    axes[1].hist([t.inference_wall_ms for t in timings], bins=40, color="#c2703d")
    axes[1].set(xlabel="inference alone, ms (wall)")
    return svg_uri(figure)


def _outcome_plot(evaluation: Evaluation) -> str:
    figure = Figure(figsize=(9.5, 2.2), layout="constrained")
    axis = figure.subplots()
    colours = ["#4a9a5b" if episode.success else "#c0392b" for episode in evaluation.episodes]
    axis.bar([e.index for e in evaluation.episodes], [e.duration_s for e in evaluation.episodes], color=colours)
    axis.set(xlabel="episode", ylabel="duration, s (sim)")
    return svg_uri(figure)


def _motion_plot(episode: Episode) -> str:
    start_s = episode.samples[0].time_s
    time_s = np.array([sample.time_s for sample in episode.samples]) - start_s
    measured = np.array([sample.measured_m for sample in episode.samples])
    reference = np.array([sample.reference_m for sample in episode.samples])
    figure = Figure(figsize=(9.5, 4.4), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    for i, (name, colour) in enumerate(zip("xyz", ("#c0392b", "#4a9a5b", "#3b6ea5"), strict=True)):
        axes[0].plot(time_s, reference[:, i], "--", color=colour, linewidth=1)
        axes[0].plot(time_s, measured[:, i], color=colour, label=name)
    axes[0].set(ylabel="end effector, m\n(dashed: commanded)")
    axes[0].legend(loc="center right", frameon=False)
    axes[1].plot(time_s, 1e3 * np.array([sample.gripper_width_m for sample in episode.samples]), color="#333")
    axes[1].set(xlabel="time, s", ylabel="gripper opening, mm", ylim=(-2, 85))
    return svg_uri(figure)


def _strip(film: Film, columns: int = 6) -> str:
    picks = np.linspace(0, len(film.scene) - 1, columns).round().astype(int)
    figure = Figure(figsize=(11, 3.5), layout="constrained")
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
