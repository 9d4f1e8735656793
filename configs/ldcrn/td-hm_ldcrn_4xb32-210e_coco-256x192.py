"""LDCRN on the schedule of MMPose's top-down models: 210 epochs with warm-up.

The learning rate stays the paper's, which is for 128 people a step.
"""

_base_ = '../ldcrn_coco.py'

param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=210, milestones=[170, 200], gamma=0.1),
]
train_cfg = dict(max_epochs=210)
