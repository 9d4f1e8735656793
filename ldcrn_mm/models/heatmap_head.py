"""The head of LDCRN: one 1x1 convolution with the paper's loss and decoder."""

from collections.abc import Sequence

import torch
from mmpose.models.heads import HeatmapHead
from mmpose.registry import MODELS
from torch import Tensor

PAPER_LOSS = dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=0.5)
PAPER_DECODER = dict(
    type='MSRAHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2
)


@MODELS.register_module()
class LDCRNHead(HeatmapHead):
    """:class:`mmpose.models.heads.HeatmapHead` with the paper's settings.

    Converts features of lower precision, which autocast produces, to the precision of
    its weights, because the loss and the decoder need float32.

    Shape: the last of the maps, ``(N, in_channels, H, W)``, to heatmaps
    ``(N, out_channels, H, W)``.

    Args:
        in_channels: channels of the feature map.
        out_channels: number of keypoints.
        loss: config of the loss, by default half of the mean squared error weighted
            by the visibility of the keypoints.
        decoder: config of the codec that finds keypoints in heatmaps, by default the
            paper's for COCO at 256x192. A head with ``None`` can be trained but
            cannot predict.
        init_cfg: initialisation, by default that of ``HeatmapHead``, which is the
            paper's.
    """

    def __init__(
        self,
        in_channels: int = 32,
        out_channels: int = 17,
        loss: dict = PAPER_LOSS,
        decoder: dict | None = PAPER_DECODER,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            deconv_out_channels=None,
            loss=loss,
            decoder=decoder,
            init_cfg=init_cfg,
        )

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Computes heatmaps from the last of ``feats``."""
        x = feats[-1].to(self.final_layer.weight.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward((x,))
