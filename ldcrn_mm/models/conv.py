"""Convolution, normalisation and ReLU in the two orders that LDCRN uses.

Both functions return a plain ``nn.Sequential`` whose members stand in the order in
which they run. ``mmcv.cnn.fuse_conv_bn`` relies on that order. mmcv's own
``ConvModule`` does not keep it for ``order=('norm', 'act', 'conv')``, and its
``init_weights`` overwrites the paper's initialisation.
"""

from mmcv.cnn import build_norm_layer
from torch import nn

BATCH_NORM = dict(type='BN')
# The paper trains from scratch: small normal weights, identity normalisation.
PAPER_INIT = [
    dict(type='Normal', std=0.001, layer='Conv2d'),
    dict(type='Constant', val=1, layer=['_BatchNorm', 'SyncBatchNorm', 'GroupNorm']),
]


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    *,
    act: bool = True,
    norm_cfg: dict = BATCH_NORM,
) -> nn.Sequential:
    """Convolution without bias, normalisation and, if ``act``, ReLU."""
    layers = [
        nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False
        ),
        build_norm_layer(norm_cfg, out_channels)[1],
    ]
    if act:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def preact_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    norm_cfg: dict = BATCH_NORM,
) -> nn.Sequential:
    """Normalisation, ReLU and convolution without bias."""
    return nn.Sequential(
        build_norm_layer(norm_cfg, in_channels)[1],
        nn.ReLU(inplace=True),
        nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
        ),
    )
