"""Projection, hiding, light."""

import numpy as np
import pytest

from ldcrn_mm.synthetic.mesh import PART_NUMBER, MeshBuilder, ellipsoid
from ldcrn_mm.synthetic.painter import Camera, Canvas, Light

CAMERA = Camera(width=64, height=48, focal=100.0, horizon=20.0, elevation=1.5)
FLAT = Light(np.array([0, 1.0, 0]), ambient=1.0, strength=0.0, tint=np.ones(3))


def ball(centre, radius, colour=(10, 20, 200), part='torso'):
    builder = MeshBuilder()
    builder.add(ellipsoid(np.array(centre), np.eye(3), (radius,) * 3, 24), colour, part)
    return builder.build()


def test_project_puts_the_horizon_and_the_ground_where_they_belong():
    eye_level = CAMERA.project(np.array([0.0, 1.5, -7.0]))
    np.testing.assert_allclose(eye_level, (32, 20))
    feet = CAMERA.project(np.array([1.0, 0.0, -5.0]))
    np.testing.assert_allclose(feet, (32 + 100 / 5, 20 + 100 * 1.5 / 5))


def test_drawn_disc_is_where_the_camera_projects_it():
    canvas = Canvas(CAMERA, FLAT)
    canvas.draw(ball((0.3, 1.2, -5.0), 0.4), owner=1)
    owners, _ = canvas.masks()
    rows, columns = np.nonzero(owners)
    centre = CAMERA.project(np.array([0.3, 1.2, -5.0])) - 0.5
    np.testing.assert_allclose((columns.mean(), rows.mean()), centre, atol=0.4)
    assert len(rows) == pytest.approx(np.pi * (100 * 0.4 / 5) ** 2, rel=0.1)


def test_later_meshes_hide_earlier_ones():
    canvas = Canvas(CAMERA, FLAT)
    far = canvas.draw(ball((0, 1.3, -6.0), 0.5), owner=1)
    near = canvas.draw(ball((0.5, 1.3, -4.0), 0.3, part='head'), owner=2)
    owners, parts = canvas.masks()
    assert 0 < 4 * np.count_nonzero(owners == 1) < 0.95 * far
    assert 4 * np.count_nonzero(owners == 2) == pytest.approx(near, rel=0.1)
    assert set(parts[owners == 2]) == {PART_NUMBER['head']}


def test_parts_without_a_name_belong_to_nobody():
    canvas = Canvas(CAMERA, FLAT)
    canvas.draw(ball((0, 1.3, -5.0), 0.5, part='none'), owner=1)
    assert not canvas.masks()[0].any()


def test_what_is_behind_the_camera_is_not_drawn():
    canvas = Canvas(CAMERA, FLAT)
    assert canvas.draw(ball((0, 1.5, 2.0), 0.5), owner=1) == 0


def test_picture_shows_colours_before_the_backdrop():
    canvas = Canvas(CAMERA, FLAT)
    canvas.draw(ball((0, 1.4, -5.0), 0.4, colour=(40, 80, 120)), owner=1)
    image = canvas.picture(np.full((48, 64, 3), 200, np.uint8))
    np.testing.assert_array_equal(image[0, 0], (200, 200, 200))
    owners, _ = canvas.masks()
    middle = image[22, 31].astype(float)
    assert owners[22, 31] == 1
    np.testing.assert_allclose(middle / middle[0], (1, 2, 3), rtol=0.06)


def test_lamp_lights_the_side_it_is_on():
    light = Light(np.array([1.0, 0, 0]), ambient=0.3, strength=0.7, tint=np.ones(3))
    canvas = Canvas(CAMERA, light)
    canvas.draw(ball((0, 1.4, -4.0), 0.5, colour=(100, 100, 100)), owner=1)
    image = canvas.picture(np.zeros((48, 64, 3), np.uint8)).astype(int)
    assert image[22, 38, 0] > image[22, 26, 0] + 20


def sees(canvas, point, owner=1, part='torso', reach=0.6):
    return canvas.sees(np.array([point]), owner, [[PART_NUMBER[part]]], [reach])[0]


class TestSees:
    centre = (0.0, 1.4, -5.0)

    def canvas(self):
        canvas = Canvas(CAMERA, FLAT)
        canvas.draw(ball(self.centre, 0.4), owner=1)
        return canvas

    def test_a_point_under_its_own_surface(self):
        assert sees(self.canvas(), self.centre)

    def test_not_another_person(self):
        assert not sees(self.canvas(), self.centre, owner=2)

    def test_not_another_part(self):
        assert not sees(self.canvas(), self.centre, part='head')

    def test_not_deeper_than_its_reach(self):
        assert not sees(self.canvas(), self.centre, reach=0.3)

    def test_not_outside_the_picture(self):
        assert not sees(self.canvas(), (9.0, 1.4, -5.0))

    def test_not_behind_something(self):
        canvas = self.canvas()
        canvas.draw(ball((0, 1.4, -3.0), 0.4, part='none'))
        assert not sees(canvas, self.centre)
