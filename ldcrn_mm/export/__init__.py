"""From a trained estimator to a file for ONNX Runtime or OpenVINO.

::

    from ldcrn_mm.export import export_onnx

    export_onnx(model, 'ldcrn.onnx', size=(192, 256))

``tools/export.py`` does it from a config and a checkpoint, and checks the file.
"""

try:
    from .onnx import export_onnx
    from .openvino import export_openvino
except ModuleNotFoundError as error:
    raise ImportError(
        f'Exporting needs onnx, onnxscript and openvino, and Python finds no module '
        f'{error.name}. Install them: pip install onnx onnxscript openvino'
    ) from error

__all__ = ['export_onnx', 'export_openvino']
