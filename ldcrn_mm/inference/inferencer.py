"""MMPose's inferencer for top-down models, with boxes."""

import contextlib
import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData, PixelData
from mmengine.visualization import Visualizer
from mmpose.apis import Pose2DInferencer
from mmpose.apis.inference import dataset_meta_from_config
from mmpose.evaluation.functional import nms
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample, merge_data_samples, split_instances
from mmpose.structures.utils import revert_heatmap
from rich.progress import track
from torch import nn

from ..checkpoint import load_weights, read_checkpoint, weights_only, zoo
from ..deploy import is_exported, use_exported
from ..training.check import check_inference
from ..training.data_files import inference_dataset
from .boxes import boxes_per_picture, check_boxes
from .detector import WHOLE_PICTURE, Detector, default_detector, open_detector
from .inputs import (
    FRAME_RATE,
    Inputs,
    InputWarning,
    Picture,
    Video,
    name_of,
    open_inputs,
    read_picture,
)
from .outputs import CocoResults, Outputs
from .tracking import Tracker

ESCAPE = 27  # the key
# MMEngine reloads modules while it reads a config, and the protection is a variable
# of the process.
BUILDING = threading.RLock()
LIMITS = dict(  # beyond them nobody would be found, or OpenCV refuses to draw
    bbox_thr=(0, 1), nms_thr=(0, 1), kpt_thr=(-math.inf, math.inf),
    radius=(0, 1000), thickness=(0, 1000),
)  # fmt: skip


