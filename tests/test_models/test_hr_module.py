"""Branches and their exchange against the formulas."""

import pytest
import torch
from torch import nn

from ldcrn_mm.models import HRModule
from ldcrn_mm.models.hr_module import resample

from . import plain_ldcrn as plain
from .networks import noise, randomise, training_step


def copied(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('levels', [-3, -2, -1, 1, 2, 3])
def test_resample_is_the_formula(levels, train):
    module = randomise(resample(5, 3, levels)).double().train(train)
    p = copied(module)
    x = noise(2, 5, 16, 8, dtype=torch.float64)
    y = module(x)
    assert y.shape == (2, 3, int(16 * 2**-levels), int(8 * 2**-levels))
    torch.testing.assert_close(y, plain.resample(p, x, levels, train))


def test_resample_by_no_level_is_the_identity():
    x = noise(1, 5, 4, 4)
    assert resample(5, 5, 0)(x) is x


def test_only_the_last_of_several_halvings_changes_the_width():
    widths = [
        m.out_channels for m in resample(5, 3, 3).modules() if hasattr(m, 'stride')
    ]
    assert widths == [5, 5, 3]


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize(
    ('channels', 'num_layers', 'growth', 'expansion'),
    [((32, 64, 128, 256), 4, 12, 4), ((4, 3), 1, 2, 3), ((5,), 2, 2, 1)],
)
def test_module_is_the_formula(channels, num_layers, growth, expansion, train):
    module = HRModule(channels, num_layers, growth, expansion)
    randomise(module).double().train(train)
    p = copied(module)
    maps = [
        noise(2, width, 16 >> i, 8 >> i, seed=i, dtype=torch.float64)
        for i, width in enumerate(channels)
    ]
    expected = plain.hr_module(p, maps, num_layers, train)
    found = module(maps)
    assert [y.shape for y in found] == [x.shape for x in maps]
    torch.testing.assert_close(found, expected)


class OfMaps(nn.Module):
    """A module that takes its maps one by one."""

    def __init__(self, **settings):
        super().__init__()
        self.module = HRModule((4, 6), 2, 3, 2, **settings)

    def forward(self, *maps):
        return self.module(maps)


@pytest.mark.parametrize('train', [True, False])
def test_recomputing_changes_nothing(train):
    kept, recomputing = OfMaps(), OfMaps(with_cp=True)
    randomise(kept).double().train(train)
    recomputing.double().train(train).load_state_dict(kept.state_dict())
    maps = [noise(2, c, s, s, dtype=torch.float64) for c, s in ((4, 8), (6, 4))]
    expected, found = training_step(kept, *maps), training_step(recomputing, *maps)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_exception_for_another_number_of_maps():
    module = HRModule((4, 6, 8), 1, 2)
    with pytest.raises(ValueError, match=r'has 3 branches .* got 2'):
        module([noise(1, 4, 8, 8), noise(1, 6, 4, 4)])
