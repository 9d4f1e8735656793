"""The densely connected residual module (DCRM), the paper's first contribution.

References:
    [1] Yang, Qin, Zhang: "Lightweight densely connected residual network for
        human pose estimation", J. Real-Time Image Processing, 2020.
    [2] Huang et al.: "Densely connected convolutional networks", CVPR 2017.
        Dense connections and the bottleneck.
    [3] He et al.: "Identity mappings in deep residual networks", ECCV 2016.
        Pre-activation.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .conv import BATCH_NORM, conv_norm, preact_conv


class DCRMLayer(nn.Module):
    """Dense layer of a DCRM: a pre-activation bottleneck beside a 3x3 shortcut.

    ::

        x -+- BN-ReLU-1x1(e*g) - BN-ReLU-3x3(g) -+- add - ReLU
           +------------- 3x3(g)-BN -------------+

    Shape: ``(N, in_channels, H, W) -> (N, growth_rate, H, W)``.

    Args:
        in_channels: channels of the input.
        growth_rate: channels of the output, ``g``.
        expansion: width of the bottleneck as a multiple ``e`` of the growth rate.
        norm_cfg: config of the normalisation layers.
    """

    def __init__(
        self,
        in_channels: int,
        growth_rate: int,
        expansion: int = 4,
        norm_cfg: dict = BATCH_NORM,
    ) -> None:
        super().__init__()
        width = expansion * growth_rate
        self.bottleneck = nn.Sequential(
            *preact_conv(in_channels, width, 1, norm_cfg=norm_cfg),
            *preact_conv(width, growth_rate, 3, norm_cfg=norm_cfg),
        )
        self.shortcut = conv_norm(
            in_channels, growth_rate, 3, act=False, norm_cfg=norm_cfg
        )

    def forward(self, x: Tensor) -> Tensor:
        """Computes the new channels."""
        return F.relu(self.shortcut(x) + self.bottleneck(x))


class DCRM(nn.Module):
    """Dense layers, each of which sees the input and all earlier outputs.

    Shape: ``(N, in_channels, H, W) -> (N, out_channels, H, W)`` with
    ``out_channels = in_channels + num_layers * growth_rate``. The output is the
    input followed by the output of each layer.

    Args:
        in_channels: channels of the input.
        num_layers: number of dense layers.
        growth_rate: channels that each layer adds.
        expansion: width of the bottlenecks as a multiple of the growth rate.
        norm_cfg: config of the normalisation layers.
    """

    def __init__(
        self,
        in_channels: int,
        num_layers: int = 4,
        growth_rate: int = 12,
        expansion: int = 4,
        norm_cfg: dict = BATCH_NORM,
    ) -> None:
        super().__init__()
        self.out_channels = in_channels + num_layers * growth_rate
        self.layers = nn.ModuleList(
            DCRMLayer(in_channels + i * growth_rate, growth_rate, expansion, norm_cfg)
            for i in range(num_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Appends the output of each layer to its input."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x
