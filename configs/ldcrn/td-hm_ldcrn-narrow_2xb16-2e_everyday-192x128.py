"""A narrow LDCRN on the same photographs: the published `ldcrn-narrow`.

1.8 million parameters. The paper's layout and its four scales with a sixth of the
multiply-adds: half as many dense blocks at stride 4, where most of the paper's are, and
one module for each stage.
"""

_base_ = 'td-hm_ldcrn_2xb16-2e_everyday-192x128.py'

load_from = None  # ours started from 84 epochs of LSP extended
channels = (24, 48, 96, 160)
model = dict(
    backbone=dict(
        stem_channels=32,
        channels=channels,
        num_modules=(1, 1, 1),
        num_blocks=2,
        num_layers=2,
        growth_rate=16,
        expansion=2,
    ),
    neck=dict(
        in_channels=channels,
        skip_channels=(32, channels[0], channels[0]),
        out_channels=channels[0],
    ),
    head=dict(in_channels=channels[0]),
)
