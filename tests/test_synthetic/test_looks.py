"""Clothes: patterns and choices."""

import numpy as np
import pytest

from ldcrn_mm.synthetic.looks import (
    FABRICS,
    HAIR_STYLES,
    HATS,
    PATTERNS,
    Fabric,
    pick_colour,
    sample_look,
)

ALONG, ANGLES = np.linspace(0, 0.5, 40), np.linspace(0, 2 * np.pi, 24)


@pytest.mark.parametrize('pattern', PATTERNS)
def test_patterns_mix_two_colours(pattern):
    fabric = Fabric((0, 0, 0), (200, 100, 50), pattern)
    share = fabric.paint(ALONG, ANGLES) / (200, 100, 50)
    assert share.shape == (40, 24, 3)
    assert share.min() >= 0
    assert share.max() <= 1
    assert (share.max() > 0) == (pattern != 'plain')


def test_hoops_go_around_and_stripes_along():
    hoops = Fabric((0, 0, 0), (1, 1, 1), 'hoops').paint(ALONG, ANGLES)[..., 0]
    stripes = Fabric((0, 0, 0), (1, 1, 1), 'stripes').paint(ALONG, ANGLES)[..., 0]
    assert (np.ptp(hoops, axis=1) == 0).all()
    assert np.ptp(hoops, axis=0).all()
    assert (np.ptp(stripes, axis=0) == 0).all()
    assert np.ptp(stripes, axis=1).all()


def test_unknown_pattern_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'tartan'.*hoops"):
        Fabric((0, 0, 0), (0, 0, 0), 'tartan').paint(ALONG, ANGLES)


def test_picked_colours_are_printable_and_near_the_palette():
    rng = np.random.default_rng(0)
    palette = np.array(FABRICS)
    for _ in range(50):
        colour = np.array(pick_colour(rng, FABRICS))
        assert ((colour >= 8) & (colour <= 248)).all()
        assert np.abs(palette - colour).max(1).min() < 60


def test_looks_vary_and_are_consistent():
    looks = [sample_look(np.random.default_rng(seed)) for seed in range(300)]
    assert {look.hair_style for look in looks} == set(HAIR_STYLES)
    assert {look.hat for look in looks} == set(HATS)
    assert all(look.inner is not None for look in looks if look.tie is not None)
    assert all(not look.beard for look in looks if look.skirt)
    assert all(look.leg < 1 for look in looks if look.skirt)
    for share in (
        np.mean([look.sleeve < 1 for look in looks]),
        np.mean([look.leg <= 1 for look in looks]),
        np.mean([look.tucked for look in looks]),
    ):
        assert 0.15 < share < 0.85
