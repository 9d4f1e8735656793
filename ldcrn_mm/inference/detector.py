"""Detectors of people: MMDetection's, or an exported RTMDet, which needs no mmdet."""

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpose.apis.inferencers.utils import default_det_models
from mmpose.registry import DATASETS

from ..checkpoint import load_weights, read_checkpoint
from ..checkpoint.files import place_of_download, tensors_in
from ..deploy import is_exported, open_runtime

# From a picture (H, W, 3), uint8, BGR, to boxes (N, 5): corners and score.
Detector = Callable[[np.ndarray], np.ndarray]

WHOLE_PICTURE = ('none', 'whole_image', 'whole-image')
MEAN = np.array([103.53, 116.28, 123.675], np.float32)  # BGR, of RTMDet
STD = np.array([57.375, 57.12, 58.395], np.float32)
GRAY = 114  # of the padding
LOWEST = 0.05  # score of a detection


def default_detector(config: Config, device: str | None) -> Detector:
    """MMPose's own for the kind of data of a pose config, people by default.

    Raises:
        ValueError: if it cannot be used, with what to do.
    """
    dataset = DATASETS.get(config.get('dataset_type') or 'BaseCocoStyleDataset')
    kind = dataset.__module__.split('.')[-2] if dataset else 'human'
    chosen = default_det_models.get(kind, default_det_models['human'])
    weights = chosen['weights']
    try:
        return open_detector(chosen['model'], weights, device, chosen['cat_ids'])
    except (ImportError, OSError, ValueError) as error:
        advice = 'Give boxes or a detector.'
        if weights:
            source = '' if weights in str(error) else f', from {weights}'
            file = place_of_download(weights)
            advice = f'Put the file at {file}{source}, or give boxes or a detector.'
        raise ValueError(f'{error}. {advice}') from error


def open_detector(
    model: str,
    weights: str | None = None,
    device: str | None = None,
    labels: Sequence[int] = (0,),
) -> Detector:
    """Opens a detector.

    Args:
        model: config path or name (``rtmdet-m``, ``mmdet::rtmdet/...``) of MMDetection,
            or an exported RTMDet (``.onnx``, ``.xml``).
        weights: checkpoint. By default the one published under the name.
        device: by default a GPU if there is one.
        labels: classes that are wanted.

    Raises:
        FileNotFoundError: if there is no such config or file.
        ImportError: if MMDetection or the runtime is not installed.
        ValueError: if there is no such model, or its checkpoint is missing, broken, or
            does not fit.
    """
    if is_exported(model):
        return ExportedRTMDet(model, labels)
    if model.endswith('.py') and '::' not in model and not Path(model).is_file():
        raise FileNotFoundError(f'There is no config `{model}`.')
    try:
        return _open_mmdet(model, weights, device, labels)
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        given = f' with the checkpoint `{weights}`' if weights else ''
        raise ValueError(
            f'The detector `{model}`{given} cannot be used: {error}'
        ) from error


def _open_mmdet(
    model: str, weights: str | None, device: str | None, labels: Sequence[int]
) -> Detector:
    from mmdet.apis import DetInferencer, inference_detector
    from mmdet.registry import MODELS
    from mmengine.device import get_device

    if Path(model).is_file():
        config = Config.fromfile(model)
    else:
        names = DetInferencer.__new__(DetInferencer)
        names.scope = 'mmdet'
        name = PurePosixPath(model.removeprefix('mmdet::')).name.removesuffix('.py')
        config, published = names._load_model_from_metafile(name)
        weights = weights or published
    if not weights:
        raise ValueError('it needs a checkpoint')
    checkpoint = read_checkpoint(weights)
    state = tensors_in(checkpoint.get('state_dict', checkpoint), weights)
    scope = config.get('default_scope', 'mmdet')
    with DefaultScope.overwrite_default_scope(scope):
        network = MODELS.build(config.model)
    # Published checkpoints also hold the mean and deviation of the preprocessor.
    own = network.state_dict()
    known = {name: tensor for name, tensor in state.items() if name in own}
    load_weights(network, known or state, weights)
    network.cfg = config
    network.to(device or get_device()).eval()

    def detect(picture: np.ndarray) -> np.ndarray:
        try:
            with DefaultScope.overwrite_default_scope(scope):
                sample = inference_detector(network, picture)
        except cv2.error as error:  # nothing is left of the shorter side
            raise ValueError(
                f'The detector cannot resize a picture of shape {picture.shape}'
            ) from error
        found = sample.pred_instances.cpu().numpy()
        boxes = np.column_stack([found.bboxes, found.scores])
        return boxes[np.isin(found.labels, labels)]

    return detect


class ExportedRTMDet:
    """An RTMDet in an ``.onnx`` or ``.xml`` file with an input of fixed size.

    The outputs are either MMDeploy's, ``dets`` (1, N, 5) and ``labels`` (1, N), or the
    head's maps (1, H, W, C + 4), one for each stride: C logits, and the distances of
    the left, upper, right and lower side in pixels.
    """

    def __init__(self, path: str | Path, labels: Sequence[int] = (0,)) -> None:
        self._labels = labels
        self._network = open_runtime(path)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Boxes (N, 5) of a picture (H, W, 3), uint8, BGR."""
        width, height = self._network.input_size
        scale = min(height / picture.shape[0], width / picture.shape[1])
        size = [max(1, int(side * scale + 0.5)) for side in picture.shape[1::-1]]
        padded = np.full((height, width, 3), GRAY, np.float32)
        padded[: size[1], : size[0]] = cv2.resize(picture, size)
        images = ((padded - MEAN) / STD).transpose(2, 0, 1)[None]
        outputs = self._network(np.ascontiguousarray(images))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        if outputs[0].ndim == 3 and outputs[0].shape[2] == 5:
            boxes, classes = outputs[0][0], (*outputs[1:], np.zeros((1, 1)))[0][0]
            boxes = boxes[np.isin(np.broadcast_to(classes, len(boxes)), self._labels)]
        elif all(each.ndim == 4 and each.shape[3] > 4 for each in outputs):
            boxes = np.concatenate([self._decode(each[0]) for each in outputs])
        else:
            raise ValueError(
                f'`{self._network.path}` is no RTMDet: expected outputs of shape '
                f'(1, N, 5) or (1, H, W, C + 4), got {[o.shape for o in outputs]}'
            )
        boxes = boxes[boxes[:, 4] > LOWEST]
        boxes[:, :4] /= scale
        boxes[:, :4] = boxes[:, :4].clip(0, picture.shape[1::-1] * 2)
        return boxes[(boxes[:, 2:4] > boxes[:, :2]).all(1)]

    def _decode(self, output: np.ndarray) -> np.ndarray:
        """Boxes (H * W, 5) in pixels of the input, of the best of the classes."""
        rows, columns = np.mgrid[: output.shape[0], : output.shape[1]]
        stride = self._network.input_size[0] / output.shape[1]
        centers = np.stack([columns, rows], -1) * stride
        logits = output[..., :-4].astype(np.float64)
        logits = logits[..., [one for one in self._labels if one < logits.shape[2]]]
        scores = 1 / (1 + np.exp(-logits.max(-1, initial=-np.inf, keepdims=True)))
        corners = centers - output[..., -4:-2], centers + output[..., -2:]
        return np.concatenate([*corners, scores], -1).reshape(-1, 5)
