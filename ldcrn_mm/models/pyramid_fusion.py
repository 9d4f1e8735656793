"""Pyramid fusion, the paper's second contribution.

References:
    [1] Yang, Qin, Zhang: "Lightweight densely connected residual network for
        human pose estimation", J. Real-Time Image Processing, 2020.
    [2] Lin et al.: "Feature pyramid networks for object detection", CVPR 2017.
        The top-down path and its laterals.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn

from .conv import BATCH_NORM, PAPER_INIT, conv_norm


@MODELS.register_module()
class PyramidFusionNeck(BaseModule):
    """Sum of the pyramid and of all earlier maps of stride 4.

    ::

        /32 - 1x1 - up - + - up - + - up - + - - - - + - ReLU
        /16 ---- 1x1 ----'        |        |         |
        /8  -------- 1x1 ---------'        |         |
        /4  ------------- 1x1 -------------'---------'  (added again, unchanged)
        stem ------------ 3x3-BN --------------------'
        stages 2, 3 (/4) ----------------------------'

    Shape: the flat tuple of :class:`LDCRN` to a tuple of one map
    ``(N, out_channels, H/4, W/4)``. Upsampling is bilinear with
    ``align_corners=False``.

    Args:
        in_channels: channels of the pyramid, highest resolution first.
        skip_channels: channels of the skips. The first, the stem, is projected. The
            others are added unchanged.
        out_channels: channels of the fused map. The highest map of the pyramid and
            all skips except the first must have as many.
        norm_cfg: config of the normalisation layer.
        init_cfg: initialisation, by default the paper's.

    Raises:
        ValueError: if maps that are added differ in width. From ``forward``, if the
            maps are not those declared.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (32, 64, 128, 256),
        skip_channels: Sequence[int] = (64, 32, 32),
        out_channels: int = 32,
        norm_cfg: dict = BATCH_NORM,
        init_cfg: dict | list[dict] | None = PAPER_INIT,
    ) -> None:
        super().__init__(init_cfg)
        if not in_channels or not skip_channels:
            raise ValueError(
                'PyramidFusionNeck needs a pyramid and at least the stem as skip, got '
                f'in_channels={in_channels} and skip_channels={skip_channels}.'
            )
        added = (*skip_channels[1:], in_channels[0])
        if any(channels != out_channels for channels in added):
            raise ValueError(
                'PyramidFusionNeck adds maps of stride 4 unchanged, so '
                '`skip_channels[1:]` and `in_channels[0]` must equal out_channels='
                f'{out_channels}, got {added}.'
            )
        self.num_skips = len(skip_channels)
        self.expected_channels = (*skip_channels, *in_channels)
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels, out_channels, 1) for channels in in_channels
        )
        self.stem_projection = conv_norm(
            skip_channels[0], out_channels, 3, act=False, norm_cfg=norm_cfg
        )

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor]:
        """Computes the fused map."""
        found = tuple(x.shape[1] for x in feats)
        if found != self.expected_channels:
            raise ValueError(
                f'PyramidFusionNeck expects {len(self.expected_channels)} maps with '
                f'{self.expected_channels} channels, the first {self.num_skips} of '
                f'them skips, got {len(found)} maps with {found}. Set `skip_channels` '
                'and `in_channels` to the channels that the backbone returns.'
            )
        stem, *skips = feats[: self.num_skips]
        pyramid = feats[self.num_skips :]
        laterals = [conv(x) for conv, x in zip(self.laterals, pyramid)]
        fused = laterals.pop()
        while laterals:
            lateral = laterals.pop()
            fused = lateral + F.interpolate(fused, scale_factor=2, mode='bilinear')
        fused = fused + self.stem_projection(stem)
        for skip in (*skips, pyramid[0]):
            fused = fused + skip
        return (F.relu(fused),)
