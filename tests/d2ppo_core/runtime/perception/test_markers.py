"""Marker files say which markers are on which object; what cannot be meant is refused in one line."""

import numpy as np
import pytest
import yaml

from d2ppo_core.errors import ConfigError
from d2ppo_core.runtime.perception.finder import MarkerFinder
from d2ppo_core.runtime.perception.markers import load_markers

MARKER = {"id": 3, "size_m": 0.04, "object_m": [0.0, 0.0, -0.05]}


def written(tmp_path, objects, **more):
    path = tmp_path / "lab.yaml"
    path.write_text(yaml.safe_dump({"objects": objects, **more}))
    return str(path)


def test_the_shipped_cube_wears_its_markers_outside_and_upright():
    (cube,) = load_markers("sim_cube").objects
    middles = np.array([marker.corners_m.mean(axis=0) for marker in cube.markers])
    outward = np.array([marker.T_object_marker[:3, 2] for marker in cube.markers])
    np.testing.assert_allclose(middles, 0.0212 * outward, atol=1e-12)
    assert len({tuple(axis.round(6)) for axis in outward}) == 5
    for marker in cube.markers[1:]:
        np.testing.assert_allclose(marker.T_object_marker[:3, 1], [0, 0, 1], atol=1e-12)


def test_an_objects_frame_is_where_the_file_puts_it_on_the_marker(tmp_path):
    turned = MARKER | {"object_m": [0.1, 0.2, -0.05], "object_rpy_deg": [0.0, 0.0, 90.0]}
    (thing,) = load_markers(written(tmp_path, [{"name": "box", "markers": [turned]}])).objects
    T_marker_object = np.linalg.inv(thing.markers[0].T_object_marker)
    np.testing.assert_allclose(T_marker_object[:3, 3], [0.1, 0.2, -0.05])
    np.testing.assert_allclose(T_marker_object[:3, 0], [0.0, 1.0, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    ("objects", "more", "line"),
    [
        (
            [{"name": "a", "markers": [MARKER]}, {"name": "a", "markers": [MARKER | {"id": 4}]}],
            {},
            "object a is there tw",
        ),
        ([{"name": "a", "markers": [MARKER]}, {"name": "b", "markers": [MARKER]}], {}, "marker 3 is there twice"),
        ([{"name": "a", "markers": []}], {}, "each needs a name and markers, got 'a' with 0"),
        ([], {}, "objects: wanted at least one, got none"),
        (
            [{"name": "a", "markers": [MARKER | {"size_m": 4.0}]}],
            {},
            "size_m: wanted a number in",
        ),
        ([{"name": "a", "markers": [MARKER | {"object_m": [0.0]}]}], {}, "markers.object_m: wanted 3 finite numbers"),
        ([{"name": "a", "markers": [MARKER]}], {"dictionary": "QR"}, "dictionary: wanted one of 4X4_50, .* got 'QR'"),
        ([{"name": "a", "marker": [MARKER]}], {}, "unknown key marker; allowed: name, markers"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_by_its_name(tmp_path, objects, more, line):
    with pytest.raises(ConfigError, match=f"lab.yaml: .*{line}"):
        load_markers(written(tmp_path, objects, **more))


def test_a_number_that_the_dictionary_does_not_have_is_refused(tmp_path):
    pytest.importorskip("cv2", reason="needs OpenCV (extra sim)")
    markers = load_markers(written(tmp_path, [{"name": "a", "markers": [MARKER | {"id": 77}]}]))
    with pytest.raises(ConfigError, match="dictionary 4X4_50 has markers 0 to 49, none of number 77"):
        MarkerFinder(markers)


def test_an_unknown_file_lists_the_shipped_ones():
    with pytest.raises(ConfigError, match="there is no marker 'attic'; known: .*sim_cube"):
        load_markers("attic")
