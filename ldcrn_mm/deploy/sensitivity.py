"""Which convolutions may be computed in 8 bits: measured, one at a time.

References:
    [1] Wu et al.: "Integer quantization for deep learning inference:
        principles and empirical evaluation", 2020, section 6.1: partial
        quantization by the sensitivity of single layers.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from mmpose.models.pose_estimators.base import BasePoseEstimator
from torch import Tensor, nn


@torch.no_grad()
def measure_sensitivity(model: BasePoseEstimator, images: Tensor) -> dict[str, float]:
    """The error of the heatmaps when one convolution alone is quantized.

    Its weights are rounded to 8 bits a channel and its input to 8 bits
    between the smallest and the largest value on these images.

    Args:
        model: the estimator, in evaluation mode.
        images: (N, 3, H, W), normalised.

    Returns:
        For the name of every convolution the norm of the error, relative to
        that of the heatmaps.
    """
    expected = model(images, None, mode='tensor')
    errors = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            with _quantized(module):
                error = model(images, None, mode='tensor') - expected
            errors[name] = float(error.norm() / expected.norm())
    return errors


def layers_to_keep(errors: dict[str, float], tolerance: float) -> list[str]:
    """The most sensitive layers, without which the others' error is tolerable.

    The errors of single layers are taken as independent: together, the root
    of the sum of their squares.

    Args:
        errors: what :func:`measure_sensitivity` found.
        tolerance: error of all quantized layers together.

    Returns:
        Names of the layers to keep in floating point, the most sensitive first.
    """
    ranked = sorted(errors, key=errors.get, reverse=True)
    for count in range(len(ranked)):
        if joint_error(errors[name] for name in ranked[count:]) <= tolerance:
            return ranked[:count]
    return ranked


def joint_error(errors: Iterable[float]) -> float:
    """What independent errors amount to together."""
    return sum(error**2 for error in errors) ** 0.5


@contextmanager
def _quantized(conv: nn.Conv2d) -> Iterator[None]:
    weight = conv.weight.data
    hook = conv.register_forward_pre_hook(lambda _, inputs: (_rounded(inputs[0]),))
    conv.weight.data = _rounded_by_channel(weight)
    try:
        yield
    finally:
        conv.weight.data = weight
        hook.remove()


def _rounded(x: Tensor) -> Tensor:
    """To 256 values that span all of ``x`` and zero."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    scale = ((high - low) / 255).clamp(min=1e-12)
    return ((x - low) / scale).round() * scale + low


def _rounded_by_channel(weight: Tensor) -> Tensor:
    """To 255 values symmetric about zero, by output channel."""
    scale = weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12) / 127
    return (weight / scale).round() * scale
