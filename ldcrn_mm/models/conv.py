"""What all parts of LDCRN are made of: convolution, normalisation and ReLU.

The two orders are plain ``nn.Sequential``s whose members stand in the order in
which they run, so that anything that folds batch normalisation by walking the
children (``mmcv.cnn.fuse_conv_bn`` does) is right about them. mmcv's
``ConvModule`` is not used: its own ``init_weights`` would replace the paper's
initialisation, and with ``order=('norm', 'act', 'conv')`` folding goes wrong.
"""

from mmcv.cnn import build_norm_layer
from torch import nn

BATCH_NORM = dict(type='BN')
# No pre-training: small normal weights, no biases, identity normalisation.
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
    """Convolution without bias, normalisation and, with ``act``, a ReLU."""
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
    """Normalisation, ReLU and convolution without bias, in this order."""
    return nn.Sequential(
        build_norm_layer(norm_cfg, in_channels)[1],
        nn.ReLU(inplace=True),
        nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
        ),
    )
