from pathlib import Path

import numpy as np

from d2ppo_core.analysis.evaluation import ChunkTiming, Episode, Evaluation, Sample
from d2ppo_core.analysis.report import Film, write_report

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


def test_the_report_of_an_evaluation_holds_its_figures_and_fetches_nothing(tmp_path: Path) -> None:
    evaluation = Evaluation(
        task="lift",
        stack="sim",
        bundle="lift_image",
        bundle_hash="abc",
        seed=0,
        episodes=(episode(0, success=True), episode(1, success=False)),
    )
    scene = [np.full((32, 48, 3), 10 * i, np.uint8) for i in range(6)]
    film = Film(episode=evaluation.episodes[0], scene=scene, wrist=[s[:8, :8] for s in scene], rate_hz=20.0)
    html = write_report(tmp_path / "new" / "report.html", evaluation, film).read_text()
    assert "1/2" in html and "time &lt;out&gt;" in html
    assert html.count("data:image/svg+xml") == 3 and html.count("data:image/png") == 1 and "data:video/mp4" in html
    assert 'src="http' not in html and "href=" not in html
