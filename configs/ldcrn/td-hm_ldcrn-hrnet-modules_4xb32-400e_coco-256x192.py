"""Ablation: LDCRN with as many high-resolution modules as HRNet-W32 has."""

_base_ = '../ldcrn_coco.py'

model = dict(backbone=dict(num_modules=(1, 4, 3)))
