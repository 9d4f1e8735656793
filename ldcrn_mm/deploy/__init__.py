"""Uses a trained network fast: its deploy form, exported files and their runtimes.

::

    from ldcrn_mm.deploy import open_runtime

    network = open_runtime('ldcrn.onnx')
    heatmaps = network(images)  # (N, 3, H, W), normalised as the config says

Writing files needs more libraries and is imported from where it stands:
``from ldcrn_mm.deploy.export_onnx import export_onnx``.
"""

from .exported_estimator import use_exported
from .form import deploy_form
from .opening import SUFFIXES, is_exported, open_runtime
from .runtime import Runtime

__all__ = [
    'SUFFIXES',
    'Runtime',
    'deploy_form',
    'is_exported',
    'open_runtime',
    'use_exported',
]
