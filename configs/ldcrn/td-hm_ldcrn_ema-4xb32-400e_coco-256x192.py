"""LDCRN with averaged weights: validated, and what the checkpoints hold.

The average reaches back about five thousand steps, which are four epochs.
"""

_base_ = '../ldcrn_coco.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=2e-4, update_buffers=True),
]
