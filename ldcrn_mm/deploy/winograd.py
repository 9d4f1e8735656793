"""Wide 3x3 convolutions by minimal filtering, written as ordinary operators.

ONNX Runtime and OpenVINO compute float32 convolutions on CPUs directly. F(4, 3) [1]
gives four outputs of a filter of three taps for six products instead of twelve. Along
both axes that is a quarter of the multiply-adds, along one axis half of them.

References:
    [1] Lavin, Gray: "Fast algorithms for convolutional neural networks", CVPR 2016.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The matrices of F(4, 3) in [1]: B^T for the input and G for the filter.
INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
FILTER = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)

# By the file of a runtime: along both axes or the height, from how many channels on
# either side, and from how many pixels on. Measured, see docs/benchmark.md.
RULES = {'.onnx': (False, 160, 32 * 24), '.xml': (True, 112, 32 * 24)}


def use_winograd(module: nn.Module, suffix: str) -> None:
    """Replaces the convolutions in a module for which it pays, in place.

    Args:
        module: in evaluation mode.
        suffix: of the file that it will be exported to, float32.
    """
    both_axes, channels, area = RULES[suffix]
    for parent in list(module.modules()):
        for name, conv in parent.named_children():
            if _is_plain(conv) and min(conv.in_channels, conv.out_channels) >= channels:
                setattr(parent, name, WinogradConv(conv, both_axes, area))


def _is_plain(conv: nn.Module) -> bool:
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
        groups = dict(groups=self.conv.in_channels)
        parts = [
            F.conv2d(x, taps, stride=(4, 1), padding=(1, 0), **groups)
            for taps in self.rows
        ]
        if not self.both_axes:
            # By A^T of [1], a bias of the second product is one of all four outputs.
            maps = _outputs(
                [
                    F.conv2d(
                        part, kernel, self.conv.bias if i == 1 else None, padding=(0, 1)
                    )
                    for i, (part, kernel) in enumerate(zip(parts, self.kernels))
                ]
            )
            return torch.stack(maps, dim=3).flatten(2, 3)
        parts = [
            F.conv2d(part, taps, stride=(1, 4), padding=(0, 1), **groups)
            for part in parts
            for taps in self.columns
        ]
        products = [
            F.conv2d(part, kernel, self.conv.bias if i == 7 else None)
            for i, (part, kernel) in enumerate(zip(parts, self.kernels))
        ]
        by_row = [_outputs(products[i : i + 6]) for i in range(0, 36, 6)]
        by_column = [_outputs(column) for column in zip(*by_row)]
        maps = [column[row] for row in range(4) for column in by_column]
        tiles = torch.cat(maps, dim=1).unflatten(1, (4, 4, -1))
        return tiles.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


def _outputs(m: list[Tensor]) -> list[Tensor]:
    """Four outputs of six products: A^T of F(4, 3) in [1]."""
    return [
        m[0] + m[1] + m[2] + m[3] + m[4],
        m[1] - m[2] + 2 * m[3] - 2 * m[4],
        m[1] + m[2] + 4 * m[3] + 4 * m[4],
        m[1] - m[2] + 8 * m[3] - 8 * m[4] + m[5],
    ]
