"""MMPose's runtime, this package's modules, checkpoints that survive a kill or NaN."""

_base_ = 'mmpose::_base_/default_runtime.py'

custom_imports = dict(imports=['ldcrn_mm'])
default_hooks = dict(
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=2),
    finite=dict(type='FiniteHook'),
)
