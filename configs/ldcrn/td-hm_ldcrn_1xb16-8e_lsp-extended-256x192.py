"""LDCRN on photographs of sport (LSP extended) with COCO's 17 joints.

Small enough for CPUs, in two stages: first the same network at 128x96, then
this one, which goes on from the other's last checkpoint in `work_dirs/`; give
another place by `--cfg-options load_from=FILE`.

`v = 2` in the annotations marks joints that a person placed and `v = 1` those
that a network filled in: both train, the former alone are measured by. The
poses are extreme and the people few, so boxes are turned and resized, but less
than the paper does, with which the beginning is slow, and no half of a body is
cut off, since the people are small in the photographs as it is. Their boxes
already leave a margin around the joints, so the crop adds none.

References:
    Johnson, Everingham: "Learning effective human pose estimation from
    inaccurate annotation", CVPR 2011.
"""

_base_ = '../ldcrn_coco.py'

load_from = (
    'work_dirs/td-hm_ldcrn_1xb16-30e_lsp-extended-128x96/epoch_30.pth'  # stage 1
)
max_epochs = 8
# Adam needs several times as many people for the same loss.
optim_wrapper = dict(
    constructor='ConvMuonOptimWrapperConstructor',
    optimizer=dict(_delete_=True, type='ConvMuon', lr=2e-3, momentum=0.9, adam_lr=4e-4),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        end=max_epochs,
        eta_min=1e-5,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
auto_scale_lr = dict(base_batch_size=16)
# The average reaches back about a thousand steps, which are two epochs.
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=1e-3, update_buffers=True),
]
default_hooks = dict(checkpoint=dict(save_best='PCK'))

# As wide on the body as at 128x96: with the paper's two cells scores are low.
codec = dict(type='MSRAHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=3)
model = dict(head=dict(decoder=codec))

data_root = 'data/lsp_extended/'
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.0),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='ClippedGaussianBBoxTransform', scale_sigma=0.25, rotation_sigma=30),
    _base_.train_pipeline[-3],
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.0),
    *_base_.val_pipeline[-2:],
]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='images/'),
        pipeline=val_pipeline,
    ),
)
test_dataloader = dict(
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='images/'),
        bbox_file=None,
        pipeline=val_pipeline,
    ),
)
val_evaluator = dict(_delete_=True, type='TorsoPCKAccuracy', min_visibility=2)
test_evaluator = val_evaluator
