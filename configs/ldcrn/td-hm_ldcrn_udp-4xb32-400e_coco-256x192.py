"""LDCRN with unbiased data processing: UDP's crop, targets and decoder.

References:
    Huang et al.: "The devil is in the details: delving into unbiased data
    processing for human pose estimation", CVPR 2020.
"""

_base_ = '../ldcrn_coco.py'

codec = dict(type='UDPHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2)
model = dict(
    head=dict(decoder=codec),
    test_cfg=dict(shift_heatmap=False),  # flipped heatmaps lie right without it
)

train_pipeline = [
    *_base_.train_pipeline[:-3],
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    *_base_.val_pipeline[:-2],
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=val_pipeline))
