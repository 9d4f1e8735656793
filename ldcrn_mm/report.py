"""One HTML page of a run: curves, errors, people, training samples, config.

The config of a run is Python and is executed, so make reports of runs that you trust.
"""

import base64
import contextlib
import copy
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import cv2
import jinja2
import mmcv
import mmengine
import mmpose
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmengine.utils import track_iter_progress
from mmpose.apis import init_model
from mmpose.datasets import MpiiDataset
from mmpose.evaluation import CocoMetric
from mmpose.registry import DATASETS, EVALUATORS
from mmpose.structures import PoseDataSample
from mmpose.visualization import PoseLocalVisualizer
from xtcocotools.cocoeval import COCOeval

from . import __version__
from .checkpoint import load_weights, read_checkpoint
from .checkpoint.files import write_whole
from .training.data_files import (
    check_data_files,
    dicts_in,
    evaluators,
    use_gt_boxes,
)
from .training.launch import type_name
from .training.resume import last_checkpoint

NOT_METRICS = ('data_time', 'time', 'step', 'validated')  # the last: our training's
NOBODY = -1  # COCO's value where nobody is of that size
TILE = 240, 320  # width and height of a person's picture


class TrainingLog(NamedTuple):
    """Entries of a training, and its metrics by epoch (or iteration)."""

    steps: list[dict[str, float]]
    validations: dict[int, dict[str, float]]


class Predictions(NamedTuple):
    """What a model found in its validation data. ``N`` people, ``K`` joints."""

    samples: list[PoseDataSample]
    errors: np.ndarray  # (N, K) shares of the box's longer side, NaN: not annotated
    metrics: dict[str, float]
    precision: dict[float, float]  # AP by threshold of OKS, of COCO's metric only
    meta: dict[str, Any]  # of the data set


def write_report(
    work_dir: str | Path,
    out: str | Path | None = None,
    config: str | Path | None = None,
    checkpoint: str | Path | None = None,
    num: int = 8,
) -> tuple[Path, list[str]]:
    """Writes the page of a run, as far as its parts can be found.

    Args:
        work_dir: folder of the training.
        out: file to write, ``WORK_DIR/report.html`` by default.
        config: by default the one that MMEngine saved in the folder.
        checkpoint: by default the best in the folder, or else the last.
        num: number of worst and best people and of training samples.

    Returns:
        The file, and a sentence for each part that is missing.

    Raises:
        FileNotFoundError: if nothing can be found.
        ValueError: if ``num`` is below 1.
    """
    if num < 1:
        raise ValueError(f'num must be at least 1, got {num}')
    work_dir, missing = Path(work_dir), []

    def part(name: str, make: Callable, *arguments: object) -> Any:
        if None in arguments:
            return None
        try:
            return make(*arguments)
        except (FileNotFoundError, ValueError) as error:
            missing.append(f'No {name}: {error}')
            return None

    log = part('curves', read_log, work_dir)
    cfg = part('config', lambda: Config.fromfile(config or find_config(work_dir)))
    if log is None and cfg is None:
        raise FileNotFoundError('\n'.join(missing))
    weights = part('predictions', lambda: checkpoint or find_checkpoint(work_dir))
    found = part('predictions', predict, cfg, weights)
    page = dict(
        name=work_dir.resolve().name,
        missing=missing,
        checkpoint=weights and Path(weights).name,
        curves=log and draw_curves(log),
        found=found,
        errors=found and draw_errors(found),
        people=(found and draw_extremes(found, num)) or {},
        samples=part('training samples', lambda c: [*draw_training(c, num)], cfg),
        environment=find_environment(work_dir),
        config=cfg and cfg.pretty_text,
        versions=dict(ldcrn_mm=__version__, torch=torch.__version__)
        | {module.__name__: module.__version__ for module in (mmengine, mmcv, mmpose)},
    )
    template = Path(__file__).with_suffix('.html').read_text(encoding='utf-8')
    html = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(template)
    out = Path(out or work_dir / 'report.html')
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(html.render(page).encode(), out)
    return out, missing


# What a work dir holds.


