"""Branches and their exchange against the formulas."""

import pytest
import torch

from ldcrn_mm.models import HRModule
from ldcrn_mm.models.hr_module import resample

from . import plain_ldcrn as plain
from .networks import noise, randomise, weights_of


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('levels', [-3, -2, -1, 1, 2, 3])
def test_resample_is_the_formula(levels, train):
    module = randomise(resample(5, 3, levels)).double().train(train)
    p = weights_of(module)
    x = noise(2, 5, 16, 8, dtype=torch.float64)
    y = module(x)
    assert y.shape == (2, 3, int(16 * 2**-levels), int(8 * 2**-levels))
    torch.testing.assert_close(y, plain.resample(p, x, levels, train))


def test_only_the_last_of_several_halvings_changes_the_width():
    convs = [m for m in resample(5, 3, 3).modules() if hasattr(m, 'stride')]
    assert [conv.out_channels for conv in convs] == [5, 5, 3]


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize(
    ('channels', 'num_layers', 'growth', 'expansion'),
    [((32, 64, 128, 256), 4, 12, 4), ((4, 3), 1, 2, 3), ((5,), 2, 2, 1)],
)
def test_module_is_the_formula(channels, num_layers, growth, expansion, train):
    module = HRModule(channels, num_layers, growth, expansion)
    randomise(module).double().train(train)
    p = weights_of(module)
    maps = [
        noise(2, width, 16 >> i, 8 >> i, seed=i, dtype=torch.float64)
        for i, width in enumerate(channels)
    ]
    expected = plain.hr_module(p, maps, num_layers, train)
    torch.testing.assert_close(module(maps), expected)


def test_exception_for_another_number_of_maps():
    module = HRModule((4, 6, 8), 1, 2)
    with pytest.raises(ValueError, match='3 in all, got 2'):
        module([noise(1, 4, 8, 8), noise(1, 6, 4, 4)])
