"""Meshes get smaller, not different."""

import mujoco
import numpy as np

from sim.assets.meshes import TriangleMesh, clustered, convex_hull, merged, write_msh


def cube(size_m=1.0):
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * size_m
    return convex_hull(TriangleMesh(vertices_m=corners, faces=np.zeros((0, 3), np.int32)))


def volume(mesh):
    a, b, c = (mesh.vertices_m[mesh.faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def test_hull_is_closed_and_faces_look_outside():
    assert len(cube().faces) == 12
    assert np.isclose(volume(cube()), 1.0)


def test_hull_drops_inner_points():
    corners = cube().vertices_m
    inner = np.random.default_rng(0).uniform(0.1, 0.9, (50, 3))
    both = TriangleMesh(vertices_m=np.concatenate([corners, inner]), faces=np.zeros((0, 3), np.int32))
    assert len(convex_hull(both).vertices_m) == 8


def test_clustering_joins_equal_vertices_and_keeps_the_shape():
    soup = cube()
    separate = TriangleMesh(
        vertices_m=soup.vertices_m[soup.faces].reshape(-1, 3), faces=np.arange(36, dtype=np.int32).reshape(12, 3)
    )
    joined = clustered(separate, 1e-6)
    assert len(joined.vertices_m) == 8 and len(joined.faces) == 12
    assert np.isclose(volume(joined), 1.0)


def test_clustering_moves_no_vertex_further_than_a_cell_and_drops_what_collapses():
    rng = np.random.default_rng(0)
    mesh = TriangleMesh(vertices_m=rng.uniform(0, 1, (3000, 3)), faces=np.arange(3000, dtype=np.int32).reshape(-1, 3))
    thin = clustered(mesh, 0.1)
    assert len(thin.faces) < len(mesh.faces)
    distance = np.linalg.norm(mesh.vertices_m[:, None] - thin.vertices_m[None], axis=2).min(axis=1)
    assert distance.max() < 0.1 * np.sqrt(3)


def test_merged_meshes_keep_their_triangles():
    two = merged([cube(), cube(2.0)])
    assert len(two.vertices_m) == 16 and np.isclose(volume(two), 9.0)


def test_written_mesh_is_read_by_mujoco(tmp_path):
    write_msh(cube(0.1), tmp_path / "cube.msh")
    (tmp_path / "world.xml").write_text(
        '<mujoco><asset><mesh name="c" file="cube.msh"/></asset>'
        '<worldbody><body><geom type="mesh" mesh="c" density="1000"/></body></worldbody></mujoco>'
    )
    model = mujoco.MjModel.from_xml_path(str(tmp_path / "world.xml"))
    assert np.isclose(model.body_mass[1], 1.0)
