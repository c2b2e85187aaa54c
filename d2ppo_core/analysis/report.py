"""A report of an evaluation as one HTML file: plots, filmstrip and video are inside it, nothing is fetched."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import jinja2
import matplotlib
import numpy as np
import numpy.typing as npt

from d2ppo_core.analysis.evaluation import Episode, Evaluation

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

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
    template = files("d2ppo_core.analysis").joinpath("templates/evaluation.html.j2").read_text()
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    html = environment.from_string(template).render(
        e=evaluation,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        latency_plot=_latency_plot(evaluation),
        outcome_plot=_outcome_plot(evaluation),
        motion_plot=_motion_plot(film.episode) if film else None,
        filmed=film.episode if film else None,
        strip=_strip(film) if film else None,
        video=_video(film) if film else None,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html)
    return path


def _latency_plot(evaluation: Evaluation) -> str:
    timings = [timing for episode in evaluation.episodes for timing in episode.timings]
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.0), layout="constrained")
    end_to_end = [t.first_command_ms for t in timings if t.first_command_ms is not None]
    axes[0].hist(end_to_end, bins=40, color="#3b6ea5")
    axes[0].set(xlabel="capture → first command, ms", ylabel="chunks")
    axes[1].hist([t.inference_wall_ms for t in timings], bins=40, color="#c2703d")
    axes[1].set(xlabel="inference alone, ms (wall)")
    return _svg(figure)


def _outcome_plot(evaluation: Evaluation) -> str:
    figure, axis = plt.subplots(figsize=(9.5, 2.2), layout="constrained")
    colours = ["#4a9a5b" if episode.success else "#c0392b" for episode in evaluation.episodes]
    axis.bar([e.index for e in evaluation.episodes], [e.duration_s for e in evaluation.episodes], color=colours)
    axis.set(xlabel="episode", ylabel="duration, s (sim)")
    return _svg(figure)


def _motion_plot(episode: Episode) -> str:
    start_s = episode.samples[0].time_s
    time_s = np.array([sample.time_s for sample in episode.samples]) - start_s
    measured = np.array([sample.measured_m for sample in episode.samples])
    reference = np.array([sample.reference_m for sample in episode.samples])
    figure, axes = plt.subplots(2, 1, figsize=(9.5, 4.4), sharex=True, layout="constrained")
    for i, (name, colour) in enumerate(zip("xyz", ("#c0392b", "#4a9a5b", "#3b6ea5"), strict=True)):
        axes[0].plot(time_s, reference[:, i], "--", color=colour, linewidth=1)
        axes[0].plot(time_s, measured[:, i], color=colour, label=name)
    axes[0].set(ylabel="end effector, m\n(dashed: commanded)")
    axes[0].legend(loc="center right", frameon=False)
    axes[1].plot(time_s, 1e3 * np.array([sample.gripper_width_m for sample in episode.samples]), color="#333")
    axes[1].set(xlabel="time, s", ylabel="gripper opening, mm", ylim=(-2, 85))
    return _svg(figure)


def _strip(film: Film, columns: int = 6) -> str:
    picks = np.linspace(0, len(film.scene) - 1, columns).round().astype(int)
    figure, axes = plt.subplots(2, columns, figsize=(11, 3.5), layout="constrained")
    for column, pick in enumerate(picks):
        for row, frames in enumerate((film.scene, film.wrist)):
            axes[row, column].imshow(frames[pick])
            axes[row, column].axis("off")
        axes[0, column].set_title(f"{pick / film.rate_hz:.1f} s", fontsize=9)
    return _png(figure)


def _video(film: Film) -> str:
    """Scene with the policy's view in a corner, as MP4."""
    frames = []
    for scene, wrist in zip(film.scene, film.wrist, strict=True):
        frame = np.array(scene)
        frame[8 : 8 + wrist.shape[0], 8 : 8 + wrist.shape[1]] = wrist
        frames.append(frame)
    buffer = io.BytesIO()
    imageio.mimwrite(buffer, frames, format="mp4", fps=film.rate_hz, codec="libx264", quality=7)  # type: ignore[arg-type]
    return _data_uri("video/mp4", buffer.getvalue())


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    return _data_uri("image/svg+xml", buffer.getvalue().encode())


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return _data_uri("image/png", buffer.getvalue())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
