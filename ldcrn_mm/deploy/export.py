"""Exports a trained estimator for ONNX Runtime or OpenVINO, and checks the file."""

import io
import math
import pprint
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from mmengine.config import Config
from mmpose.apis.inference import dataset_meta_from_config
from mmpose.models.pose_estimators.base import BasePoseEstimator
from torch import Tensor, nn

from ..checkpoint.files import write_whole
from ..training.check import check_inference
from ..training.data_files import inference_dataset
from ..training.launch import type_name
from .decoding import HeatmapDecoder
from .runtime import DECODED_OUTPUTS, PRECISION_KEY, Runtime

OPSET = 20
PRECISIONS = {
    '.onnx': ('fp32', 'fp16', 'int8'),
    '.xml': ('fp32', 'fp16', 'bf16', 'int8'),
}
# Largest difference between heatmaps, relative to their largest value, that the
# precision explains. int8 is judged by its accuracy (tools/test.py).
TOLERANCES = {'fp32': 1e-5, 'fp16': 1e-2, 'bf16': 5e-2, 'int8': math.inf}
MOST_MOVED = 0.01  # share of the keypoints of an fp32 file with decoding


def export_network(
    model: BasePoseEstimator,
    path: str | Path,
    size: tuple[int, int] | None = None,
    *,
    decode: bool = False,
    opset: int = OPSET,
    precision: str = 'fp32',
    calibration: np.ndarray | None = None,
) -> Path:
    """Writes the network of an estimator to a file for one of the runtimes.

    The file takes any number of normalised images ``(N, 3, H, W)`` of one size. It
    returns heatmaps ``(N, K, H/4, W/4)``, or with ``decode`` keypoints ``(N, K, 2)``
    in pixels of the images and scores ``(N, K)``. It appears whole or not at all.

    Args:
        model: the estimator. It is put into evaluation mode.
        path: an ``.onnx`` file for ONNX Runtime, or an ``.xml`` file for OpenVINO,
            whose weights are in a ``.bin`` file that is written before it.
        size: (width, height) of the images. Defaults to that of the codec.
        decode: include the decoding.
        opset: version of the ONNX operators, at least 18.
        precision: ``'fp32'``, ``'fp16'``, for OpenVINO ``'bf16'``, or ``'int8'``.
            ONNX Runtime stores weights in fp16 and computes in float32. OpenVINO
            computes in fp16 or bf16 if the CPU can.
        calibration: (N, 3, H, W), normalised images of people for int8.

    Returns:
        The path.

    Raises:
        ValueError: if the suffix, size, opset or precision is not possible,
            calibration images are missing, or ``decode`` does not support the codec.
    """
    path = Path(path)
    if path.suffix not in PRECISIONS:
        raise ValueError(f'an exported file must end in .onnx or .xml, got `{path}`')
    if precision not in PRECISIONS[path.suffix]:
        raise ValueError(
            f'the precision of an {path.suffix} file must be one of '
            f'{", ".join(PRECISIONS[path.suffix])}, got {precision}'
        )
    if precision == 'int8' and calibration is None:
        raise ValueError("precision='int8' needs calibration images, got None")
    write = _write_onnx if path.suffix == '.onnx' else _write_openvino
    write(to_onnx(model, size, decode, opset), path, precision, calibration)
    return path


def _write_onnx(
    graph: onnx.ModelProto, path: Path, precision: str, images: np.ndarray | None
) -> None:
    if precision == 'fp16':
        _halve_weights(graph)
    elif precision == 'int8':
        from .quantize import quantize_onnx

        graph = quantize_onnx(graph, images)
    onnx.helper.set_model_props(graph, {PRECISION_KEY: precision})
    onnx.checker.check_model(graph, full_check=True)
    write_whole(graph.SerializeToString(), path)


