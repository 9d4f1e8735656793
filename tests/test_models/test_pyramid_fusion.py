"""The neck against the formulas, and the arguments and maps it rejects."""

import pytest
import torch
import torch.nn.functional as F

from ldcrn_mm.models import PyramidFusionNeck

from . import plain_ldcrn as plain
from .networks import noise, randomise, small_neck, weights_of


def maps(in_channels, skip_channels):
    """The backbone's flat tuple: skips of 32x16, then the pyramid."""
    float64 = dict(dtype=torch.float64)
    skips = [
        noise(2, c, 32, 16, seed=9 + i, **float64) for i, c in enumerate(skip_channels)
    ]
    pyramid = [
        noise(2, c, 32 >> i, 16 >> i, seed=i, **float64)
        for i, c in enumerate(in_channels)
    ]
    return (*skips, *pyramid)


def test_the_oracle_upsamples_without_aligned_corners():
    x = noise(2, 3, 5, 4, dtype=torch.float64)
    expected = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
    torch.testing.assert_close(plain.bilinear_twice(x), expected)


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize(
    ('in_channels', 'skip_channels', 'out_channels'),
    [
        ((32, 64, 128, 256), (64, 32, 32), 32),
        ((4, 6, 8), (6, 4), 4),
        ((4, 6), (3,), 4),
        ((4,), (3, 4), 4),
        ([5, 3, 2, 2, 7], [6, 5, 5, 5], 5),
    ],
)
def test_neck_is_the_formula(in_channels, skip_channels, out_channels, train):
    neck = randomise(PyramidFusionNeck(in_channels, skip_channels, out_channels))
    neck.double().train(train)
    p = weights_of(neck)
    feats = maps(in_channels, skip_channels)
    before = [x.clone() for x in feats]
    (fused,) = neck(feats)
    expected = plain.neck(p, before, len(skip_channels), train)
    torch.testing.assert_close(fused, expected)
    assert all(torch.equal(x, y) for x, y in zip(feats, before))


@pytest.mark.parametrize(
    ('in_channels', 'skip_channels', 'found'),
    [
        ((4, 6, 8), (6,), r'4 maps.*\(6, 4, 6, 8\)'),
        ((4, 6, 8), (6, 4, 4), '6 maps'),
        ((4, 8, 6), (6, 4), r'5 maps.*\(6, 4, 4, 8, 6\)'),
        ((4, 6, 8), (6, 1), r'5 maps.*\(6, 1, 4, 6, 8\)'),
    ],
)
def test_exception_for_other_maps_than_declared(in_channels, skip_channels, found):
    feats = maps(in_channels, skip_channels)
    with pytest.raises(ValueError, match=rf'5 maps.*\(6, 4, 4, 6, 8\).*got {found}'):
        small_neck()(feats)


@pytest.mark.parametrize(
    ('settings', 'named'),
    [
        (dict(out_channels=64), r'out_channels=64, got \(32, 32, 32\)'),
        (dict(skip_channels=(64, 32, 16)), r'out_channels=32, got \(32, 16, 32\)'),
        (dict(in_channels=(16, 64)), r'out_channels=32, got \(32, 32, 16\)'),
        (dict(in_channels=()), r'in_channels=\(\)'),
        (dict(skip_channels=()), r'skip_channels=\(\)'),
    ],
)
def test_exception_for_widths_that_cannot_be_added(settings, named):
    with pytest.raises(ValueError, match=named):
        PyramidFusionNeck(**settings)