class TopdownInferencer(Pose2DInferencer):
    """Finds the keypoints of people in boxes, in a detector's, or in the picture.

    It is used like MMPose's ``MMPoseInferencer``. The differences:

    * ``bboxes=`` works, and goes before the detector. MMPose ignores it for top-down
      models (open-mmlab/mmpose#3233).
    * The default detector is opened, and once downloaded, for the first picture without
      boxes. If it cannot be had, a warning says so, and the whole picture is the box.
    * If the detector finds nobody, the result is empty. MMPose takes the whole picture.
    * The people of a picture go through the network in batches.
    * No checkpoint runs code, and one that does not fit the config is an error.
    * Lines and dots are drawn in proportion to the picture.
    * Calls are independent. Their results can be read in turns or in several threads.

    Args:
        model: path of a config, the config, or a name, ours (see
            :mod:`ldcrn_mm.checkpoint.zoo`) or of ``scope``. By default the published
            LDCRN that comes with this package.
        weights: path or address of the checkpoint, or an exported file. By default
            those published under the name.
        device: by default a GPU if there is one.
        scope: package whose model zoo has the name.
        det_model: detector, see :func:`open_detector`. By default MMPose's for people.
            ``'none'`` takes the whole picture for one person.
        det_weights: checkpoint of the detector. By default the published one.
        det_cat_ids: the detector's label or labels of what has keypoints.
        show_progress: show a progress bar.

    Raises:
        FileNotFoundError: if a config or checkpoint does not exist.
        ImportError: if the runtime of an exported file is not installed.
        ValueError: if the model is unknown or not top-down, the checkpoint does not
            fit it, or the detector or the device cannot be used.
    """

    preprocess_kwargs: ClassVar[set] = {'bboxes', 'bbox_thr', 'nms_thr'}
    forward_kwargs: ClassVar[set] = set()
    visualize_kwargs: ClassVar[set] = Pose2DInferencer.visualize_kwargs | {
        'show_kpt_idx'
    }
    postprocess_kwargs: ClassVar[set] = {'pred_out_dir'}

    def __init__(
        self,
        model: str | Path | Config | None = None,
        weights: str | Path | None = None,
        device: str | None = None,
        scope: str = 'mmpose',
        det_model: str | Path | None = None,
        det_weights: str | Path | None = None,
        det_cat_ids: int | Sequence[int] = 0,
        show_progress: bool = False,
    ) -> None:
        self._arguments = (
            *(model, weights, device, scope, det_model, det_weights, det_cat_ids),
            show_progress,
        )
        model, weights, det_model, det_weights = (
            str(name) if isinstance(name, Path) else name
            for name in (model, weights, det_model, det_weights)
        )
        with BUILDING, weights_only():
            if model is None:
                model = zoo.DEFAULT
            if isinstance(model, str) and zoo.knows(model):
                model, weights = zoo.find(model, weights)
            if str(model).endswith('.py') and not Path(model).is_file():
                raise FileNotFoundError(f'There is no config `{model}`.')
            if Path(str(model)).suffix in ('.pth', '.onnx', '.xml'):
                raise ValueError(f'`{model}` is no config. It belongs into `weights`.')
            super().__init__(
                model=model,
                weights=weights,
                device=device,
                scope=scope,
                det_model=det_model,
                det_weights=det_weights,
                det_cat_ids=det_cat_ids,
                show_progress=show_progress,
            )

    def __reduce__(self) -> tuple:
        """Lets it be pickled for another process, which opens the models anew."""
        return type(self), self._arguments

    def _load_model_from_metafile(self, model: str) -> tuple[Config, str | None]:
        """Config and weights of a name that is none of ours."""
        try:
            return super()._load_model_from_metafile(model)
        except ValueError as error:
            raise ValueError(
                f'{error}, nor in ldcrn_mm. Expected the path of a config, a name '
                f'from there, or one of ours: {zoo.names()}.'
            ) from error

    def _init_detector(
        self,
        det_model: str | None,
        det_weights: str | None,
        det_cat_ids: int | Sequence[int],
        device: str | None,
    ) -> None:
        """Opens the detector, the default one only when it is needed."""
        self._lock = threading.Lock()  # one network and one visualizer for all threads
        self.detector: Detector | None = None
        self._use_default, self._device = det_model is None, device
        if det_model is None and det_weights:
            raise ValueError('`det_weights` needs a `det_model`.')
        if det_model not in (None, *WHOLE_PICTURE):
            labels = np.atleast_1d(det_cat_ids)
            if labels.dtype.kind not in 'iu':
                raise ValueError(
                    f'det_cat_ids must be labels such as 0, got {det_cat_ids!r}'
                )
            self.detector = open_detector(det_model, det_weights, device, labels)

    def _open_default_detector(self) -> None:
        self._use_default = False
        try:
            with BUILDING:
                self.detector = default_detector(self.cfg, self._device)
        except ValueError as error:
            warnings.warn(
                f'The whole picture is taken for one person: {error}',
                InputWarning,
                stacklevel=2,
            )

    def _init_model(
        self, cfg: Config, weights: str | None, device: str = 'cpu'
    ) -> nn.Module:
        """Builds what ``test_step`` is called on, with the checkpoint's weights."""
        if cfg.get('data_mode') != 'topdown':
            raise ValueError(
                "Expected the config of a top-down model, with data_mode='topdown', "
                f'but it has {cfg.get("data_mode")!r}.'
            )
        if not weights:
            raise ValueError('The model needs a checkpoint: `weights` is missing.')
        cfg.test_dataloader = dict(dataset=inference_dataset(cfg))
        meta = {}
        if is_exported(weights):
            model = MODELS.build(use_exported(cfg.model, weights))
        else:
            checkpoint = read_checkpoint(weights)
            model = MODELS.build(cfg.model)
            load_weights(model, checkpoint, weights)
            meta = checkpoint.get('meta') or {}
        check_inference(cfg, keypoints=not meta.get('dataset_meta'))
        model.cfg = cfg
        model.dataset_meta = meta.get('dataset_meta') or dataset_meta_from_config(
            cfg, 'test'
        )
        try:
            return model.to(device).eval()
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f'The device {device} cannot be used: {error}') from error

    def _init_visualizer(self, cfg: Config) -> Visualizer:
        """The config's, or MMPose's, which sends nothing to the logs of trainings."""
        settings = cfg.get('visualizer') or dict(type='PoseLocalVisualizer')
        cfg.visualizer = dict(settings, vis_backends=[])
        return super()._init_visualizer(cfg)

    def _init_collate(self, cfg: Config) -> Callable:
        """MMEngine's default, without its warning about MMPose's registries."""
        return pseudo_collate

    def __call__(
        self,
        inputs: Inputs,
        return_datasamples: bool = False,
        batch_size: int = 32,
        out_dir: str | Path | None = None,
        tracking: bool = False,
        **kwargs: Any,
    ) -> Iterator[dict]:
        """Predicts, draws and saves one picture or frame after the other.

        Args:
            inputs: see :func:`open_inputs`.
            return_datasamples: yield data samples instead of plain Python types.
            batch_size: number of people that go through the network at once.
            out_dir: folder for ``visualizations/NAME``, ``predictions/NAME.json`` and
                ``results.json``, all of a call in COCO's format.
            tracking: the inputs are the frames of one video. People get a ``track_id``
                each, and their keypoints are smoothed over time.
            **kwargs: as in MMPose, and ``bboxes``: an (N, 4) array of corners x1, y1,
                x2, y2 in pixels for every picture, or one for each picture, or (N, 5)
                with scores.

        Returns:
            Iterator over dicts. ``predictions`` is a list of one element, the list of
            people: dicts of ``keypoints`` (K, 2) in pixels, ``keypoint_scores`` (K,),
            ``bbox`` (1, 4) and ``bbox_score``, or a :class:`PoseDataSample`. The json
            files have the list of people, or for a video a list of ``{frame_id,
            instances}``. Of several pictures, one that cannot be read or whose boxes
            are wrong has empty ``predictions`` and an ``error``.

        Raises:
            FileNotFoundError: if an input does not exist.
            OSError, ValueError: if an argument is wrong, a result would replace an
                input or another result, or the only picture or its boxes are wrong.
        """
        if not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size!r}')
        for name, (low, high) in LIMITS.items():
            value = kwargs.get(name)
            if value is not None and not low <= value <= high:  # true for NaN
                raise ValueError(f'{name} must be in [{low}, {high}], got {value}')
        if out_dir is not None:
            kwargs.setdefault('vis_out_dir', Path(out_dir, 'visualizations'))
            kwargs.setdefault('pred_out_dir', Path(out_dir, 'predictions'))
        finding, _, drawing, saving = self._dispatch_kwargs(**kwargs)
        if drawing.get('show') and not _has_display():
            raise ValueError('show=True needs a display, and DISPLAY is not set')
        inputs = open_inputs(inputs)
        if finding.get('bboxes') is not None:
            count = len(inputs) if isinstance(inputs, list) else None
            finding['bboxes'] = boxes_per_picture(finding['bboxes'], count)
        vis_dir, pred_dir = drawing.pop('vis_out_dir', None), saving.get('pred_out_dir')
        results = None
        if out_dir is not None:
            file, kpt_thr = Path(out_dir, 'results.json'), drawing.get('kpt_thr', 0.3)
            results = CocoResults(file, self.model.dataset_meta, kpt_thr)
        outputs = Outputs(inputs, vis_dir, pred_dir, results)
        tracker = Tracker(self.model.dataset_meta['sigmas']) if tracking else None
        return self._results(
            inputs, outputs, tracker, return_datasamples, batch_size, finding, drawing
        )

    def _results(
        self,
        inputs: list[Picture] | Iterator[Picture] | Video,
        outputs: Outputs,
        tracker: Tracker | None,
        return_datasamples: bool,
        batch_size: int,
        finding: dict[str, Any],
        drawing: dict[str, Any],
    ) -> Iterator[dict]:
        bboxes = finding.pop('bboxes', None)
        return_vis, show = drawing.pop('return_vis', False), drawing.get('show', False)
        if outputs.video:
            drawing['wait_time'] = 1e-5
        count = _count(inputs)
        sources = track(inputs, 'Inference', count) if self.show_progress else inputs
        with contextlib.closing(outputs):
            for index, source in enumerate(sources):
                name = name_of(index, source)
                given = next(bboxes, None) if bboxes else None
                try:
                    picture = read_picture(source)
                    if bboxes:
                        boxes = check_boxes(given, *picture.shape[1::-1], name)
                    else:
                        boxes = self._find_people(picture, **finding)
                except (OSError, ValueError) as error:
                    if outputs.video or count == 1:
                        raise
                    yield dict(predictions=[], visualization=[], error=str(error))
                    continue
                drawn = None
                with self._lock:
                    # Set each time, as another call may have run in between.
                    self.visualizer.set_dataset_meta(self.model.dataset_meta)
                    self.update_model_visualizer_settings(**drawing)
                    sample = self._estimate(picture, name, boxes, batch_size)
                    if tracker:
                        _follow(tracker, sample.pred_instances, _time(inputs, index))
                    if return_vis or show or outputs.vis_dir:
                        drawn = self._draw(picture, name, sample, **drawing)
                people = _plain(sample.pred_instances)
                outputs.add(name, source, picture, drawn, people)
                yield dict(
                    predictions=[sample if return_datasamples else people],
                    visualization=[drawn] if return_vis else [],
                )
                if show and outputs.video and cv2.waitKey(1) == ESCAPE:
                    break

    def _find_people(
        self, picture: np.ndarray, bbox_thr: float = 0.3, nms_thr: float = 0.3
    ) -> np.ndarray:
        """The detector's boxes (N, 5), best first, or the picture's."""
        with self._lock:
            if self._use_default:
                self._open_default_detector()
            if self.detector is None:
                height, width = picture.shape[:2]
                return np.array([[0, 0, width, height, 1]], np.float32)
            boxes = self.detector(picture)
        boxes = boxes[boxes[:, 4] > bbox_thr]
        return boxes[nms(boxes, nms_thr)]

    @torch.no_grad()
    def _estimate(
        self, picture: np.ndarray, name: str, boxes: np.ndarray, batch_size: int
    ) -> PoseDataSample:
        """One data sample of all people in a picture, in the order of their boxes."""
        info = dict(img=picture, img_path=name, **self.model.dataset_meta)
        people: list[PoseDataSample] = []
        heatmaps: np.ndarray | None = None
        for start in range(0, len(boxes), batch_size):
            batch = [
                self.pipeline(dict(info, bbox=box[None, :4], bbox_score=box[4:]))
                for box in boxes[start : start + batch_size]
            ]
            for one in self.model.test_step(self.collate_fn(batch)):
                if 'pred_fields' in one:  # each is as large as K pictures
                    heatmaps = _merged(heatmaps, one)
                    del one.pred_fields
                people.append(one)
        sample = merge_data_samples(people) if people else self._nobody(picture, name)
        if heatmaps is not None:
            sample.pred_fields = PixelData(heatmaps=heatmaps)
        return sample

    def _nobody(self, picture: np.ndarray, name: str) -> PoseDataSample:
        shape = picture.shape[:2]
        num_keypoints = self.model.dataset_meta['num_keypoints']
        sample = PoseDataSample(metainfo=dict(img_path=name, ori_shape=shape))
        sample.pred_instances = InstanceData(
            keypoints=np.zeros((0, num_keypoints, 2), np.float32),
            keypoint_scores=np.zeros((0, num_keypoints), np.float32),
            bboxes=np.zeros((0, 4), np.float32),
            bbox_scores=np.zeros(0, np.float32),
        )
        if self.model.test_cfg['output_heatmaps']:
            heatmaps = np.zeros((num_keypoints, *shape), np.float32)
            sample.pred_fields = PixelData(heatmaps=heatmaps)
        return sample

    def _draw(
        self,
        picture: np.ndarray,
        name: str,
        sample: PoseDataSample,
        radius: int | None = None,
        thickness: int | None = None,
        black_background: bool = False,
        **options: Any,
    ) -> np.ndarray:
        """Draws the people of a picture, in RGB."""
        size = np.sqrt(np.prod(picture.shape[:2]))
        self.visualizer.radius = radius or max(1, round(size / 160))
        self.visualizer.line_width = thickness or max(1, round(size / 280))
        image = np.zeros_like(picture) if black_background else mmcv.bgr2rgb(picture)
        drawn = self.visualizer.add_datasample(
            Path(name).name, image, sample, draw_gt=False, **options
        )
        people = sample.pred_instances
        for number, (x, y, *_) in zip(people.get('track_ids', ()), people.bboxes):
            where = max(0, round(x)), max(round(size / 30), round(y))
            style = cv2.FONT_HERSHEY_SIMPLEX, size / 600, (255, 255, 0)
            cv2.putText(drawn, str(number), where, *style, max(1, round(size / 300)))
        return drawn