def _write_openvino(
    graph: onnx.ModelProto, path: Path, precision: str, images: np.ndarray | None
) -> None:
    import openvino

    with TemporaryDirectory() as folder:
        file = Path(folder, 'network.onnx')
        onnx.save(graph, file)
        network = openvino.convert_model(file)
        if precision == 'int8':
            from .quantize import quantize_openvino

            network = quantize_openvino(network, images)
        network.set_rt_info(precision, PRECISION_KEY)
        file = file.with_suffix('.xml')
        openvino.save_model(network, file, compress_to_fp16=precision == 'fp16')
        for suffix in ('.bin', '.xml'):
            content = file.with_suffix(suffix).read_bytes()
            write_whole(content, path.with_suffix(suffix))


def write_predictor(cfg: Config, model: BasePoseEstimator, network: Path) -> Path:
    """Writes a script beside an ``.onnx`` file that needs none of OpenMMLab.

    Args:
        cfg: config of the estimator, with the test pipeline.
        model: the estimator.
        network: the exported file.

    Returns:
        Path of the script.

    Raises:
        ValueError: if the script cannot do what the config does.
    """
    codec = model.head.decoder
    HeatmapDecoder.of_codec(codec)
    dataset = inference_dataset(cfg)
    cfg = Config({**cfg, 'test_dataloader': dict(dataset=dataset)})
    check_inference(cfg)
    steps = {type_name(step).rpartition('.')[2]: step for step in dataset.pipeline}
    flip_mode = model.test_cfg.get('flip_mode', 'heatmap')
    known = ['LoadImage', 'GetBBoxCenterScale', 'TopdownAffine', 'PackPoseInputs']
    if [*steps] != known or steps['TopdownAffine'].get('use_udp'):
        raise ValueError(f'its steps are {", ".join(known)} without use_udp')
    if flip_mode != 'heatmap':
        raise ValueError(f"its flip_mode is 'heatmap', but the config's {flip_mode!r}")
    meta, normalise = dataset_meta_from_config(cfg, 'test'), model.data_preprocessor
    mean = getattr(normalise, 'mean', torch.zeros(3))  # a config may have none
    std = getattr(normalise, 'std', torch.ones(3))
    settings = dict(
        model=network.name,
        keypoints=[name for _, name in sorted(meta['keypoint_id2name'].items())],
        flip_indices=[int(index) for index in meta['flip_indices']],
        shift_heatmap=bool(model.test_cfg.get('shift_heatmap')),
        blur=codec.blur_kernel_size if codec.unbiased else None,
        padding=float(steps['GetBBoxCenterScale'].get('padding', 1.25)),
        mean=[round(value, 4) for value in mean.flatten().tolist()],
        std=[round(value, 4) for value in std.flatten().tolist()],
        rgb=normalise._channel_conversion,
    )
    script = Path(__file__).with_name('predict.py').read_text()
    head, _, tail = script.partition('SETTINGS = {')
    _, _, tail = tail.partition('\n}\n')
    text = pprint.pformat(settings, compact=True, sort_dicts=False)
    path = network.with_name(f'predict_{network.stem}.py')
    write_whole(f'{head}SETTINGS = {text}\n{tail}'.encode(), path)
    return path


