"""LDCRN with DARK: targets centred between cells, decoding by a Taylor expansion.

References:
    Zhang et al.: "Distribution-aware coordinate representation for human pose
    estimation", CVPR 2020.
"""

_base_ = '../ldcrn_coco.py'

codec = dict(
    type='MSRAHeatmap',
    input_size=(192, 256),
    heatmap_size=(48, 64),
    sigma=2,
    unbiased=True,
)
model = dict(head=dict(decoder=codec))

train_pipeline = [
    *_base_.train_pipeline[:-2],
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
