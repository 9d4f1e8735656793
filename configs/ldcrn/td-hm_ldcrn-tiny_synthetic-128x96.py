"""A small LDCRN for the drawn people of `tools/make_sample_data.py --simple`.

Small enough to be trained within minutes on two cores: `tools/quickstart.sh`
does. The paper's parts with three branches for four, fewer and wider dense
layers, and He's initialisation, with which a short training gets further.
"""

_base_ = '../ldcrn_coco.py'

max_epochs = 16
optim_wrapper = dict(optimizer=dict(lr=2e-3))
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
train_cfg = dict(max_epochs=max_epochs, val_interval=4)

input_size = (96, 128)
codec = dict(
    type='MSRAHeatmap',
    input_size=input_size,
    heatmap_size=(24, 32),
    sigma=2,
    unbiased=True,
)
channels = (24, 64, 128)
he_init = [
    dict(type='Kaiming', mode='fan_in', layer='Conv2d'),
    dict(type='Constant', val=1, layer='_BatchNorm'),
]
model = dict(
    backbone=dict(
        stem_channels=32,
        channels=channels,
        num_modules=(1, 1),
        num_blocks=2,
        num_layers=1,
        growth_rate=24,
        expansion=2,
        init_cfg=he_init,
    ),
    neck=dict(
        in_channels=channels,
        skip_channels=(32, channels[0]),
        out_channels=channels[0],
        init_cfg=he_init,
    ),
    head=dict(in_channels=channels[0], decoder=codec),
)

data_root = 'data/sample/coco/'
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='TopdownAffine', input_size=input_size),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=input_size),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=1, dataset=dict(data_root=data_root, pipeline=val_pipeline)
)
test_dataloader = dict(
    num_workers=1,
    dataset=dict(data_root=data_root, pipeline=val_pipeline, bbox_file=None),
)
val_evaluator = dict(ann_file=data_root + 'annotations/person_keypoints_val2017.json')
test_evaluator = val_evaluator
