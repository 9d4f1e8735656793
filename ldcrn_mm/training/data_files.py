"""The files that a config's data sets read: are they there."""

from collections.abc import Iterator, Sequence
from os.path import exists, join

from mmengine.config import Config, ConfigDict

# MMPose joins these with `data_root` itself, and takes the others as they are.
JOINED = ('ann_file',)
AS_THEY_ARE = ('bbox_file', 'headbox_file')


def check_data_files(cfg: Config, splits: Sequence[str]) -> None:
    """Looks for the files of the data sets before anything is built.

    Args:
        cfg: the run's config.
        splits: which of ``'train'``, ``'val'``, ``'test'`` will be used.

    Raises:
        FileNotFoundError: names every file that is missing, the key that
            names it, and what to do.
    """
    wanted: dict[str, list[str]] = {}
    for split in splits:
        for key, path in _data_files(cfg, split):
            if '://' not in path and not exists(path):
                wanted.setdefault(path, []).append(key)
    if not wanted:
        return
    lines = [f'  {path}   ({", ".join(keys)})' for path, keys in wanted.items()]
    hints = [
        'README.md, "Data", shows where the files belong; other places are set '
        'with --cfg-options KEY=VALUE.'
    ]
    if any(key.endswith('bbox_file') for keys in wanted.values() for key in keys):
        hints.append(
            'Without the file of detected persons, `tools/test.py --gt-boxes` '
            'tests on the ground-truth boxes.'
        )
    raise FileNotFoundError(
        '\n'.join(['these data files are missing:', *lines, *hints])
    )


def use_gt_boxes(cfg: Config) -> None:
    """Takes the files of detected persons out of the test data sets.

    Args:
        cfg: the run's config, changed in place.
    """
    for _, dataset in _datasets(cfg, 'test'):
        dataset.pop('bbox_file', None)


def _data_files(cfg: Config, split: str) -> Iterator[tuple[str, str]]:
    """(config key, path) of every file and folder that a split reads."""
    for where, dataset in _datasets(cfg, split):
        root = dataset.get('data_root') or ''
        for key in JOINED:
            if dataset.get(key):
                yield f'{where}.{key}', join(root, dataset[key])
        for key, path in dataset.get('data_prefix', {}).items():
            yield f'{where}.data_prefix.{key}', join(root, path)
        for key in AS_THEY_ARE:
            if dataset.get(key):
                yield f'{where}.{key}', dataset[key]
    evaluator = cfg.get(f'{split}_evaluator') or []
    for metric in [evaluator] if isinstance(evaluator, dict) else evaluator:
        if metric.get('ann_file'):
            yield f'{split}_evaluator.ann_file', metric.ann_file


def _datasets(cfg: Config, split: str) -> Iterator[tuple[str, ConfigDict]]:
    """(config key, config) of a split's data sets, those inside others too."""
    loader = cfg.get(f'{split}_dataloader')
    if loader:
        yield from _unwrapped(f'{split}_dataloader.dataset', loader.dataset)


def _unwrapped(where: str, dataset: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    if 'dataset' in dataset:  # RepeatDataset and the like
        yield from _unwrapped(f'{where}.dataset', dataset.dataset)
    elif 'datasets' in dataset:  # CombinedDataset
        for i, part in enumerate(dataset.datasets):
            yield from _unwrapped(f'{where}.datasets.{i}', part)
    else:
        yield where, dataset
