"""Batch normalisation folded into the convolution before it, or cut in parts."""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


def is_foldable(norm: nn.Module) -> bool:
    """Whether a layer is, in evaluation, one scale and one shift a channel."""
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None


def fold_sequential(layers: Iterable[nn.Module]) -> nn.Sequential:
    """Layers in the order in which they run, each norm after a convolution folded.

    Args:
        layers: the members of an ``nn.Sequential``, in evaluation mode.
    """
    folded: list[nn.Module] = []
    for layer in layers:
        if is_foldable(layer) and folded and isinstance(folded[-1], nn.Conv2d):
            folded[-1] = fuse_conv_bn_eval(folded[-1], layer)
        else:
            folded.append(layer)
    return nn.Sequential(*folded)


class PreactConvOfParts(nn.Module):
    """BN, ReLU and convolution of concatenated maps, without concatenating them.

    The convolution of a concatenation is the sum of convolutions of its parts,
    and a norm and a ReLU see each channel alone.

    Shape: maps ``(N, widths[i], H, W)`` to ``(N, out_channels, H, W)``.

    Args:
        norm: the norm of all maps together, foldable.
        conv: the convolution of all maps together.
        widths: channels of each map.
    """

    def __init__(self, norm: _BatchNorm, conv: nn.Conv2d, widths: list[int]) -> None:
        super().__init__()
        ends = [0, *torch.tensor(widths).cumsum(0).tolist()]
        self.parts = nn.ModuleList(
            nn.Sequential(
                norm_of_channels(norm, start, stop),
                nn.ReLU(inplace=True),
                conv_from(
                    conv.weight[:, start:stop],
                    conv.bias if start == 0 else None,
                ),
            )
            for start, stop in pairwise(ends)
        )

    def forward(self, *maps: Tensor) -> Tensor:
        """The sum over the parts."""
        first, *others = (part(x) for part, x in zip(self.parts, maps))
        return sum(others, first)


def norm_of_channels(norm: _BatchNorm, start: int, stop: int) -> nn.BatchNorm2d:
    """What a norm does to a range of its channels, in evaluation mode."""
    part = nn.BatchNorm2d(stop - start, eps=norm.eps, affine=norm.affine)
    part.to(norm.running_mean)  # before it takes values: they are not to be rounded
    kept = part.state_dict()
    kept.update(
        (name, value[start:stop])
        for name, value in norm.state_dict().items()
        if value.dim()
    )
    part.load_state_dict(kept)
    return part.eval()


def conv_from(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A convolution of stride 1 with these weights, which keeps height and width."""
    out_channels, in_channels, size, _ = weight.shape
    conv = nn.Conv2d(
        in_channels, out_channels, size, padding=size // 2, bias=bias is not None
    )
    conv.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone())
    return conv
