"""The paper's network. A recipe adds the number of joints and the decoder."""

model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='LDCRN',
        stem_channels=64,
        channels=(32, 64, 128, 256),
        num_modules=(1, 2, 2),
        num_blocks=4,
        num_layers=4,
        growth_rate=12,
        expansion=4,
        with_cp=False,
    ),
    neck=dict(
        type='PyramidFusionNeck',
        in_channels=(32, 64, 128, 256),
        skip_channels=(64, 32, 32),
        out_channels=32,
    ),
    head=dict(
        type='LDCRNHead',
        in_channels=32,
        loss=dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=0.5),
    ),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True),
)
