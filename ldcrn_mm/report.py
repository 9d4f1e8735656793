"""Pictures of a run: its curves, and predictions beside the ground truth."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.structures import InstanceData
from mmpose.apis.inference import dataset_meta_from_config
from mmpose.structures import PoseDataSample
from mmpose.visualization import PoseLocalVisualizer

matplotlib.use('Agg')  # files only: no window, no display needed

from matplotlib import pyplot as plt

# MMEngine's log.

NOT_METRICS = ('data_time', 'time', 'step', 'validated')  # the last: our training's


class TrainingLog(NamedTuple):
    """Losses and validation metrics of a training, by epoch."""

    losses: dict[int, list[float]]
    validations: dict[int, dict[str, float]]


def read_log(path: str | Path) -> TrainingLog:
    """Reads the work dir of a training by epochs, or ``scalars.json`` of one run.

    A run that was resumed or restarted replaces the epochs that it repeats.

    Raises:
        FileNotFoundError: if there is no such file, or no log in the folder.
        ValueError: if it is not the log of a training by MMEngine.
    """
    log = TrainingLog({}, {})
    for file in _log_files(Path(path)):
        entries = _log_entries(file)
        begin = next((e['epoch'] for e in entries if 'epoch' in e), None)
        if begin:
            log = TrainingLog(*({e: v for e, v in d.items() if e < begin} for d in log))
        for entry in entries:
            if 'epoch' in entry:
                log.losses.setdefault(entry['epoch'], []).append(entry['loss'])
            elif entry['step'] > 0:  # 0 in a test
                metrics = {k: v for k, v in entry.items() if k not in NOT_METRICS}
                log.validations[entry['step']] = metrics
    if not log.losses:
        raise ValueError(
            f'{path} is not the log of a training: expected the work dir or '
            'scalars.json of a training by epochs, found no epochs.'
        )
    return log


def _log_files(path: Path) -> list[Path]:
    """The logs of all runs, oldest first."""
    if path.is_file():
        return [path]
    files = sorted(path.glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(
            f'log not found: {path} is neither a scalars.json nor a work dir with '
            '*/vis_data/scalars.json in it'
        )
    return files


def _log_entries(file: Path) -> list[dict]:
    """The lines of a log, without a last one that was torn by a kill."""
    lines = file.read_bytes().splitlines()
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            _ = entry['loss'] if 'epoch' in entry else entry['step']
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, ValueError) and number == len(lines):
                break
            raise ValueError(
                f'{file} is not a log: expected a JSON object a line, each with '
                f'`epoch` and `loss`, or `step`, found line {number}: {error}.'
            ) from error
        entries.append(entry)
    return entries


# Pictures.


def plot_curves(
    work_dir: str | Path, out_file: str | Path, metrics: Sequence[str] = ()
) -> None:
    """Draws the loss and the metrics of the validations over the epochs.

    Args:
        work_dir: folder of the training, of whose runs those are drawn that led to
            its end.
        out_file: the picture to write.
        metrics: their names, such as ``'coco/AP'``; without any, the first that was
            measured.

    Raises:
        FileNotFoundError: where nothing has been logged.
        ValueError: where the log is none, or has validations without such a metric.
    """
    log = read_log(work_dir)
    metrics = _measured(log, metrics, work_dir)
    figure, panels = plt.subplots(
        1,
        1 + len(metrics),
        figsize=(4.5 * (1 + len(metrics)), 3.2),
        layout='constrained',
        squeeze=False,
    )
    left, *others = panels[0]
    left.plot(list(log.losses), [np.mean(v) for v in log.losses.values()])
    left.set(xlabel='epoch', ylabel='training loss', yscale='log')
    for axes, metric in zip(others, metrics):
        values = {e: v[metric] for e, v in log.validations.items() if metric in v}
        axes.plot(list(values), list(values.values()), marker='o', markersize=3)
        axes.set(xlabel='epoch', ylabel=f'{metric} (validation)')
    for axes in panels[0]:
        axes.grid(alpha=0.3)
    Path(out_file).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out_file, dpi=110)
    plt.close(figure)


def _measured(
    log: TrainingLog, metrics: Sequence[str], work_dir: str | Path
) -> Sequence[str]:
    """Which metrics there are values of: none before the first validation."""
    known = list(dict.fromkeys(name for v in log.validations.values() for name in v))
    missing = [name for name in metrics if name not in known]
    if known and missing:
        raise ValueError(
            f'The validations logged in {work_dir} have no {", ".join(missing)}, but '
            f'{", ".join(known)}. Is the config that of this training?'
        )
    return metrics if known and metrics else known[:1]


def dataset_meta(cfg: Config) -> dict:
    """Names and colours of the keypoints of a config's test data.

    Raises:
        ValueError: where the config does not say which they are.
    """
    meta = dataset_meta_from_config(cfg, 'test')
    if meta is None:
        raise ValueError(
            'the config does not say which keypoints its test data have: expected '
            '`test_dataloader.dataset` to be of a class with METAINFO or to have a '
            '`metainfo`.'
        )
    return meta


def draw_predictions(
    dump_file: str | Path,
    out_dir: str | Path,
    dataset_meta: dict,
    max_images: int = 8,
    kpt_thr: float = 0.3,
) -> list[Path]:
    """Draws the people of each picture: ground truth left, prediction right.

    Args:
        dump_file: what ``tools/test.py --dump`` wrote.
        out_dir: folder for the pictures, one for each photograph, and
            ``overview.jpg`` with all of them.
        dataset_meta: names and colours of the keypoints.
        max_images: draw that many pictures, spread evenly over the data set.
        kpt_thr: lowest score of a predicted keypoint that is drawn.

    Returns:
        The files written, the overview first.

    Raises:
        ValueError: where the file holds no predictions.
    """
    people: dict[str, list[dict]] = {}
    samples = load(dump_file)
    if not isinstance(samples, list) or not all(map(_is_sample, samples)):
        raise ValueError(
            f'{dump_file} holds something else than predictions: expected what '
            '`tools/test.py --dump` writes.'
        )
    for sample in samples:
        people.setdefault(sample['img_path'], []).append(sample)
    if not people:
        raise ValueError(f'{dump_file} holds no predictions.')
    chosen = np.linspace(0, len(people) - 1, min(max_images, len(people))).round()
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    drawn, files = [], []
    for path in [list(people)[int(i)] for i in chosen]:
        drawn.append(_draw_pair(path, people[path], dataset_meta, kpt_thr))
        files.append(out_dir / f'{Path(path).stem}.jpg')
        cv2.imwrite(str(files[-1]), drawn[-1])
    overview = out_dir / 'overview.jpg'
    cv2.imwrite(str(overview), contact_sheet(drawn))
    return [overview, *files]


def _is_sample(entry: object) -> bool:
    keys = {'img_path', 'gt_instances', 'pred_instances'}
    return isinstance(entry, dict) and keys <= entry.keys()


def _draw_pair(
    path: str, samples: Sequence[dict], dataset_meta: dict, kpt_thr: float
) -> np.ndarray:
    """One picture twice, BGR: with its annotations, with its predictions."""
    image = cv2.imread(path)
    if image is None:
        raise FileNotFoundError(f'Cannot read the picture {path}.')
    line_width = max(1, round(max(image.shape[:2]) / 320))
    visualizer = PoseLocalVisualizer(line_width=line_width, radius=line_width + 1)
    visualizer.set_dataset_meta(dataset_meta)
    truth = [sample['gt_instances'] for sample in samples]
    predicted = [sample['pred_instances'] for sample in samples]
    merged = PoseDataSample()
    merged.gt_instances = InstanceData(
        keypoints=_stack(truth, 'keypoints'),
        keypoints_visible=_stack(truth, 'keypoints_visible'),
    )
    merged.pred_instances = InstanceData(
        keypoints=_stack(predicted, 'keypoints'),
        keypoints_visible=_stack(predicted, 'keypoint_scores'),
    )
    pair = visualizer.add_datasample(
        'pair',
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB),
        merged,
        kpt_thr=kpt_thr,
    )
    return cv2.cvtColor(pair, cv2.COLOR_RGB2BGR)


def _stack(instances: Iterable[dict], key: str) -> np.ndarray:
    return np.concatenate([np.asarray(each[key]) for each in instances])


def contact_sheet(
    images: Sequence[np.ndarray], columns: int = 2, width: int = 640
) -> np.ndarray:
    """Pictures of any size in rows, each scaled to one width, on white."""
    tiles = [
        cv2.resize(
            image,
            (width, round(width * image.shape[0] / image.shape[1])),
            interpolation=cv2.INTER_AREA,
        )
        for image in images
    ]
    rows = []
    for start in range(0, len(tiles), columns):
        row = tiles[start : start + columns]
        height = max(tile.shape[0] for tile in row)
        sheet = np.full((height + 8, columns * (width + 8), 3), 255, np.uint8)
        for i, tile in enumerate(row):
            x = i * (width + 8)
            sheet[: tile.shape[0], x : x + width] = tile
        rows.append(sheet)
    return np.concatenate(rows)
