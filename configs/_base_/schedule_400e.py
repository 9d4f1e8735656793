"""The paper's schedule: Adam, two drops, no warm-up, no weight decay."""

_base_ = 'runtime.py'

optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=400, milestones=[300, 360], gamma=0.1),
]
train_cfg = dict(max_epochs=400, val_interval=10)
