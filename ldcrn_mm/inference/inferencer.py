"""MMPose's inferencer for top-down models, with boxes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData, PixelData
from mmpose.apis import Pose2DInferencer
from mmpose.apis.inference import dataset_meta_from_config
from mmpose.evaluation.functional import nms
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample, merge_data_samples
from torch import nn

from ..checkpoint import load_weights, read_checkpoint, zoo
from ..checkpoint.files import reason
from ..deploy import is_exported, use_exported
from ..training import launch
from .boxes import Boxes, boxes_per_picture, check_boxes
from .inputs import Inputs, Picture, Video, open_inputs, read_picture


class TopdownInferencer(Pose2DInferencer):
    """Finds the keypoints of people in boxes, in a detector's, or in the picture.

    It is used as MMPose's ``MMPoseInferencer``, which it differs from thus:

    * ``bboxes=`` is heeded (MMPose's throws it away for top-down models:
      open-mmlab/mmpose#3233). It goes before the detector.
    * Without ``det_model`` the whole picture is the box; nothing is downloaded.
    * Where the detector finds nobody there is nobody; MMPose's takes the whole
      picture instead.
    * A picture is read once, and its people go through the network in batches.
    * A checkpoint that does not fit the config, a file that cannot be read and
      a box that cannot be meant are errors.
    * No checkpoint runs code, neither the model's nor the detector's; see
      :func:`ldcrn_mm.training.launch.weights_only`.
    * Lines and dots are drawn in proportion to the picture, and
      ``skeleton_style='openpose'`` does not last into the next call.

    A call yields, for each picture, a dict with ``predictions``, a list whose
    one element is the list of the people: each a dict of ``keypoints``
    [K][2] in pixels, ``keypoint_scores`` [K], ``bbox`` [1][4] and
    ``bbox_score``; with ``return_datasamples=True`` the element is a
    :class:`PoseDataSample` with ``pred_instances``. ``out_dir`` gets
    ``visualizations/NAME`` and ``predictions/NAME.json``, which is that list
    of people; for a video, a list of ``{frame_id, instances}``.

    Args:
        model: path of a config, the config, or a name or alias: one of ours, see
            :mod:`ldcrn_mm.checkpoint.zoo`, else one from the model zoo of
            ``scope``; by default the published LDCRN that comes with this package.
        weights: path or address of the checkpoint, or an exported file, see
            :func:`ldcrn_mm.deploy.open_runtime`; by default, those published
            under the name.
        device: by default a GPU where there is one.
        scope: where a name of ``model`` that is none of ours is looked up.
        det_model: config path or name of an MMDetection model, ``None`` or
            ``'whole_image'`` for none.
        det_weights: checkpoint of the detector.
        det_cat_ids: the detector's label or labels of what has keypoints.
        show_progress: show a progress bar.

    Raises:
        FileNotFoundError: where a config or checkpoint does not exist.
        ValueError: where the config is not of a top-down model, the checkpoint
            not of the config, the detector cannot be loaded, or no model has
            this name or none is published under it.
        ImportError: where the runtime of an exported file is not installed.
    """

    forward_kwargs: ClassVar[set] = set()
    visualize_kwargs: ClassVar[set] = Pose2DInferencer.visualize_kwargs | {
        'show_kpt_idx'
    }

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
        model, weights, det_model, det_weights = (
            str(name) if isinstance(name, Path) else name
            for name in (model, weights, det_model, det_weights)
        )
        if model is None:
            model = zoo.DEFAULT
        if isinstance(model, str) and zoo.knows(model):
            model, weights = zoo.find(model, weights)
        for config in (model, det_model):
            if str(config).endswith('.py') and not Path(config).is_file():
                raise FileNotFoundError(f'There is no config `{config}`.')
        if str(det_model).endswith('.py') and not det_weights:
            raise ValueError(f'The detector `{det_model}` needs a checkpoint.')
        with launch.weights_only():
            super().__init__(
                model=model,
                weights=weights,
                device=device,
                scope=scope,
                det_model=det_model or 'whole_image',
                det_weights=det_weights,
                det_cat_ids=det_cat_ids,
                show_progress=show_progress,
            )

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
        self, det_model: str, det_weights: str | None, **kwargs: Any
    ) -> None:
        """MMPose's, with one kind of error for all that PyTorch raises."""
        try:
            super()._init_detector(det_model, det_weights, **kwargs)
        except (EOFError, RuntimeError, UnpicklingError) as error:
            checkpoint = f' with the checkpoint `{det_weights}`' if det_weights else ''
            raise ValueError(
                f'The detector `{det_model}`{checkpoint} cannot be loaded (with '
                f'weights_only=True): {reason(error)}'
            ) from error

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
        meta = {}
        if is_exported(weights):
            model = MODELS.build(use_exported(cfg.model, weights))
        else:
            checkpoint = read_checkpoint(weights)
            model = MODELS.build(cfg.model)
            load_weights(model, checkpoint, weights)
            meta = checkpoint.get('meta', {})
        model.cfg = cfg
        model.dataset_meta = meta.get('dataset_meta') or dataset_meta_from_config(
            cfg, 'test'
        )
        return model.to(device).eval()

    def _init_collate(self, cfg: Config) -> Callable:
        """MMEngine's default, without its warning of a registry MMPose has not."""
        return pseudo_collate

    def __call__(
        self,
        inputs: Inputs,
        return_datasamples: bool = False,
        batch_size: int = 32,
        out_dir: str | Path | None = None,
        **kwargs: Any,
    ) -> Iterator[dict]:
        """Predicts, draws and saves one picture after the other.

        Args:
            inputs: see :func:`open_inputs`.
            return_datasamples: yield data samples instead of plain lists.
            batch_size: how many people go through the network at once.
            out_dir: folder for the drawn pictures or video and the predictions.
            **kwargs: ``bboxes``, an (N, 4) array of corners x1, y1, x2, y2 in
                pixels that are meant in every picture, or one such array for
                each picture, or (N, 5) with scores; ``bbox_thr`` and
                ``nms_thr`` for the detector's; how to draw, as in MMPose.

        Returns:
            Iterator over the predictions for each picture; see the class.

        Raises:
            FileNotFoundError: where an input does not exist.
            ValueError: where an input, or (as its picture's turn comes) a box
                cannot be what was meant.
        """
        inputs = open_inputs(inputs)
        if kwargs.get('bboxes') is not None:
            count = None if isinstance(inputs, Video) else len(inputs)
            kwargs['bboxes'] = boxes_per_picture(kwargs['bboxes'], count)
        if out_dir is not None:
            _check_names(inputs)
            kwargs.setdefault('vis_out_dir', str(Path(out_dir, 'visualizations')))
            kwargs.setdefault('pred_out_dir', str(Path(out_dir, 'predictions')))
        self._video_input = False
        results = super().__call__(inputs, return_datasamples, batch_size, **kwargs)
        return self._saved_if_stopped(results, kwargs.get('pred_out_dir', ''))

    def _saved_if_stopped(self, results: Iterator[dict], folder: str) -> Iterator[dict]:
        """Completes a video's files also where its end is not reached."""
        try:
            yield from results
        except BaseException:  # above all GeneratorExit and KeyboardInterrupt
            if self._video_input:
                self._finalize_video_processing(folder)
            raise

    def _inputs_to_list(self, inputs: list[Picture] | Video) -> list[Picture] | Video:
        self._video_input = isinstance(inputs, Video)
        if self._video_input:
            self.video_info = dict(
                fps=inputs.fps,
                name=inputs.name,
                writer=None,
                width=inputs.width,
                height=inputs.height,
                predictions=[],
            )
        return inputs

    def update_model_visualizer_settings(
        self, draw_heatmap: bool = False, skeleton_style: str = 'mmpose', **kwargs: Any
    ) -> None:
        """Sets up the drawing, from the model's colors, for each call anew."""
        self.visualizer.set_dataset_meta(self.model.dataset_meta)
        super().update_model_visualizer_settings(draw_heatmap, skeleton_style, **kwargs)

    def preprocess(self, inputs: list[Picture] | Video, **kwargs: Any) -> '_Counted':
        """Cuts the people out of each picture.

        Returns:
            Iterable over what :meth:`forward` takes and the picture in a list.
        """
        is_video = isinstance(inputs, Video)
        length = inputs.num_frames if is_video else len(inputs)
        return _Counted(self._cut_out(inputs, **kwargs), length)

    def _cut_out(
        self,
        inputs: Iterable[Picture],
        batch_size: int,
        bboxes: Iterable[Boxes] | None = None,
        bbox_thr: float = 0.3,
        nms_thr: float = 0.3,
    ) -> Iterator[tuple[tuple[dict, list[dict]], list[np.ndarray]]]:
        given = None if bboxes is None else iter(bboxes)
        for index, source in enumerate(inputs):
            picture = read_picture(source)
            name = source if isinstance(source, str) else f'{index:06d}.jpg'
            height, width = picture.shape[:2]
            if given is not None:
                boxes = check_boxes(next(given, None), width, height, name)
            elif self.detector is not None:
                boxes = self.detect(picture, bbox_thr, nms_thr)
            else:
                boxes = np.array([[0, 0, width, height, 1]], np.float32)
            info = dict(img=picture, img_path=name, **self.model.dataset_meta)
            people = [
                self.pipeline(dict(info, bbox=box[None, :4], bbox_score=box[4:]))
                for box in boxes
            ]
            batches = [
                self.collate_fn(people[start : start + batch_size])
                for start in range(0, len(people), batch_size)
            ]
            yield (dict(img_path=name, ori_shape=(height, width)), batches), [picture]

    def detect(
        self, picture: np.ndarray, bbox_thr: float, nms_thr: float
    ) -> np.ndarray:
        """The detector's boxes (N, 5), best first, of what has keypoints."""
        found = self.detector(picture, return_datasamples=True)['predictions'][0]
        found = found.pred_instances.cpu().numpy()
        wanted = np.isin(found.labels, self.det_cat_ids) & (found.scores > bbox_thr)
        boxes = np.column_stack([found.bboxes, found.scores])[wanted]
        return boxes[nms(boxes, nms_thr)]

    @torch.no_grad()
    def forward(self, inputs: tuple[dict, list[dict]]) -> list[PoseDataSample]:
        """Predicts the people of one picture.

        Args:
            inputs: meta information of the picture, and batches of its people
                as the model's ``test_step`` takes them.

        Returns:
            One data sample with all of them, in the order of their boxes.
        """
        metainfo, batches = inputs
        people = [one for batch in batches for one in self.model.test_step(batch)]
        return [merge_data_samples(people) if people else self._nobody(metainfo)]

    def _nobody(self, metainfo: dict) -> PoseDataSample:
        num_keypoints = self.model.dataset_meta['num_keypoints']
        sample = PoseDataSample(metainfo=metainfo)
        sample.pred_instances = InstanceData(
            keypoints=np.zeros((0, num_keypoints, 2), np.float32),
            keypoint_scores=np.zeros((0, num_keypoints), np.float32),
            bboxes=np.zeros((0, 4), np.float32),
            bbox_scores=np.zeros(0, np.float32),
        )
        if self.model.test_cfg.get('output_heatmaps'):
            heatmaps = np.zeros((num_keypoints, *metainfo['ori_shape']), np.float32)
            sample.pred_fields = PixelData(heatmaps=heatmaps)
        return sample

    def visualize(
        self,
        inputs: list[np.ndarray],
        preds: list[PoseDataSample],
        radius: int | None = None,
        thickness: int | None = None,
        **kwargs: Any,
    ) -> list[np.ndarray]:
        """Draws the people of one picture, by default in proportion to it."""
        size = np.sqrt(np.prod(inputs[0].shape[:2]))
        return super().visualize(
            inputs,
            preds,
            radius=radius or max(1, round(size / 160)),
            thickness=thickness or max(1, round(size / 280)),
            **kwargs,
        )

    def save_visualization(
        self, visualization: np.ndarray, vis_out_dir: str, img_name: str | None = None
    ) -> None:
        """Writes a picture, or a frame.

        Raises:
            OSError: where OpenCV cannot write a video of this name.
        """
        super().save_visualization(visualization, vis_out_dir, img_name)
        if self._video_input and not self.video_info['writer'].isOpened():
            raise OSError(f'OpenCV cannot write `{self.video_info["output_file"]}`.')


class _Counted:
    """Lets the progress bar know how long an iterator is, ``None`` if endless."""

    def __init__(self, iterator: Iterator, length: int | None) -> None:
        self._iterator = iterator
        self._length = length

    def __iter__(self) -> Iterator:
        return self._iterator

    def __length_hint__(self) -> int:
        return self._length or 0


def _check_names(inputs: list[Picture] | Video) -> None:
    """Raises where the files of two pictures would have the same name."""
    if isinstance(inputs, Video):
        return
    names = Counter(Path(name).stem for name in inputs if isinstance(name, str))
    for name, times in names.most_common(1):
        if times > 1:
            raise ValueError(
                f'{times} pictures are called {name}, so that their predictions '
                'would overwrite each other. Give them one by one, or rename them.'
            )
