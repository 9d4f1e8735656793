"""Surfaces: closed, and turned outwards."""

import numpy as np
import pytest

from ldcrn_mm.synthetic.mesh import (
    PART_NUMBER,
    MeshBuilder,
    box,
    disc,
    ellipsoid,
    outward,
    tube,
)


def volume(corners):
    """By the divergence theorem: positive if the surface is turned outwards."""
    corners = corners.reshape(-1, 4, 3)
    normals = outward(corners)
    sides = corners[:, [2, 3]] - corners[:, [0, 1]]
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2
    return np.sum(np.sum(corners.mean(1) * normals, 1) * area) / 3


def sphere(sides=40):
    return ellipsoid(np.array([1.0, 2, 3]), np.eye(3), (0.5, 0.5, 0.5), sides)


def test_ellipsoid_has_its_volume():
    corners = ellipsoid(np.array([1.0, 2, 3]), np.eye(3), (0.3, 0.5, 0.2), 60)
    expected = 4 / 3 * np.pi * 0.3 * 0.5 * 0.2
    assert volume(corners) == pytest.approx(expected, rel=0.02)


def test_box_has_its_volume_and_stands_on_the_ground():
    corners = box((0.4, 0.7, 0.2), step=0.1)
    assert volume(corners) == pytest.approx(0.4 * 0.7 * 0.2)
    assert corners[..., 1].min() == pytest.approx(0)
    np.testing.assert_allclose(np.ptp(corners.reshape(-1, 3), axis=0), (0.4, 0.7, 0.2))


def test_box_facets_are_no_larger_than_the_step():
    sides = np.diff(box((0.4, 0.7, 0.2), step=0.1), axis=1)
    assert np.linalg.norm(sides, axis=-1).max() <= 0.1 + 1e-9


def test_tube_along_left_cross_front_is_turned_outwards():
    centres = np.array([[0, 1.0, 0], [0, 0, 0]])
    radii = np.array([0.2, 0.3])
    corners = tube(centres, np.eye(3)[0], np.eye(3)[2], radii, radii, 12)
    away = corners.mean(2) * (1, 0, 1)
    assert (np.sum(outward(corners) * away, -1) > 0).all()


def test_disc_faces_left_cross_up():
    corners = disc(np.zeros(3), np.eye(3)[0], np.eye(3)[1], 0.2, 0.1)
    np.testing.assert_allclose(outward(corners)[0], np.tile([0, 0, 1.0], (8, 1)))


def test_builder_joins_and_keeps_what_is_told():
    builder = MeshBuilder()
    corners = sphere(12)
    builder.add(corners, (1, 2, 3), 'head', bias=0.1)
    keep = np.zeros(corners.shape[:2], bool)
    keep[0] = True
    builder.add(corners, (4, 5, 6), 'left_foot', keep=keep)
    mesh = builder.build()
    whole, part = corners[..., 0, 0].size, corners.shape[1]
    assert len(mesh.corners) == len(mesh.colours) == len(mesh.normals) == whole + part
    assert (mesh.parts[:whole] == PART_NUMBER['head']).all()
    assert (mesh.parts[whole:] == PART_NUMBER['left_foot']).all()
    np.testing.assert_array_equal(mesh.colours[-1], (4, 5, 6))
    assert mesh.bias[0] == 0.1
    assert mesh.bias[-1] == 0


def test_given_normals_replace_the_own_ones_and_turn_with_the_mesh():
    builder = MeshBuilder()
    builder.add(sphere(8), (1, 2, 3), normals=np.array([0, 1.0, 0]))
    mesh = builder.build()
    np.testing.assert_array_equal(
        mesh.normals, np.tile([0, 1.0, 0], (len(mesh.bias), 1))
    )
    quarter = np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]])
    moved = mesh.moved(quarter, (1, 0, 0))
    np.testing.assert_allclose(moved.normals[0], (-1, 0, 0))
    np.testing.assert_allclose(moved.corners, mesh.corners @ quarter.T + (1, 0, 0))
