"""LDCRN with stronger augmentation: boxes also shifted, and colours changed.

The ranges of the boxes are those of MMPose's CSPNeXt; its blur and dropout
need Albumentations, which this project does without.
"""

_base_ = '../ldcrn_coco.py'

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='RandomHalfBody'),
    dict(type='RandomBBoxTransform', scale_factor=(0.6, 1.4), rotate_factor=80),
    dict(type='TopdownAffine', input_size=_base_.codec.input_size),
    dict(type='PhotometricDistortion'),
    dict(type='GenerateTarget', encoder=_base_.codec),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
