"""Small meshes: merge, thin out and write the geometry that a compiled MuJoCo model carries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class TriangleMesh:
    """Triangles that share vertices."""

    vertices_m: NDArray[np.float64]
    """(V, 3) positions in the frame of the body."""
    faces: NDArray[np.int32]
    """(F, 3) indices into the vertices, counter-clockwise seen from outside."""


def mesh_of_geom(model: mujoco.MjModel, geom_id: int) -> TriangleMesh:
    """The mesh of a geom, moved from MuJoCo's inertia-aligned mesh frame into the frame of its body."""
    mesh_id = model.geom_dataid[geom_id]
    first, count = model.mesh_vertadr[mesh_id], model.mesh_vertnum[mesh_id]
    vertices = model.mesh_vert[first : first + count].astype(np.float64)
    first, count = model.mesh_faceadr[mesh_id], model.mesh_facenum[mesh_id]
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom_id])
    return TriangleMesh(
        vertices_m=vertices @ rotation.reshape(3, 3).T + model.geom_pos[geom_id],
        faces=model.mesh_face[first : first + count].copy(),
    )


def merged(meshes: list[TriangleMesh]) -> TriangleMesh:
    """All triangles in one mesh."""
    offsets = np.cumsum([0] + [len(mesh.vertices_m) for mesh in meshes[:-1]])
    return TriangleMesh(
        vertices_m=np.concatenate([mesh.vertices_m for mesh in meshes]),
        faces=np.concatenate([mesh.faces + o for mesh, o in zip(meshes, offsets, strict=True)]).astype(np.int32),
    )


def clustered(mesh: TriangleMesh, cell_m: float) -> TriangleMesh:
    """Vertices that fall into one cell of a grid become their mean; triangles that collapse go.

    Moves no vertex by more than sqrt(3) * cell_m. A tiny cell only joins equal vertices.
    """
    cells = np.floor(mesh.vertices_m / cell_m).astype(np.int64)
    _, cluster, count = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    cluster = cluster.reshape(-1)
    means = np.stack([np.bincount(cluster, axis) for axis in mesh.vertices_m.T], axis=1) / count[:, None]
    faces = cluster[mesh.faces]
    solid = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces = np.unique(_smallest_first(faces[solid]), axis=0)
    used, faces = np.unique(faces, return_inverse=True)
    return TriangleMesh(vertices_m=means[used], faces=faces.reshape(-1, 3).astype(np.int32))


def convex_hull(mesh: TriangleMesh) -> TriangleMesh:
    """The hull that MuJoCo collides anyway, without the vertices inside."""
    from scipy.spatial import ConvexHull

    hull = ConvexHull(mesh.vertices_m)
    used, faces = np.unique(hull.simplices, return_inverse=True)
    vertices = mesh.vertices_m[used]
    faces = faces.reshape(-1, 3)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), a - vertices.mean(axis=0)) < 0
    faces[inward] = faces[inward][:, ::-1]
    return TriangleMesh(vertices_m=vertices, faces=faces.astype(np.int32))


def write_msh(mesh: TriangleMesh, path: Path) -> None:
    """MuJoCo's binary mesh format: four counts, float32 vertices, int32 faces; normals are recomputed on load."""
    with path.open("wb") as file:
        np.array([len(mesh.vertices_m), 0, 0, len(mesh.faces)], "<i4").tofile(file)
        mesh.vertices_m.astype("<f4").tofile(file)
        mesh.faces.astype("<i4").tofile(file)


def _smallest_first(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rotate each triangle so that equal triangles are equal rows; orientation stays."""
    start = faces.argmin(axis=1)
    return np.take_along_axis(faces, (start[:, None] + np.arange(3)) % 3, axis=1)
