"""A narrow LDCRN on LSP extended: 1.8 million parameters, for quick demos.

The paper's layout and its four scales with a sixth of the multiply-adds: half as
many dense blocks at stride 4, where most of the paper's are, and one module for
each stage.
"""

_base_ = 'td-hm_ldcrn_1xb16-30e_lsp-extended-128x96.py'

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
