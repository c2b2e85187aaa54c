from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from d2ppo_core.analysis import report
from d2ppo_core.analysis.evaluation import ChunkTiming, Episode, Evaluation, Hand, Sample
from d2ppo_core.analysis.report import Film, chosen_episodes, write_report

TIMING = ChunkTiming(received_ms=3.0, published_ms=9.0, first_command_ms=12.0, inference_wall_ms=5.0)


def episode(index: int, *, success: bool) -> Episode:
    points = [
        Sample(time_s=0.1 * i, measured_m=(i, 0, 0), reference_m=(i, 0, 1), gripper_width_m=0.04, qpos=())
        for i in range(4)
    ]
    return Episode(
        index=index,
        seed=index,
        success=success,
        outcome="success" if success else "time <out>",
        duration_s=2.0,
        wall_s=2.0,
        ticks=250,
        missed_ticks=0,
        chunks_refused=0,
        safety_interventions=0,
        real_time_factor=1.0,
        timings=(TIMING,),
        samples=tuple(points),
    )


def test_a_report_of_two_arms_shows_both_hands_and_says_what_one_did_alone(tmp_path: Path) -> None:
    timing = replace(TIMING, apart_ms=4.0)
    one = episode(0, success=False)
    samples = tuple(
        replace(s, partners=(Hand(measured_m=s.measured_m, reference_m=s.reference_m, gripper_width_m=0.01),))
        for s in one.samples
    )
    both = replace(one, arms=("left", "right"), chunks_alone=2, samples=samples, timings=(timing,))
    evaluation = replace(EVALUATION, episodes=(both,))
    assert "chunks executed by one arm only 2" in evaluation.lines()
    assert evaluation.latencies()["first commands apart"].p99 == pytest.approx(4.0)
    assert "first commands apart" not in EVALUATION.latencies()
    frames = [np.zeros((64, 64, 3), np.uint8)] * 4
    film = Film(episode=both, scene=frames, wrist=[frame[:32, :32] for frame in frames], rate_hz=20.0)
    page = write_report(tmp_path / "report.html", evaluation, [film]).read_text()
    assert "first commands apart" in page and "<b>2</b>chunks executed by one arm only" in page
    assert "by one arm only" not in write_report(tmp_path / "one.html", EVALUATION, []).read_text()


EVALUATION = Evaluation(
    task="lift",
    stack="sim",
    bundle="lift_image",
    bundle_hash="abc",
    seed=0,
    episodes=(episode(0, success=True), replace(episode(1, success=False), real_time_factor=0.6)),
)


def film_of(shown: Episode) -> Film:
    scene = [np.full((32, 48, 3), 10 * i, np.uint8) for i in range(6)]
    return Film(episode=shown, scene=scene, wrist=[s[:8, :8] for s in scene], rate_hz=20.0)


def test_the_report_of_an_evaluation_holds_its_figures_and_fetches_nothing(tmp_path: Path) -> None:
    evaluation = EVALUATION
    films = [film_of(episode) for episode in chosen_episodes(evaluation)]
    assert [film.episode.success for film in films] == [False, True]
    html = write_report(tmp_path / "new" / "report.html", evaluation, films).read_text(encoding="utf-8")
    assert "1/2" in html and "time &lt;out&gt;" in html
    assert html.count("data:image/svg+xml") == 5 and html.count("data:image/png") == html.count("data:video/mp4") == 2
    assert "A failure: episode 1" in html and "A success: episode 0" in html
    assert 'src="http' not in html and "href=" not in html
    assert "at 0.80 of real time" in html and "slowest episode 0.60" in html  # beside the latencies that it explains


def test_every_section_says_what_it_tells_and_tables_fit_a_phone(tmp_path: Path) -> None:
    films = [film_of(each) for each in EVALUATION.episodes]
    html = write_report(tmp_path / "report.html", EVALUATION, films).read_text(encoding="utf-8")
    sections = html.split("<h2>")[1:]
    assert len(sections) == 4 and all('<p class="look">' in section for section in sections)
    assert html.count("<table>") == html.count('<div class="wide"><table>') == 2
    assert '<meta name="viewport" content="width=device-width' in html and "img, video { max-width: 100%; }" in html


def test_what_is_counted_stands_on_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(report, "svg_uri", lambda figure: drawn.append(figure) or "")
    report._latency_plots(EVALUATION)
    report._outcome_plot(EVALUATION)
    for figure in drawn:
        figure.draw_without_rendering()
    chunks, inference, outcome = (figure.axes[0] for figure in drawn)
    for ticks in (chunks.get_yticks(), inference.get_yticks(), outcome.get_xticks()):
        assert len(ticks) > 0 and all(float(tick).is_integer() for tick in ticks)


def test_an_evaluation_without_any_chunk_still_makes_a_page(tmp_path: Path) -> None:
    lost = replace(episode(0, success=False), outcome="lost: power", timings=(), samples=(), ticks=0)
    evaluation = replace(EVALUATION, episodes=(lost,))
    assert chosen_episodes(evaluation) == []
    html = write_report(tmp_path / "report.html", evaluation, []).read_text(encoding="utf-8")
    assert "lost: power" in html and "latency histogram" not in html
