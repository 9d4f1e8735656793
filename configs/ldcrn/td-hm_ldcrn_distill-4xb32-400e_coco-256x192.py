"""LDCRN taught by a trained network besides the annotations, HRNet-W32 here.

Any MMPose model with heatmaps of the same size can teach, an LDCRN with
wider branches, say: --cfg-options model.teacher=CONFIG
model.teacher_checkpoint=FILE_OR_URL. Only the student is saved.
"""

_base_ = '../ldcrn_coco.py'

model = dict(
    type='DistilledPoseEstimator',
    teacher='mmpose::body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_hrnet-w32_8xb64-210e_coco-256x192.py',
    teacher_checkpoint='https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/'
    'topdown_heatmap/coco/'
    'td-hm_hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth',
    teacher_weight=0.5,
)
