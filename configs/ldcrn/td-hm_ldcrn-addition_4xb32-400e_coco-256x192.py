"""Ablation: LDCRN without pyramid fusion, its four scales plainly added.

The scales of the last stage are enlarged to stride 4 and go into one 1x1
convolution, which is the sum of one for each scale: no steps from scale to
scale, no stem, no earlier stages.
"""

_base_ = '../ldcrn_coco.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='FeatureMapProcessor',
        select_index=(3, 4, 5, 6),  # after the three skips
        concat=True,
    ),
    head=dict(in_channels=32 + 64 + 128 + 256),
)
