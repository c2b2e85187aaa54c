"""How far from the truth do solvers of the hand-eye problem end, on KinHEC's generated Panda sequences?

Pose streams with noise and outliers, no pictures: ours starts from its closed form and then weighs views by the
noise that they show, as it does with pictures. Device: any processor; errors in mm and degrees of kinhec's X, one row a
sequence; budget: none. Needs an environment of its own, since kinhec and OpenCV 4 are no dependencies:

    python -m venv /tmp/kinhec && /tmp/kinhec/bin/pip install kinhec==1.1.0 opencv-python-headless==4.13.0.92 click
    /tmp/kinhec/bin/kinhec generate --tier smoke --out /tmp/kinhec/data
    /tmp/kinhec/bin/python tests/benchmarks/bench_hand_eye.py /tmp/kinhec/data
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from calibration.chain import Linear, moved
from calibration.closed_form import hand_eye_start, inverses
from calibration.estimate import robust_fit
from calibration.hand_eye import _refine
from d2ppo_core.geometry import Array, rotation_vector

SIGHT_M, SIGHT_RAD = (0.001, 0.001, 0.003), np.radians(0.1)
"""What is assumed of a pose from a picture, up to a factor that the views tell: depth is worst."""
FACTORS = tuple(np.geomspace(0.1, 10.0, 13))
COLUMNS = [*range(12)]


def adjoint(transform: Array) -> Array:
    """(6, 6): a step in one frame as a step in another."""
    x, y, z = transform[:3, 3]
    result = np.kron(np.eye(2), transform[:3, :3])
    result[:3, 3:] = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0))) @ transform[:3, :3]
    return result


@dataclass(frozen=True)
class PoseChain:
    """As `calibration.chain.Chain`, of poses of the board instead of its corners."""

    hands: Array
    boards: Array
    X: Array
    Z: Array
    factor: float = 1.0
    offsets_rad: None = None

    def after(self, step: Array) -> PoseChain:
        return replace(self, X=moved(self.X, step[:6]), Z=moved(self.Z, step[6:12]))

    def linear(self) -> Linear:
        seen_from = inverses(self.hands) @ self.Z
        y, A, information = [], [], []
        for T_hand_board, board in zip(seen_from, self.boards, strict=True):
            off = np.linalg.inv(T_hand_board) @ self.X @ board
            onto = adjoint(T_hand_board)
            sight = np.zeros((6, 6))
            sight[:3, :3] = board[:3, :3].T @ np.diag(np.square(SIGHT_M)) @ board[:3, :3]
            sight[3:, 3:] = SIGHT_RAD**2 * np.eye(3)
            y.append(onto @ np.append(off[:3, 3], rotation_vector(off[:3, :3])))
            A.append(np.hstack((adjoint(self.X), -onto)))
            information.append(np.linalg.inv(onto @ sight @ onto.T))
        return Linear(np.array(y), np.array(A), np.array(information), self.factor**2, 1, seen_from[:, :3, 3])


def ours(hands: Array, boards: Array) -> tuple[Array, Array]:
    """Camera on the hand and board in the base."""
    start = PoseChain(hands, boards, *hand_eye_start(hands, boards))
    chains = [replace(start, factor=float(factor)) for factor in FACTORS]
    best = min(chains, key=lambda chain: robust_fit(linear := chain.linear(), linear.A).cost)
    found: Any = _refine(best, COLUMNS)[0]  # type: ignore[arg-type]
    return found.X, found.Z


def opencv(hands: Array, targets: Array) -> dict[str, Array]:
    """OpenCV's solvers; it takes the target in the camera."""
    import cv2

    found = {}
    for name in ("TSAI", "PARK", "HORAUD", "ANDREFF", "DANIILIDIS"):
        poses = [list(part) for part in (hands[:, :3, :3], hands[:, :3, 3], targets[:, :3, :3], targets[:, :3, 3])]
        R, t = cv2.calibrateHandEye(*poses, method=getattr(cv2, f"CALIB_HAND_EYE_{name}"))
        found[f"OpenCV {name}"] = np.block([[R, np.reshape(t, (3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]])
    return found


def main(data: Path) -> None:
    """Print a row for each sequence and the medians and means of each solver."""
    from kinhec import benchmark
    from kinhec.io import _load_from_row, load_manifest
    from kinhec.metrics import calibration_errors

    errors: dict[str, list[tuple[float, float]]] = {}
    manifest = load_manifest(data)
    for number, (_, row) in enumerate(manifest[manifest.robot.str.contains("anda")].iterrows()):
        sequence = _load_from_row(data, row.to_dict())
        A, B = sequence.axyb_poses()  # A X = Y B
        rows = benchmark.evaluate_sequence(sequence, list(benchmark.SOLVERS), "oracle", np.random.default_rng(number))
        found = {row["solver"]: (row["X_trans_err_mm"], row["X_rot_err_deg"]) for row in rows if row["ok"]}
        matrices = opencv(A, inverses(B)) | {"ours": ours(A, inverses(B))[0]}
        for name, X in matrices.items():
            off = calibration_errors(X, sequence.X)
            found[name] = (off["X_trans_err_mm"], off["X_rot_err_deg"])
        for name, pair in found.items():
            errors.setdefault(name, []).append(pair)
        others = {name: pair for name, pair in found.items() if name != "ours"}
        best = {}
        for kind in ("kinhec", "OpenCV"):
            of_kind = [n for n in others if n.startswith("OpenCV") == (kind == "OpenCV")]
            best[kind] = min((found[n], n) for n in of_kind)
        text = ", best of ".join(f"{kind} {n} {v[0]:.2f} mm {v[1]:.3f}°" for kind, (v, n) in best.items())
        print(
            f"{sequence.manifest['sequence_id']:<16} "
            f"ours {found['ours'][0]:.2f} mm {found['ours'][1]:.3f}°; best of {text}"
        )
    summary = {}
    for name, pairs in errors.items():
        values = np.array(pairs)
        summary[name] = {
            "median": np.median(values, axis=0).tolist(),
            "mean": values.mean(axis=0).tolist(),
            "of": len(pairs),
        }
    for name, value in sorted(summary.items(), key=lambda item: item[1]["mean"][0]):
        (mm, deg), (mean_mm, mean_deg) = value["median"], value["mean"]
        print(
            f"{name:<20} median {mm:8.2f} mm {deg:7.3f}°   mean {mean_mm:8.2f} mm {mean_deg:7.3f}°   of {value['of']}"
        )
    print(json.dumps(summary))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
