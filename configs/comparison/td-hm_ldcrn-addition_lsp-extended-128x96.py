"""LDCRN without pyramid fusion, trained as with it, to compare the two.

As in the ablation for COCO the four scales of the last stage are enlarged to
stride 4 and go into one 1x1 convolution.
"""

_base_ = '../ldcrn/td-hm_ldcrn_1xb16-30e_lsp-extended-128x96.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='FeatureMapProcessor',
        select_index=(3, 4, 5, 6),  # after the three skips
        concat=True,
    ),
    head=dict(in_channels=32 + 64 + 128 + 256),
)
