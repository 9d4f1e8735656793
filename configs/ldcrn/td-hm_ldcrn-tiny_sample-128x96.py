"""A small LDCRN for the puppets of `tools/make_sample_data.py`.

Three branches instead of four, fewer and wider dense layers, and He's initialisation,
which a short training needs. `tools/quickstart.sh` trains it in minutes on two cores.
"""

_base_ = '../ldcrn_coco.py'

train_cfg = dict(max_epochs=4, val_interval=1)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=8)
cosine = dict(type='CosineAnnealingLR', end=4, eta_min=1e-5, convert_to_iter_based=True)
warm_up = dict(type='LinearLR', start_factor=0.01, end=40, by_epoch=False)
param_scheduler = [warm_up, cosine]

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

load = [dict(type='LoadImage'), dict(type='GetBBoxCenterScale')]
crop = dict(type='TopdownAffine', input_size=input_size)
pack = dict(type='PackPoseInputs')
target = dict(type='GenerateTarget', encoder=codec)
train_pipeline = [*load, dict(type='RandomFlip'), crop, target, pack]
val_pipeline = [*load, crop, pack]

data_root = 'data/sample/coco/'
train_data = dict(data_root=data_root, pipeline=train_pipeline)
val_data = dict(data_root=data_root, pipeline=val_pipeline)
train_dataloader = dict(batch_size=8, num_workers=1, dataset=train_data)
val_dataloader = dict(num_workers=1, dataset=val_data)
test_dataloader = dict(num_workers=1, dataset=dict(val_data, bbox_file=None))
val_evaluator = dict(ann_file=data_root + 'annotations/person_keypoints_val2017.json')
test_evaluator = val_evaluator