def read_log(path: str | Path) -> TrainingLog:
    """Reads the work dir of a training, or ``scalars.json`` of one run.

    A run that was resumed or restarted replaces the epochs that it repeats.

    Raises:
        FileNotFoundError: if there is no such file, or no log in the folder.
        ValueError: if it is not the log of a training by MMEngine.
    """
    path, log = Path(path), TrainingLog([], {})
    files = [path] if path.is_file() else sorted(path.glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(
            f'log not found: {path} is neither a scalars.json nor a work dir with '
            '*/vis_data/scalars.json in it'
        )
    for file in files:  # the oldest run first
        entries = _log_entries(file)
        begin = next((_time(entry) for entry in entries if 'loss' in entry), None)
        if begin is not None:
            earlier = {t: v for t, v in log.validations.items() if t < begin}
            log = TrainingLog([e for e in log.steps if _time(e) < begin], earlier)
        for entry in entries:
            if 'loss' in entry:
                log.steps.append(entry)
            elif entry['step'] > 0:  # 0 in a test
                metrics = {k: v for k, v in entry.items() if k not in NOT_METRICS}
                log.validations[entry['step']] = metrics
    if not log.steps:
        raise ValueError(
            f'{path} is not the log of a training: expected the work dir or '
            'scalars.json of a training, found no losses.'
        )
    return log


def _time(entry: dict) -> int:
    return entry.get('epoch', entry['step'])


def _log_entries(file: Path) -> list[dict]:
    """The lines of a log, without a last one that was torn by a kill."""
    lines = file.read_bytes().splitlines()
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            _ = entry['step'], entry['loss'] if 'epoch' in entry else 0
            sum(entry.values())  # an error unless all are numbers
        except Exception as error:  # of any type, from any content
            if isinstance(error, ValueError) and number == len(lines):
                break
            raise ValueError(
                f'{file} is not a log: expected a JSON object a line, of '
                f'numbers: `step`, and `loss` where there is `epoch`. Line {number}: '
                f'{error}.'
            ) from error
        entries.append(entry)
    return entries


def find_config(work_dir: Path) -> Path:
    """The config that MMEngine saved with the last training, or else the last test.

    A test in the same folder may have another config, such as that of an exported file.

    Raises:
        FileNotFoundError: if there is none.
    """
    files = sorted(work_dir.glob('*/vis_data/config.py')) or [*work_dir.glob('*.py')]
    if not files:
        raise FileNotFoundError(f'{work_dir} has no config. Name it with --config.')
    trained = [file for file in files if _has_losses(file.with_name('scalars.json'))]
    return (trained or files)[-1]


def _has_losses(log: Path) -> bool:
    return log.is_file() and b'"loss"' in log.read_bytes()


def find_checkpoint(work_dir: Path) -> str:
    """The best checkpoint of a run, or else the last.

    Raises:
        FileNotFoundError: if there is none.
    """
    best = sorted(work_dir.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
    path = str(best[-1]) if best else last_checkpoint(str(work_dir))
    if path is None:
        raise FileNotFoundError(
            f'{work_dir} has no checkpoint. Name it with --checkpoint.'
        )
    return path


def find_environment(work_dir: Path) -> str | None:
    """What MMEngine's log says about the machine and the libraries of the last run."""
    for file in sorted(work_dir.glob('*/*.log'), reverse=True):
        text = file.read_text(encoding='utf-8', errors='replace')
        if found := re.search(r'System environment:\n(.+?)\n\n', text, re.DOTALL):
            return found[1]
    return None


# What the model finds.


def predict(cfg: Config, checkpoint: str | Path) -> Predictions:
    """Runs the model over its validation data, in their annotated boxes.

    Raises:
        FileNotFoundError: if a file of the data is missing.
        ValueError: if there is no validation, the weights do not fit, or no joint is
            annotated.
    """
    if not cfg.get('val_dataloader'):
        raise ValueError(
            'the config has no val_dataloader, as after --no-validate. Name a config '
            'that has one with --config.'
        )
    cfg = copy.deepcopy(cfg)
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    use_gt_boxes(cfg, 'val')
    check_data_files(cfg, ['val'])
    model = init_model(cfg, device=str(get_device()))
    load_weights(model, read_checkpoint(checkpoint), checkpoint)
    loader = Runner.build_dataloader(cfg.val_dataloader, seed=0)
    samples = []
    with TemporaryDirectory() as folder, torch.inference_mode():
        for i, metric in enumerate(evaluators(cfg, 'val')):
            if type_name(metric) == 'CocoMetric':
                metric.outfile_prefix = f'{folder}/{i}'
        evaluator = _built(cfg.val_evaluator)
        evaluator.dataset_meta = loader.dataset.metainfo
        for batch in track_iter_progress((loader, len(loader))):
            found = model.val_step(batch)
            evaluator.process(found, batch)
            samples += [sample.cpu() for sample in found]
        metrics = evaluator.evaluate(len(loader.dataset))
        precision = _precision(evaluator)
    if isinstance(loader.dataset, MpiiDataset):  # it counts pixels from 1
        for sample in samples:
            sample.gt_instances.keypoints = sample.gt_instances.keypoints - 1
    errors = np.stack([_errors(sample) for sample in samples])
    if np.isnan(errors).all():
        raise ValueError('no joint of the validation data is annotated')
    return Predictions(samples, errors, metrics, precision, loader.dataset.metainfo)


def _built(evaluator: Any) -> Evaluator:
    """Builds an evaluator as MMEngine's runner does."""
    if 'metrics' in evaluator:  # MultiDatasetEvaluator, for example
        return EVALUATORS.build({'type': 'Evaluator'} | evaluator)
    return Evaluator(evaluator)


def _precision(evaluator: Evaluator) -> dict[float, float]:
    """AP by threshold, from the file that COCO's metric wrote."""
    for metric in evaluator.metrics:
        if type(metric) is CocoMetric:
            with contextlib.redirect_stdout(io.StringIO()):
                found = metric.coco.loadRes(f'{metric.outfile_prefix}.keypoints.json')
                sigmas, area = metric.dataset_meta['sigmas'], metric.use_area
                result = COCOeval(metric.coco, found, metric.iou_type, sigmas, area)
                result.params.useSegm = None
                result.evaluate()
                result.accumulate()
            values = result.eval['precision'][:, :, 0, 0, 0]  # (thresholds, recalls)
            return dict(zip(result.params.iouThrs.tolist(), values.mean(1).tolist()))
    return {}


def _seen(sample: PoseDataSample) -> np.ndarray:
    """Which joints of a person are annotated, (K,)."""
    visible = np.asarray(sample.gt_instances.keypoints_visible)
    return visible.reshape(sample.gt_instances.keypoints.shape[1], -1)[:, 0] > 0


def _errors(sample: PoseDataSample) -> np.ndarray:
    """Distances of a person's joints, (K,)."""
    truth, found = sample.gt_instances, sample.pred_instances
    distances = np.linalg.norm(found.keypoints[0] - truth.keypoints[0], axis=-1)
    size = max(*(truth.bboxes[0][2:] - truth.bboxes[0][:2]), 1)
    return np.where(_seen(sample), distances / size, np.nan)


# Pictures, each with its title.


def draw_curves(log: TrainingLog) -> dict[str, str]:
    """Loss and learning rate, and the metrics of each evaluator."""
    steps = [entry['step'] for entry in log.steps]
    unit = 'epoch' if 'epoch' in log.steps[0] else 'iteration'
    pictures = {}
    for key, title in (('loss', 'Training loss'), ('lr', 'Learning rate')):
        if key in log.steps[0]:
            with _panel(pictures, title, 'iteration', yscale='log') as axes:
                axes.plot(steps, [entry.get(key, np.nan) for entry in log.steps])
    names = dict.fromkeys(name for found in log.validations.values() for name in found)
    for group in dict.fromkeys(name.rpartition('/')[0] for name in names):
        with _panel(pictures, f'Validation {group}'.strip(), unit) as axes:
            for name in (name for name in names if name.rpartition('/')[0] == group):
                values = [v.get(name, NOBODY) for v in log.validations.values()]
                values = [np.nan if value == NOBODY else value for value in values]
                label = name.rpartition('/')[2]
                axes.plot([*log.validations], values, '.-', label=label)
            axes.legend(fontsize='x-small', ncols=2)
    return pictures


def draw_errors(found: Predictions) -> dict[str, str]:
    """AP and PCK over their thresholds, and the error of each joint."""
    pictures = {}
    if found.precision:
        title = 'AP over thresholds of OKS'
        with _panel(pictures, title, 'OKS of at least', ylim=(0, 1)) as axes:
            axes.plot(*zip(*found.precision.items()), '.-')
    errors, percent = found.errors[~np.isnan(found.errors)], np.linspace(0, 20, 81)
    label = 'error of at most, % of the longer side of the box'
    with _panel(pictures, 'Share of joints found (PCK)', label, ylim=(0, 1)) as axes:
        axes.plot(
            percent, [(100 * errors <= threshold).mean() for threshold in percent]
        )
    names = [found.meta['keypoint_id2name'][i] for i in range(found.errors.shape[1])]
    label, height = '% of the longer side of the box', max(3.2, len(names) / 5)
    with _panel(pictures, 'Error by joint', label, height, xlim=(0, None)) as axes:
        per_joint = [100 * e[~np.isnan(e)] for e in found.errors.T]
        axes.boxplot(per_joint, vert=False, whis=(10, 90), showfliers=False)
        axes.set_yticks(range(1, len(names) + 1), names, fontsize='small')
        axes.invert_yaxis()
    return pictures


@contextlib.contextmanager
def _panel(
    pictures: dict[str, str], title: str, label: str, height: float = 3.2, **style: Any
) -> Iterator[Axes]:
    """Adds a diagram as a data address."""
    figure = Figure(figsize=(4.8, height), layout='constrained')
    axes = figure.subplots()
    yield axes
    axes.set(xlabel=label, **style)
    if label in ('iteration', 'epoch'):
        axes.locator_params('x', integer=True)
    axes.grid(alpha=0.3)
    file = io.BytesIO()
    figure.savefig(file, format='svg', metadata={'Date': None})
    pictures[title] = _address('svg+xml', file.getvalue())


def _address(kind: str, content: bytes) -> str:
    return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'


def _jpeg(image: np.ndarray) -> str:
    return _address('jpeg', cv2.imencode('.jpg', mmcv.rgb2bgr(image))[1].tobytes())


def draw_extremes(found: Predictions, num: int) -> dict[str, list[tuple[str, str]]]:
    """The worst and the best people, each once, with the mean error of their joints."""
    annotated = np.flatnonzero(~np.isnan(found.errors).all(1))
    means = np.nanmean(found.errors[annotated], axis=1)
    order = annotated[np.argsort(-means, kind='stable')]
    chosen = {'Worst': order[:num], 'Best': order[num:][-num:][::-1]}
    return {
        title: [
            (
                f'{Path(found.samples[i].img_path).name}: '
                f'{100 * np.nanmean(found.errors[i]):.1f} % of the box',
                _jpeg(draw_person(found.samples[i], found.meta)),
            )
            for i in people
        ]
        for title, people in chosen.items()
    }


def draw_person(sample: PoseDataSample, meta: dict[str, Any]) -> np.ndarray:
    """Annotated joints of a person, as annotated (left) and as found (right), RGB."""
    image = mmcv.imread(sample.img_path, channel_order='rgb')
    box = sample.gt_instances.bboxes[0]
    scale = min(TILE / (1.3 * np.maximum(box[2:] - box[:2], 1)))
    offset = np.array(TILE) / 2 - scale * (box[:2] + box[2:]) / 2
    matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
    tile = cv2.warpAffine(image, matrix, TILE, borderValue=(255, 255, 255))
    tile[:, -4:] = 255
    pair = PoseDataSample()
    for name in ('gt_instances', 'pred_instances'):
        points = sample.get(name).keypoints[:1] * scale + offset
        pair.set_field(
            InstanceData(keypoints=points, keypoints_visible=_seen(sample)[None]), name
        )
    return _drawn(tile, pair, meta)


def _drawn(image: np.ndarray, sample: PoseDataSample, meta: dict, **what: bool) -> Any:
    visualizer = PoseLocalVisualizer(radius=3, line_width=2)
    visualizer.set_dataset_meta(meta)
    return visualizer.add_datasample('person', image, sample, **what)


def training_dataset(cfg: Config) -> BaseDataset:
    """The training data, with the joints where augmentation moved them.

    A sample has the image as the network sees it in ``inputs``, (3, H, W), uint8, BGR,
    and ``data_samples.gt_instances.transformed_keypoints``.

    Raises:
        FileNotFoundError: if a file of the data is missing.
        ValueError: if the config has none.
    """
    if not cfg.get('train_dataloader'):
        raise ValueError('the config has no train_dataloader')
    cfg = copy.deepcopy(cfg)
    check_data_files(cfg, ['train'])
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    for _, part in dicts_in(cfg.train_dataloader.dataset):
        if type_name(part) == 'PackPoseInputs':
            part.pack_transformed = True
    return DATASETS.build(cfg.train_dataloader.dataset)


def draw_training(cfg: Config, num: int) -> Iterator[str]:
    """People as the training pipeline gives them to the network, with their joints.

    Raises:
        FileNotFoundError: if a file of the data is missing.
    """
    dataset = training_dataset(cfg)
    for i in np.random.default_rng(0).permutation(len(dataset))[:num]:
        one = dataset[int(i)]
        image = np.ascontiguousarray(
            one['inputs'].numpy().transpose(1, 2, 0)[..., ::-1]
        )
        sample = one['data_samples']
        yield _jpeg(_drawn(image, sample, dataset.metainfo, draw_pred=False))
