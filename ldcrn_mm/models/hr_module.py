"""Parallel branches of DCRMs and the exchange between them.

References:
    [1] Sun et al.: "Deep high-resolution representation learning for human
        pose estimation", CVPR 2019. Parallel branches and exchange units.
"""

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv import BATCH_NORM, conv_norm, preact_conv
from .dcrm import DCRM
from .recompute import RecomputingSequential


def resample(
    in_channels: int, out_channels: int, levels: int, norm_cfg: dict = BATCH_NORM
) -> nn.Module:
    """Path from one branch to another that lies ``levels`` octaves lower.

    Args:
        in_channels: channels of the source branch.
        out_channels: channels of the destination branch.
        levels: ``0`` is the identity. ``n > 0`` halves height and width ``n`` times
            by 3x3 convolutions of stride 2, of which only the last changes the width
            and has no ReLU. ``-n`` is a 1x1 convolution and nearest upsampling by
            ``2**n``.
        norm_cfg: config of the normalisation layers.
    """
    if levels == 0:
        return nn.Identity()
    if levels < 0:
        narrow = conv_norm(in_channels, out_channels, 1, act=False, norm_cfg=norm_cfg)
        return nn.Sequential(*narrow, nn.Upsample(scale_factor=2**-levels))
    return nn.Sequential(
        *(
            conv_norm(in_channels, in_channels, 3, 2, norm_cfg=norm_cfg)
            for _ in range(levels - 1)
        ),
        conv_norm(in_channels, out_channels, 3, 2, act=False, norm_cfg=norm_cfg),
    )


class HRModule(nn.Module):
    """A DCRM and a transition in each branch, then a sum over all branches.

    Shape: maps ``(N, channels[i], H / 2**i, W / 2**i)``, highest resolution first,
    to a list of maps of the same shapes.

    Args:
        channels: width of each branch, highest resolution first.
        num_layers, growth_rate, expansion, norm_cfg: see :class:`DCRM`.
        with_cp: compute the branches again in the backward pass to save memory.

    Raises:
        ValueError: from ``forward``, if the number of maps is not that of the
            branches.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_layers: int = 4,
        growth_rate: int = 12,
        expansion: int = 4,
        norm_cfg: dict = BATCH_NORM,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList()
        for width in channels:
            dcrm = DCRM(width, num_layers, growth_rate, expansion, norm_cfg)
            transition = preact_conv(dcrm.out_channels, width, 3, norm_cfg=norm_cfg)
            self.branches.append(
                RecomputingSequential(dcrm, transition, with_cp=with_cp)
            )
        self.exchange = nn.ModuleList(
            nn.ModuleList(
                resample(channels[src], channels[dst], dst - src, norm_cfg)
                for src in range(len(channels))
            )
            for dst in range(len(channels))
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Computes one map per branch, in the order of the input."""
        if len(maps) != len(self.branches):
            raise ValueError(
                f'HRModule needs one map per branch, {len(self.branches)} in all, '
                f'got {len(maps)}.'
            )
        maps = [branch(x) for branch, x in zip(self.branches, maps)]
        return [
            F.relu(reduce(torch.add, (path(x) for path, x in zip(paths, maps))))
            for paths in self.exchange
        ]
