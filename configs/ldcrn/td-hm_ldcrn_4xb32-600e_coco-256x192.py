"""LDCRN on one and a half times the paper's schedule, with warm-up."""

_base_ = '../ldcrn_coco.py'

param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=600, milestones=[450, 540], gamma=0.1),
]
train_cfg = dict(max_epochs=600)
