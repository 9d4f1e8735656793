"""Shadows and development."""

from dataclasses import replace

import numpy as np

from ldcrn_mm.synthetic.photo import cast_shadows, develop
from ldcrn_mm.synthetic.stage import sample_light, stage_people


def shadows(seed, elevation=None):
    """A grey picture with shadows on it."""
    rng = np.random.default_rng(seed)
    camera, actors = stage_people(rng, 160, 128)
    if elevation is not None:
        camera = replace(camera, elevation=elevation, horizon=64.0)
    before = np.full((128, 160, 3), 200, np.uint8)
    return cast_shadows(before, actors, camera, sample_light(rng), rng)


def test_shadows_darken_the_ground():
    dark = 0
    for seed in range(10):
        after = shadows(seed)
        assert (after <= 200).all()
        dark += after.min() < 180
    assert dark >= 5


def test_shadows_do_not_spread_above_the_horizon():
    for seed in range(5):
        after = shadows(seed, elevation=0.1)  # all ground is close below it
        assert after[64:].min() < 180
        assert (after[:64] == 200).all()


def test_development_changes_little_and_keeps_the_format():
    image = np.full((64, 96, 3), 120, np.uint8)
    image[20:40, 30:60] = (30, 60, 200)
    for seed in range(20):
        result = develop(image, np.random.default_rng(seed))
        assert result.shape == image.shape
        assert result.dtype == np.uint8
        # Blue stays below red in the patch, wherever the exposure goes.
        blue, _, red = result[25:35, 40:50].mean((0, 1))
        assert blue < red
        assert abs(result.mean() - image.mean()) < 90


def test_development_varies():
    image = np.full((32, 32, 3), 120, np.uint8)
    means = [develop(image, np.random.default_rng(s)).mean() for s in range(20)]
    assert np.std(means) > 5