class ExportableNetwork(nn.Module):
    """Backbone, neck and head of an estimator, and optionally its decoding."""

    def __init__(self, model: BasePoseEstimator, decode: bool = False) -> None:
        super().__init__()
        self.model = model.eval()
        self.decoder = HeatmapDecoder.of_codec(model.head.decoder) if decode else None

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Heatmaps, or keypoints and scores."""
        outputs = self.model(images, None, mode='tensor')
        return outputs if self.decoder is None else self.decoder(outputs)


def to_onnx(
    model: BasePoseEstimator,
    size: tuple[int, int] | None = None,
    decode: bool = False,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Traces an estimator. For the arguments see :func:`export_network`."""
    newest = onnx.defs.onnx_opset_version()
    if not 18 <= opset <= newest:
        raise ValueError(
            f'opset must be from 18 to {newest}, the newest that the installed onnx '
            f'supports, got {opset}'
        )
    decoder = getattr(model.head, 'decoder', None)
    if size is None and decoder is None:
        raise ValueError('size must be given: the head has no decoder that knows it')
    width, height = size or decoder.input_size
    network = ExportableNetwork(model, decode)
    # Two images: torch.export takes a side of 1 for a constant.
    images = torch.zeros(2, 3, height, width)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # dozens about the exporter itself
        if not decode and getattr(network(images), 'ndim', 0) != 4:
            raise ValueError(
                'Only heads that return heatmaps (N, K, H, W) can be exported, got '
                f'{type(model.head).__name__}.'
            )
        program = torch.onnx.export(
            network,
            (images,),
            input_names=['images'],
            output_names=[*DECODED_OUTPUTS] if decode else ['heatmaps'],
            dynamic_shapes=dict(images={0: torch.export.Dim('batch')}),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    file = io.BytesIO()
    program.save(file)
    graph = onnx.load_from_string(file.getvalue())
    _forget_origins(graph.graph)
    return graph


def _forget_origins(graph: onnx.GraphProto) -> None:
    """Removes the notes of the exporter, which hold paths of this machine."""
    values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in (graph, *graph.node, *values):
        part.ClearField('metadata_props')
        part.ClearField('doc_string')


def _halve_weights(model: onnx.ModelProto) -> None:
    """Stores the weights of convolutions as float16, with a cast to float32."""
    casts = []
    for weight in model.graph.initializer:
        if len(weight.dims) == 4 and weight.data_type == onnx.TensorProto.FLOAT:
            name, to = weight.name, onnx.TensorProto.FLOAT
            half = onnx.numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(onnx.numpy_helper.from_array(half, f'{name}.fp16'))
            casts.append(onnx.helper.make_node('Cast', [weight.name], [name], to=to))
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField('node')
    model.graph.node.extend(nodes)


@torch.no_grad()
def check(
    model: BasePoseEstimator, runtime: Runtime, images: Tensor
) -> tuple[bool, str]:
    """Compares an exported file with its estimator on normalised images (N, 3, H, W).

    The outputs of the file decide: heatmaps or scores by ``TOLERANCES``, decoded
    keypoints of an fp32 file by ``MOST_MOVED``. Keypoints of a file without decoding
    follow from its heatmaps. They are only reported, because on flat heatmaps the
    slightest rounding may move them.

    Returns:
        Whether both agree, and what was found.

    Raises:
        ValueError: if the outputs have different shapes.
    """
    expected = torch.cat([model(one[None], None, mode='tensor') for one in images])
    keypoints, scores = _decode(model, expected)
    found = runtime(images.numpy())
    if runtime.decoded:
        found, found_scores = map(torch.from_numpy, found)
        error = _relative_error(found_scores, scores)
    else:
        heatmaps = torch.from_numpy(found)
        error = _relative_error(heatmaps, expected)
        found, _ = _decode(model, heatmaps)
    moves = found - keypoints
    moved = ~(moves.norm(dim=-1) <= 1)  # true for NaN
    limit = TOLERANCES[runtime.precision]
    agrees = math.isfinite(error) and error <= limit
    if runtime.decoded and runtime.precision == 'fp32':
        agrees = agrees and moved.float().mean() <= MOST_MOVED
    return bool(agrees), (
        f'largest error {error:.1e} of the largest value (limit {limit:.0e}), '
        f'{moved.sum()} of {moved.numel()} keypoints moved by over 1 pixel'
    )


def _decode(model: BasePoseEstimator, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Keypoints (N, K, 2) and scores (N, K) by the codec of the head."""
    people = model.head.decode(heatmaps)
    keypoints = np.concatenate([person.keypoints for person in people])
    scores = np.concatenate([person.keypoint_scores for person in people])
    return torch.from_numpy(keypoints), torch.from_numpy(scores)


def _relative_error(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        raise ValueError(
            f'The file must return the shape of the model, {tuple(expected.shape)}, '
            f'got {tuple(found.shape)}.'
        )
    return float((found - expected).abs().max() / expected.abs().max())
