import sys

import numpy as np
import pytest

from d2ppo_core.analysis.embedding import can_tsne, principal_components, project_pca, project_tsne


def test_a_plane_in_many_dimensions_is_found_whole() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(100, 2)) * [5, 2]
    axes = np.linalg.qr(rng.normal(size=(30, 2)))[0]
    found = project_pca(plane @ axes.T + 7)
    assert sum(found.explained) == pytest.approx(1) and found.explained[0] > found.explained[1]
    centred = plane - plane.mean(0)
    wanted, got = (np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (centred, found.points))
    np.testing.assert_allclose(got, wanted, atol=1e-9)


def test_the_sign_of_a_component_does_not_depend_on_the_order_of_the_points() -> None:
    z = np.random.default_rng(1).normal(size=(40, 6)) * [6, 5, 4, 3, 2, 1]
    np.testing.assert_allclose(project_pca(z[::-1]).points[::-1], project_pca(z).points, atol=1e-9)


def test_features_that_are_all_equal_lie_on_one_point() -> None:
    points, shares = principal_components(np.ones((5, 1)))
    assert not points.any() and not shares.any() and points.shape == (5, 2)


@pytest.mark.skipif(not can_tsne(), reason="needs scikit-learn (extra analysis)")
def test_tsne_keeps_two_clouds_apart_and_repeats_itself() -> None:
    z = np.random.default_rng(0).normal(size=(60, 200))
    z[30:] += 5
    first = project_tsne(z, seed=0)
    np.testing.assert_array_equal(first.points, project_tsne(z, seed=0).points)
    between = np.linalg.norm(first.points[:30].mean(0) - first.points[30:].mean(0))
    within = max(first.points[:30].std(0).max(), first.points[30:].std(0).max())
    assert between > 3 * within


def test_without_scikit_learn_there_is_no_tsne(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr("d2ppo_core.analysis.embedding.find_spec", lambda name: None)
    assert not can_tsne()
