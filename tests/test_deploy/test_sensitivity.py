import copy

import pytest
import torch
from torch import nn

from ldcrn_mm.deploy.sensitivity import (
    joint_error,
    layers_to_keep,
    measure_sensitivity,
)

from .conftest import noise


class TwoConvolutions(nn.Module):
    """Called as an estimator is; the second has a channel of outliers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3)
        self.second = nn.Conv2d(8, 4, 1)
        self.first.weight.data[0] *= 1000
        self.second.weight.data[:, 0] /= 1000

    def forward(self, images, data_samples, mode):
        return self.second(self.first(images))


def test_every_convolution_has_an_error_of_its_own(estimator):
    errors = measure_sensitivity(estimator, noise(2, 3, 64, 48))

    names = [n for n, m in estimator.named_modules() if isinstance(m, nn.Conv2d)]
    assert list(errors) == names
    assert all(0 < error < 0.2 for error in errors.values())
    assert len(set(errors.values())) > len(errors) // 2


def test_a_channel_of_outliers_makes_the_layer_after_it_sensitive():
    errors = measure_sensitivity(TwoConvolutions(), noise(2, 3, 16, 16))

    assert errors['second'] > 10 * errors['first']


def test_the_error_is_that_of_rounding_weights_and_input():
    model = nn.Module()
    conv = nn.Conv2d(1, 1, 1, bias=False)
    conv.weight.data[:] = 1.27  # a multiple of its step: only the input is rounded
    model.forward = lambda images, data_samples, mode: conv(images)
    model.conv = conv
    images = torch.tensor([0.0, 0.4, 0.6, 255.0]).reshape(1, 1, 1, 4)

    error = measure_sensitivity(model, images)['conv']

    lost = torch.tensor([0.0, 0.4, 0.4, 0.0]).norm() / images.norm()
    assert error == pytest.approx(float(lost), rel=1e-3)


def test_the_model_is_left_as_it_was():
    model = TwoConvolutions()  # of its own: rounding a second time changes nothing
    before = copy.deepcopy(model.state_dict())
    images = noise(1, 3, 16, 16)
    first = measure_sensitivity(model, images)

    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert measure_sensitivity(model, images) == first


def test_the_most_sensitive_layers_are_kept_until_the_rest_is_tolerable():
    errors = dict(a=0.03, b=0.5, c=0.04, d=0.12)

    assert layers_to_keep(errors, 1) == []
    assert layers_to_keep(errors, 0.14) == ['b']
    assert layers_to_keep(errors, 0.05) == ['b', 'd']
    assert layers_to_keep(errors, 0.049) == ['b', 'd', 'c']
    assert layers_to_keep(errors, 0) == ['b', 'd', 'c', 'a']


def test_independent_errors_add_up_as_squares():
    assert joint_error([3, 4]) == 5
    assert joint_error([]) == 0
