"""LDCRN on photographs of sport (LSP extended) with COCO's 17 joints, from scratch.

Small enough for CPUs. `v = 2` in the annotations marks joints that a person placed and
`v = 1` those that a network filled in: both train, only the former are measured. The
poses are extreme and the people few, so boxes are turned and resized, but less than in
the paper, and nobody is cut in half, since the people are small as it is. Their boxes
leave a margin around the joints already, so the crop adds none. A torso is ten cells
long in the median, of which PCK@0.2 allows two: the Gaussians are narrower than the
recipe's.

References:
    [1] Johnson, Everingham: "Learning effective human pose estimation from
        inaccurate annotation", CVPR 2011. The data.
    [2] Zhang et al.: "Distribution-aware coordinate representation for human pose
        estimation", CVPR 2020. Its gain is largest in small images.
"""

_base_ = '../ldcrn_coco.py'

max_epochs = 30
# Adam needs several times as many people for the same loss.
optim_wrapper = dict(
    constructor='ConvMuonOptimWrapperConstructor',
    optimizer=dict(_delete_=True, type='ConvMuon', lr=5e-3, momentum=0.9, adam_lr=1e-3),
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

# A cell is 4 pixels wide, so what lies between cells counts: DARK [2].
codec = dict(
    type='MSRAHeatmap',
    input_size=(96, 128),
    heatmap_size=(24, 32),
    sigma=1.5,
    unbiased=True,
    blur_kernel_size=5,
)
model = dict(head=dict(decoder=codec))

data_root = 'data/lsp_extended/'
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.0),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='ClippedGaussianBBoxTransform', scale_sigma=0.25, rotation_sigma=30),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.0),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs'),
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
