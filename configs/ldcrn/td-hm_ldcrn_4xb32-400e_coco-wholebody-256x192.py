"""LDCRN on COCO-WholeBody: 133 keypoints of body, feet, face and hands."""

_base_ = '../ldcrn_coco.py'

model = dict(head=dict(out_channels=133))

dataset_type = 'CocoWholeBodyDataset'
train_dataloader = dict(
    dataset=dict(
        type=dataset_type, ann_file='annotations/coco_wholebody_train_v1.0.json'
    )
)
val_dataloader = dict(
    dataset=dict(type=dataset_type, ann_file='annotations/coco_wholebody_val_v1.0.json')
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoWholeBodyMetric',
    ann_file=_base_.data_root + 'annotations/coco_wholebody_val_v1.0.json',
)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='coco-wholebody/AP'))
