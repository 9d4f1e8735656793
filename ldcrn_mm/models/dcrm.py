"""The densely connected residual module (DCRM), the paper's first contribution.

References:
    [1] Yang, Qin, Zhang: "Lightweight densely connected residual network for
        human pose estimation", J. Real-Time Image Processing, 2020.
    [2] Huang et al.: "Densely connected convolutional networks", CVPR 2017:
        the dense connections and the bottleneck.
    [3] He et al.: "Identity mappings in deep residual networks", ECCV 2016:
        pre-activation.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv import BATCH_NORM, conv_norm, preact_conv
from .recompute import recompute_in_backward


class DCRMLayer(nn.Module):
    """One dense layer: a pre-activation bottleneck beside a 3x3 shortcut.

    ::

        x -+- BN-ReLU-1x1(e*g) - BN-ReLU-3x3(g) -+- add - ReLU
           +------------- 3x3(g)-BN -------------+

    Shape: ``(N, in_channels, H, W) -> (N, growth_rate, H, W)``. The input is
    the concatenation of all earlier maps of the module; they may also be
    given one by one.

    Args:
        in_channels: channels of the input, all maps together.
        growth_rate: channels of the output, ``g``.
        expansion: width of the bottleneck in units of the growth rate, ``e``.
        norm_cfg: config of the normalisation layers.
        with_cp: keep only the maps for the backward pass and compute the
            layer, the concatenation included, a second time there.
    """

    def __init__(
        self,
        in_channels: int,
        growth_rate: int,
        expansion: int = 4,
        norm_cfg: dict = BATCH_NORM,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        width = expansion * growth_rate
        self.with_cp = with_cp
        self.bottleneck = nn.Sequential(
            *preact_conv(in_channels, width, 1, norm_cfg=norm_cfg),
            *preact_conv(width, growth_rate, 3, norm_cfg=norm_cfg),
        )
        self.shortcut = conv_norm(
            in_channels, growth_rate, 3, act=False, norm_cfg=norm_cfg
        )

    def forward(self, *maps: Tensor) -> Tensor:
        """The new channels of the concatenated maps."""
        return F.relu(
            recompute_in_backward(self, self._add, *maps, enabled=self.with_cp)
        )

    def _add(self, *maps: Tensor) -> Tensor:
        x = concatenate(maps)
        # The bottleneck last: a recomputation stops before its 3x3 convolution,
        # whose output nothing in the backward pass needs.
        return self.shortcut(x) + self.bottleneck(x)


class DCRM(nn.Module):
    """Dense layers, each fed with the input and the outputs of all before it.

    Shape: ``(N, in_channels, H, W) -> (N, out_channels, H, W)`` with
    ``out_channels = in_channels + num_layers * growth_rate``: the input first,
    then every layer's output.

    Args:
        in_channels: channels of the input.
        num_layers: number of dense layers.
        growth_rate: channels that each layer adds.
        expansion: width of the bottlenecks in units of the growth rate.
        norm_cfg: config of the normalisation layers.
        with_cp: keep only the input and the layers' outputs for the backward
            pass and compute the layers a second time there.
    """

    def __init__(
        self,
        in_channels: int,
        num_layers: int = 4,
        growth_rate: int = 12,
        expansion: int = 4,
        norm_cfg: dict = BATCH_NORM,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.out_channels = in_channels + num_layers * growth_rate
        self.layers = nn.ModuleList(
            DCRMLayer(
                in_channels + i * growth_rate, growth_rate, expansion, norm_cfg, with_cp
            )
            for i in range(num_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The input, followed by every layer's output."""
        return concatenate(self.maps(x))

    def maps(self, x: Tensor) -> list[Tensor]:
        """The output in its parts: the input, then each layer's output."""
        maps = [x]
        for layer in self.layers:
            maps.append(layer(*maps))
        return maps


class Transition(nn.Sequential):
    """From a DCRM to the width of what follows: BN-ReLU-3x3.

    Shape: ``(N, in_channels, H, W) -> (N, out_channels, H, W)``; the input
    may be given in parts, as :meth:`DCRM.maps` returns it.

    Args:
        in_channels: channels of the input, all parts together.
        out_channels: channels of the output.
        norm_cfg: config of the normalisation layer.
        with_cp: keep only the parts for the backward pass and concatenate,
            normalise and rectify them a second time there.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm_cfg: dict = BATCH_NORM,
        with_cp: bool = False,
    ) -> None:
        super().__init__(*preact_conv(in_channels, out_channels, 3, norm_cfg=norm_cfg))
        self.with_cp = with_cp

    def forward(self, *maps: Tensor) -> Tensor:
        """The concatenated maps, brought to the new width."""
        return recompute_in_backward(self, self._join, *maps, enabled=self.with_cp)

    def _join(self, *maps: Tensor) -> Tensor:
        return super().forward(concatenate(maps))


class DCRMSequence(nn.Sequential):
    """DCRMs, and after each but perhaps the last a :class:`Transition`.

    Where they recompute, a transition gets the output of the DCRM before it in
    parts, so that their concatenation need not be kept for the backward pass.

    Shape: ``(N, C, H, W) -> (N, C', H, W)`` with the channels of the first
    and the last member.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The members in turn."""
        maps = [x]
        for member in self:
            in_parts = isinstance(member, DCRM) and member.with_cp
            maps = member.maps(*maps) if in_parts else [member(*maps)]
        return concatenate(maps)


def concatenate(maps: Sequence[Tensor]) -> Tensor:
    """Maps of one size as one; a single map is returned as it is, uncopied."""
    return maps[0] if len(maps) == 1 else torch.cat(tuple(maps), dim=1)