def _merged(heatmaps: np.ndarray | None, person: PoseDataSample) -> np.ndarray:
    """The maximum of heatmaps (K, H, W) of the picture and those of a person."""
    where = person.input_center, person.input_scale, person.ori_shape
    more = revert_heatmap(person.pred_fields.heatmaps, *where)
    return more if heatmaps is None else np.maximum(heatmaps, more, out=heatmaps)


def _count(inputs: list[Picture] | Iterator[Picture] | Video) -> int | None:
    """Number of pictures or frames, if it is known."""
    if isinstance(inputs, list):
        return len(inputs)
    return inputs.num_frames if isinstance(inputs, Video) else None


def _time(inputs: list[Picture] | Iterator[Picture] | Video, index: int) -> float:
    """Seconds from the first frame. Those of a camera come at its rate."""
    if isinstance(inputs, Video):
        return inputs.time if inputs.num_frames else index / inputs.fps
    return index / FRAME_RATE


def _follow(tracker: Tracker, people: InstanceData, time: float) -> None:
    found = people.keypoints, people.keypoint_scores, people.bboxes
    ids, smooth = tracker.update(*found, time)
    people.track_ids, people.keypoints = ids, smooth.astype(np.float32)


def _plain(people: InstanceData) -> list[dict]:
    """MMPose's dict of each person, of plain Python types."""
    found = [
        dict(one, bbox=[*one['bbox']], bbox_score=float(one['bbox_score']))
        for one in split_instances(people)
    ]
    for one, number in zip(found, people.get('track_ids', ())):
        one['track_id'] = int(number)
    return found


def _has_display() -> bool:
    """Whether OpenCV can open a window. If it cannot, it ends the process."""
    names = ('DISPLAY', 'WAYLAND_DISPLAY', 'QT_QPA_PLATFORM')
    return sys.platform != 'linux' or any(os.environ.get(name) for name in names)
