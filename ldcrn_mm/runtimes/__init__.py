"""Exported networks, run by ONNX Runtime or OpenVINO.

::

    from ldcrn_mm.runtimes import open_runtime

    network = open_runtime('ldcrn.onnx')
    heatmaps = network(images)  # (N, 3, H, W), normalised as the config says

In place of a checkpoint such a file goes into MMPose's estimator:
:func:`use_exported`.
"""

from .estimator import use_exported
from .opening import SUFFIXES, is_exported, open_runtime
from .runtime import Runtime

__all__ = ['SUFFIXES', 'Runtime', 'is_exported', 'open_runtime', 'use_exported']
