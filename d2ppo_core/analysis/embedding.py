"""Features in two dimensions: principal components, and t-SNE where scikit-learn is installed."""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

_MAX_TSNE_DIMS = 50
_PERPLEXITY = 30.0

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Projection:
    """Points (N, 2), and the share of the variance that each axis explains (NaN for t-SNE, which has no axes)."""

    points: Float
    explained: tuple[float, float]


def principal_components(z: npt.ArrayLike, count: int = 2) -> tuple[Float, Float]:
    """Project features (N, D) onto their leading components.

    Returns:
        Coordinates (N, count), zeros where there are fewer dimensions, and shares of the variance (count,). The sign
        of a component is chosen so that its largest loading is positive.
    """
    data = np.asarray(z, dtype=np.float64)
    u, spectrum, loadings = np.linalg.svd(data - data.mean(0), full_matrices=False)
    signs = np.sign(loadings[np.arange(len(loadings)), np.abs(loadings).argmax(1)])
    coordinates, shares = np.zeros((len(data), count)), np.zeros(count)
    kept = min(count, len(spectrum))
    coordinates[:, :kept] = (u * spectrum * np.where(signs == 0, 1.0, signs))[:, :kept]
    shares[:kept] = spectrum[:kept] ** 2 / max(float((spectrum**2).sum()), 1e-300)
    return coordinates, shares


def project_pca(z: npt.ArrayLike) -> Projection:
    """The two leading principal components of features (N, D)."""
    points, shares = principal_components(z)
    return Projection(points, (float(shares[0]), float(shares[1])))


def can_tsne() -> bool:
    """Whether scikit-learn is installed (extra `analysis`)."""
    return find_spec("sklearn") is not None


def project_tsne(z: npt.ArrayLike, *, seed: int) -> Projection:
    """t-SNE of features (N, D), N >= 5, from their 50 leading components; a function of its inputs."""
    from sklearn.manifold import TSNE

    data = np.asarray(z, dtype=np.float64)
    reduced, _ = principal_components(data, min(_MAX_TSNE_DIMS, *data.shape))
    scale = float(reduced[:, 0].std())
    perplexity = min(_PERPLEXITY, (len(data) - 1) / 3)
    engine = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    points = engine.fit_transform(reduced / scale if scale > 0 else reduced)
    return Projection(np.asarray(points, dtype=np.float64), (float("nan"), float("nan")))
