"""Backdrops fill the picture and follow the camera."""

import numpy as np
import pytest

from ldcrn_mm.synthetic import backdrop
from ldcrn_mm.synthetic.painter import Camera

CAMERA = Camera(width=160, height=120, focal=250.0, horizon=40.0, elevation=1.5)


@pytest.mark.parametrize('theme', [theme for _, theme in backdrop.THEMES])
def test_themes_fill_the_picture_with_varied_colours(theme):
    means = []
    for seed in range(6):
        image = theme(np.random.default_rng(seed), CAMERA, 6.0)
        assert image.shape == (120, 160, 3)
        assert np.isfinite(image).all()
        means.append(image.mean((0, 1)))
    assert np.std(means, axis=0).max() > 4


@pytest.mark.parametrize('horizon', [-50.0, 60.0, 300.0])
def test_horizons_outside_the_picture_are_fine(horizon):
    camera = Camera(96, 80, 150.0, horizon, 1.5)
    for seed in range(20):
        image = backdrop.paint_backdrop(np.random.default_rng(seed), camera, 5.0)
        assert image.shape == (80, 96, 3)
        assert image.dtype == np.uint8


def test_walls_stand_behind_the_farthest_person():
    far = 8.0
    lowest_wall = CAMERA.horizon + CAMERA.focal * CAMERA.elevation / far
    assert lowest_wall < CAMERA.height - 20
    # From the feet of somebody at 8 m downwards there can only be floor, which
    # looks the same wherever the wall is.
    for seed in range(8):
        near = backdrop.room(np.random.default_rng(seed), CAMERA, far)
        deep = backdrop.room(np.random.default_rng(seed), CAMERA, 40.0)
        rows = slice(int(np.ceil(lowest_wall)), None)
        np.testing.assert_array_equal(near[rows], deep[rows])


def test_noise_is_smooth_and_centred():
    image = backdrop.noise(np.random.default_rng(0), 200, 300, 20)
    assert abs(image.mean()) < 0.08
    assert np.abs(np.diff(image, axis=1)).max() < 0.3


def test_same_seed_paints_the_same():
    first, second = (
        backdrop.paint_backdrop(np.random.default_rng(5), CAMERA, 5.0) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
