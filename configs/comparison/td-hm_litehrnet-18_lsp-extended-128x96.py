"""MMPose's Lite-HRNet-18 from scratch, trained as LDCRN is, to compare the two.

References:
    Yu et al.: "Lite-HRNet: a lightweight high-resolution network", CVPR 2021.
"""

_base_ = '../ldcrn/td-hm_ldcrn_1xb16-30e_lsp-extended-128x96.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='LiteHRNet',
        in_channels=3,
        extra=dict(
            stem=dict(stem_channels=32, out_channels=32, expand_ratio=1),
            num_stages=3,
            stages_spec=dict(
                num_modules=(2, 4, 2),
                num_branches=(2, 3, 4),
                num_blocks=(2, 2, 2),
                module_type=('LITE', 'LITE', 'LITE'),
                with_fuse=(True, True, True),
                reduce_ratios=(8, 8, 8),
                num_channels=((40, 80), (40, 80, 160), (40, 80, 160, 320)),
            ),
            with_head=True,
        ),
    ),
    neck=None,
    head=dict(in_channels=40),
)
