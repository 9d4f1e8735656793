"""Wide 3x3 convolutions by minimal filtering, written as ordinary operators.

ONNX Runtime and OpenVINO compute float32 convolutions on CPUs directly. F(4, 3) [1]
gives four outputs of a filter of three taps for six products instead of twelve. Along
both axes that is a quarter of the multiply-adds, along one axis half of them.

The points of the interpolation are 0, P, -P, Q, -Q and infinity. With 3/4 and 3/2 the
rounding errors are a third of those with 1 and 2 of [1], as [2] suggests, and hardly
larger than those of the convolution.

References:
    [1] Lavin, Gray: "Fast algorithms for convolutional neural networks", CVPR 2016.
    [2] Barabasz et al.: "Error analysis and improving the accuracy of Winograd
        convolution for deep neural networks", ACM Trans. Math. Softw. 46(4), 2020.
"""

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

P, Q = 3 / 4, 3 / 2
P2, Q2 = P * P, Q * Q
# B^T and G of [1], here for any P and Q.
INPUT = (
    (P2 * Q2, 0, -P2 - Q2, 0, 1, 0),
    (0, -P * Q2, -Q2, P, 1, 0),
    (0, P * Q2, -Q2, -P, 1, 0),
    (0, -Q * P2, -P2, Q, 1, 0),
    (0, Q * P2, -P2, -Q, 1, 0),
    (0, P2 * Q2, 0, -P2 - Q2, 0, 1),
)
FILTER = (
    (1 / (P2 * Q2), 0, 0),
    *(tuple(x / 2 / P2 / (P2 - Q2) for x in (1, point, P2)) for point in (P, -P)),
    *(tuple(x / 2 / Q2 / (Q2 - P2) for x in (1, point, Q2)) for point in (Q, -Q)),
    (0, 0, 1),
)


class Rule(NamedTuple):
    """When minimal filtering is faster, and how."""

    both_axes: bool  # or along the height alone
    channels: int  # least number, of inputs as well as of outputs
    area: int  # least number of pixels


# By the suffix of a float32 file. Measured, see docs/benchmark.md.
RULES = {'.onnx': Rule(False, 160, 32 * 24), '.xml': Rule(True, 112, 32 * 24)}


def use_winograd(module: nn.Module, rule: Rule) -> None:
    """Replaces the convolutions in a module for which it pays, in place."""
    for parent in list(module.modules()):
        for name, conv in parent.named_children():
            if pays(conv, rule):
                setattr(parent, name, WinogradConv(conv, rule.both_axes, rule.area))


def pays(conv: nn.Module, rule: Rule) -> bool:
    """Whether a module is a convolution that is faster by minimal filtering."""
    return is_plain(conv) and min(conv.in_channels, conv.out_channels) >= rule.channels


def is_plain(conv: nn.Module) -> bool:
    """Whether a module is a 3x3 convolution that keeps height and width."""
    settings = ('kernel_size', 'stride', 'padding', 'dilation', 'groups')
    found = [getattr(conv, name, None) for name in settings]
    return type(conv) is nn.Conv2d and found == [(3, 3), (1, 1), (1, 1), (1, 1), 1]


class WinogradConv(nn.Module):
    """A 3x3 convolution by F(4x4, 3x3), or by F(4, 3) along the height alone.

    The transform of the input is depthwise convolutions and the products are
    convolutions, which both runtimes compute in their own memory layouts.

    Shape: ``(N, in_channels, H, W) -> (N, out_channels, H, W)``. It computes the
    convolution directly where the sides are no multiples of four or the map is small.

    Args:
        conv: the convolution: 3x3, stride 1, padding 1, one group, no dilation.
        both_axes: along the width, too.
        least_area: pixels of a map from which on it is faster.
    """

    def __init__(self, conv: nn.Conv2d, both_axes: bool, least_area: int = 0) -> None:
        super().__init__()
        self.conv, self.both_axes, self.least_area = conv, both_axes, least_area
        matrix = torch.tensor(FILTER, dtype=torch.float64)
        weight = conv.weight.detach().double()
        kernels = torch.einsum('ap,oipq->aoiq', matrix, weight).unsqueeze(3)
        if both_axes:
            kernels = torch.einsum('bq,aoirq->aboir', matrix, kernels).flatten(0, 1)
            kernels = kernels.unsqueeze(4)
        taps = torch.tensor(INPUT)[:, None, None, :, None].expand(
            -1, conv.in_channels, -1, -1, -1
        )
        self.kernels, self.rows, self.columns = (
            nn.ParameterList(each.to(conv.weight).contiguous() for each in parts)
            for parts in (kernels, taps, taps.transpose(3, 4) if both_axes else [])
        )

    def forward(self, x: Tensor) -> Tensor:
        """Computes the convolution."""
        height, width = x.shape[2:]
        indivisible = height % 4 or (self.both_axes and width % 4)
        if indivisible or height * width < self.least_area:
            return self.conv(x)
        groups = self.conv.in_channels
        parts = [
            F.conv2d(x, taps, stride=(4, 1), padding=(1, 0), groups=groups)
            for taps in self.rows
        ]
        if self.both_axes:
            parts = [
                F.conv2d(part, taps, stride=(1, 4), padding=(0, 1), groups=groups)
                for part in parts
                for taps in self.columns
            ]
            y = _tiles([*map(F.conv2d, parts, self.kernels)])
        else:
            product = partial(F.conv2d, padding=(0, 1))
            y = torch.stack(_outputs(*map(product, parts, self.kernels)), dim=3)
            y = y.flatten(2, 3)
        return y if self.conv.bias is None else y + self.conv.bias[:, None, None]


def _tiles(products: list[Tensor]) -> Tensor:
    """The map of all tiles of 4x4 outputs."""
    by_row = [_outputs(*products[i : i + 6]) for i in range(0, 36, 6)]
    by_column = [_outputs(*column) for column in zip(*by_row)]
    maps = [column[row] for row in range(4) for column in by_column]
    tiles = torch.cat(maps, dim=1).unflatten(1, (4, 4, -1))
    return tiles.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


def _outputs(
    zero: Tensor, p: Tensor, minus_p: Tensor, q: Tensor, minus_q: Tensor, top: Tensor
) -> list[Tensor]:
    """Four outputs of six products: A^T of [1] for P and Q."""
    even_p, odd_p, even_q, odd_q = p + minus_p, p - minus_p, q + minus_q, q - minus_q
    return [
        zero + even_p + even_q,
        P * odd_p + Q * odd_q,
        P2 * even_p + Q2 * even_q,
        P * P2 * odd_p + Q * Q2 * odd_q + top,
    ]
