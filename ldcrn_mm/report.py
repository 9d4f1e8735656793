"""Pictures of a run: its curves, and predictions beside the ground truth."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import mmcv
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


def metrics_of(cfg: Config) -> list[str]:
    """Metrics by which a training chooses its best checkpoint, if the config says."""
    checkpoint = cfg.get('default_hooks', {}).get('checkpoint') or {}
    names = checkpoint.get('save_best') or []
    names = [names] if isinstance(names, str) else names
    return [name for name in names if name != 'auto']


def plot_curves(
    work_dir: str | Path, out_file: str | Path, metrics: Sequence[str] = ()
) -> None:
    """Draws the training loss and validation metrics over the epochs.

    Args:
        work_dir: folder of the training.
        out_file: picture to write.
        metrics: names such as ``'coco/AP'``. By default the first that was measured.

    Raises:
        FileNotFoundError: if nothing has been logged.
        ValueError: if there are validations, but none has such a metric.
    """
    log = read_log(work_dir)
    known = list(dict.fromkeys(name for v in log.validations.values() for name in v))
    if known and (missing := [name for name in metrics if name not in known]):
        raise ValueError(
            f'The validations logged in {work_dir} have no {", ".join(missing)}, but '
            f'{", ".join(known)}. Is the config that of this training?'
        )
    metrics = metrics if known and metrics else known[:1]
    num_panels = 1 + len(metrics)
    figure, panels = plt.subplots(
        1,
        num_panels,
        figsize=(4.5 * num_panels, 3.2),
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


def dataset_meta(cfg: Config) -> dict:
    """Names and colours of the keypoints of a config's test data.

    Raises:
        ValueError: if the config does not say.
    """
    meta = dataset_meta_from_config(cfg, 'test')
    if meta is None:
        raise ValueError(
            'The config does not say which keypoints its test data have. Expected a '
            '`test_dataloader.dataset` of a class with METAINFO, or with `metainfo`.'
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
        dump_file: written by ``tools/test.py --dump``. It is a pickle, so only open
            one that you trust.
        out_dir: folder for a picture of each photograph, and ``overview.jpg`` of all.
        dataset_meta: names and colours of the keypoints.
        max_images: number of pictures, spread evenly over the data set.
        kpt_thr: lowest score of a predicted keypoint that is drawn.

    Returns:
        The files written, the overview first.

    Raises:
        FileNotFoundError: if the file or a picture is missing.
        ValueError: if the file has no predictions, or ``max_images`` is below 1.
    """
    if max_images < 1:
        raise ValueError(f'max_images must be at least 1, got {max_images}')
    pictures = _people_by_picture(dump_file)
    chosen = np.linspace(0, len(pictures) - 1, min(max_images, len(pictures))).round()
    Path(out_dir).mkdir(parents=True, exist_ok=True)
    files, drawn = [Path(out_dir, 'overview.jpg')], []
    for path in [list(pictures)[int(i)] for i in chosen]:
        drawn.append(_draw_pair(path, pictures[path], dataset_meta, kpt_thr))
        files.append(Path(out_dir, f'{Path(path).stem}.jpg'))
        while files[-1] in files[:-1]:
            files[-1] = files[-1].with_stem(f'{files[-1].stem}_')
        mmcv.imwrite(drawn[-1], str(files[-1]))
    mmcv.imwrite(contact_sheet(drawn), str(files[0]))
    return files


def _people_by_picture(dump_file: str | Path) -> dict[str, list[dict]]:
    keys = {'img_path', 'gt_instances', 'pred_instances'}
    samples, people = load(dump_file), {}
    for sample in samples if isinstance(samples, list) else []:
        if isinstance(sample, dict) and keys <= sample.keys():
            people.setdefault(sample['img_path'], []).append(sample)
    if not people:
        raise ValueError(
            f'{dump_file} holds no predictions. Expected what `tools/test.py --dump` '
            'writes.'
        )
    return people


def _draw_pair(
    path: str, people: Sequence[dict], meta: dict, kpt_thr: float
) -> np.ndarray:
    """One picture twice, BGR: with its annotations and with its predictions."""
    image = cv2.imread(path)
    if image is None:
        raise FileNotFoundError(f'Cannot read the picture {path}')
    line_width = max(1, round(max(image.shape[:2]) / 320))
    visualizer = PoseLocalVisualizer(line_width=line_width, radius=line_width + 1)
    visualizer.set_dataset_meta(meta)

    def merged(kind: str, visible: str) -> InstanceData:
        return InstanceData(
            keypoints=np.concatenate([one[kind]['keypoints'] for one in people]),
            keypoints_visible=np.concatenate([one[kind][visible] for one in people]),
        )

    sample = PoseDataSample()
    sample.gt_instances = merged('gt_instances', 'keypoints_visible')
    sample.pred_instances = merged('pred_instances', 'keypoint_scores')
    pair = visualizer.add_datasample(
        'pair', mmcv.bgr2rgb(image), sample, kpt_thr=kpt_thr
    )
    return mmcv.rgb2bgr(pair)


def contact_sheet(
    images: Sequence[np.ndarray], columns: int = 2, width: int = 640
) -> np.ndarray:
    """Pictures in rows, each scaled to the same width, on white."""
    tiles = []
    for image in images:
        size = width, round(width * image.shape[0] / image.shape[1])
        tiles.append(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    shape = max(len(tile) for tile in tiles) + 8, width + 8
    tiles = [mmcv.impad(tile, shape=shape, pad_val=(255, 255, 255)) for tile in tiles]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.vstack(rows)
