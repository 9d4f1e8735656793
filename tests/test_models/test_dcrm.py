"""Dense layers and modules against the paper's formulas."""

import pytest
import torch

from ldcrn_mm.models import DCRM, DCRMLayer

from . import plain_ldcrn as plain
from .networks import noise, randomise, weights_of


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize(
    ('channels', 'growth', 'expansion'), [(64, 12, 4), (7, 3, 2), (5, 1, 1)]
)
def test_layer_is_the_formula(channels, growth, expansion, train):
    module = randomise(DCRMLayer(channels, growth, expansion)).double().train(train)
    p = weights_of(module)
    x = noise(2, channels, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(module(x), plain.layer(p, x, train))


@pytest.mark.parametrize(('expansion', 'width'), [(4, 48), (2, 24)])
def test_layers_have_the_shapes_of_the_paper(expansion, width):
    layer = DCRM(52, 2, 12, expansion).layers[1]
    assert [tuple(p.shape) for p in layer.parameters() if p.dim() == 4] == [
        (width, 64, 1, 1),
        (12, width, 3, 3),
        (12, 64, 3, 3),
    ]


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize(
    ('channels', 'num_layers', 'growth', 'expansion'),
    [(64, 4, 12, 4), (5, 1, 3, 4), (3, 6, 2, 3)],
)
def test_module_is_the_formula(channels, num_layers, growth, expansion, train):
    module = randomise(DCRM(channels, num_layers, growth, expansion))
    module.double().train(train)
    p = weights_of(module)
    x = noise(2, channels, 6, 5, dtype=torch.float64)
    before = x.clone()
    y = module(x)
    assert y.shape[1] == module.out_channels == channels + num_layers * growth
    torch.testing.assert_close(y, plain.dcrm(p, before, num_layers, train))
    assert torch.equal(x, before)
