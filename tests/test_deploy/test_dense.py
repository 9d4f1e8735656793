"""The deploy form of a DCRM, against the DCRM."""

import pytest
import torch
from torch import nn

from ldcrn_mm.deploy.dense import DeployDCRM, can_deploy
from ldcrn_mm.models import DCRM

from ..test_models.networks import noise, randomise


def dcrm(**overrides):
    arguments = dict(in_channels=6, num_layers=3, growth_rate=4, expansion=2)
    return randomise(DCRM(**{**arguments, **overrides}).double()).eval()


@pytest.mark.parametrize('num_layers', [1, 2, 4])
def test_it_computes_what_the_module_computes(num_layers):
    module = dcrm(num_layers=num_layers)
    x = noise(2, 6, 5, 4, dtype=torch.float64)
    found = DeployDCRM(module)(x)
    torch.testing.assert_close(found, module(x), rtol=1e-11, atol=1e-11)


def test_only_norms_before_a_relu_of_concatenated_maps_are_left():
    norms = [m for m in DeployDCRM(dcrm()).modules() if isinstance(m, nn.BatchNorm2d)]
    # For each of three layers one of the input's channels; for two of the grown.
    assert sorted(norm.num_features for norm in norms) == [4, 6, 6, 6, 8]


def test_one_convolution_makes_all_shortcuts_of_the_input():
    sizes = [
        (conv.in_channels, conv.out_channels)
        for conv in DeployDCRM(dcrm()).modules()
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3)
    ]
    assert sorted(sizes) == [(4, 4), (6, 12), (8, 4), (8, 4), (8, 4), (8, 4)]


def test_it_has_as_many_multiply_adds_as_the_module():
    def weights(module):
        convs = (m for m in module.modules() if isinstance(m, nn.Conv2d))
        return sum(conv.weight.numel() for conv in convs)

    assert weights(DeployDCRM(dcrm())) == weights(dcrm())


@pytest.mark.parametrize(
    ('norm_cfg', 'possible'),
    [
        (dict(type='BN'), True),
        (dict(type='SyncBN'), True),
        (dict(type='BN', track_running_stats=False), False),
        (dict(type='GN', num_groups=2), False),
    ],
)
def test_it_needs_norms_that_are_a_scale_and_a_shift(norm_cfg, possible):
    assert can_deploy(dcrm(norm_cfg=norm_cfg)) is possible
