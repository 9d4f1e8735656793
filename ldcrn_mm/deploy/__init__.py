"""Use a trained network fast: its deploy form, exported files and their runtimes.

::

    from ldcrn_mm.deploy import open_runtime

    network = open_runtime('ldcrn.onnx')
    heatmaps = network(images)  # (N, 3, H, W), normalised like the config does it

Exporting needs more libraries: ``from ldcrn_mm.deploy.export import export_onnx``.
"""

from .estimator import use_exported
from .form import deploy_form
from .runtime import SUFFIXES, Runtime, is_exported, open_runtime

__all__ = [
    'SUFFIXES',
    'Runtime',
    'deploy_form',
    'is_exported',
    'open_runtime',
    'use_exported',
]
