"""The files that a config's data sets read."""

from collections.abc import Iterator, Sequence
from os.path import exists, isfile, join
from typing import Any

from mmengine.config import Config, ConfigDict


def check_data_files(cfg: Config, splits: Sequence[str]) -> None:
    """Looks for the files of some of the splits ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        FileNotFoundError: lists every missing file with its keys in the config, and
            says what to do.
    """
    missing: dict[str, list[str]] = {}
    for split in splits:
        for key, path in _data_files(cfg, split):
            is_there = isfile if key.endswith('_file') else exists
            if '://' not in path and not is_there(path):
                missing.setdefault(path, []).append(key)
    if not missing:
        return
    lines = ['these data files are missing:']
    lines += [f'  {path}   ({", ".join(keys)})' for path, keys in missing.items()]
    lines.append(
        'docs/data.md shows where the files belong. Other places are set with '
        '--cfg-options KEY=VALUE.'
    )
    if any(key.endswith('bbox_file') for keys in missing.values() for key in keys):
        lines.append(
            'Without the file of detected persons, `tools/test.py --gt-boxes` tests '
            'on the ground-truth boxes.'
        )
    raise FileNotFoundError('\n'.join(lines))


def use_gt_boxes(cfg: Config, split: str) -> None:
    """Removes the files of detected persons from a split's data sets, in place."""
    for _, dataset in datasets(cfg, split):
        dataset.pop('bbox_file', None)


def _data_files(cfg: Config, split: str) -> Iterator[tuple[str, str]]:
    """(config key, path) of every file and folder that a split reads."""
    for where, dataset in datasets(cfg, split):
        root = dataset.get('data_root') or ''
        if dataset.get('ann_file'):
            yield f'{where}.ann_file', join(root, str(dataset.ann_file))
        for key, path in (dataset.get('data_prefix') or {}).items():
            if not isinstance(path, str):
                raise ValueError(
                    f'{where}.data_prefix.{key} must be a folder, got {path!r:.50}.'
                )
            yield f'{where}.data_prefix.{key}', join(root, path)
        for key in ('bbox_file', 'headbox_file'):  # MMPose does not join the root
            if dataset.get(key):
                yield f'{where}.{key}', dataset[key]
    for metric in evaluators(cfg, split):
        if metric.get('ann_file'):
            yield f'{split}_evaluator.ann_file', metric.ann_file


def evaluators(cfg: Config, split: str) -> list[ConfigDict]:
    """The metrics of a split."""
    evaluator = cfg.get(f'{split}_evaluator') or []
    if isinstance(evaluator, dict):  # one with metrics, such as MultiDatasetEvaluator
        evaluator = evaluator.get('metrics', evaluator)
    return [evaluator] if isinstance(evaluator, dict) else [*evaluator]


def datasets(cfg: Config, split: str) -> Iterator[tuple[str, ConfigDict]]:
    """(config key, config) of a split's data sets, nested ones included.

    Raises:
        ValueError: one is no dict.
    """
    loader = cfg.get(f'{split}_dataloader')
    if loader:
        yield from _unwrapped(f'{split}_dataloader.dataset', loader.dataset)


def inference_dataset(cfg: Config) -> ConfigDict:
    """The data set whose pipeline leads from a picture and a box to the network.

    That of ``test_dataloader``, as in MMPose's inference API, or of ``val_dataloader``
    in a config that does not test.

    Raises:
        ValueError: there is no pipeline.
    """
    for split in ('test', 'val'):
        if loader := cfg.get(f'{split}_dataloader'):
            parts = (part for _, part in datasets(cfg, split))
            for dataset in (loader.dataset, *parts):
                if dataset.get('pipeline'):
                    return dataset
    raise ValueError(
        'Expected a `pipeline` in test_dataloader.dataset, the steps from a picture '
        'and a box to the input of the network, got none.'
    )


def _unwrapped(where: str, dataset: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    if not isinstance(dataset, dict):
        raise ValueError(f'{where} must be a dict, got {dataset!r:.50}.')
    if 'dataset' in dataset:  # RepeatDataset and the like
        yield from _unwrapped(f'{where}.dataset', dataset.dataset)
    elif 'datasets' in dataset:  # CombinedDataset
        for i, part in enumerate(dataset.datasets):
            yield from _unwrapped(f'{where}.datasets.{i}', part)
    else:
        yield where, dataset


def dicts_in(part: Any, key: str = '') -> Iterator[tuple[str, ConfigDict]]:
    """(config key, dict) of every dict in a part of a config, from ``key`` on."""
    if isinstance(part, dict):
        yield key, part
    if isinstance(part, dict | list | tuple):
        items = part.items() if isinstance(part, dict) else enumerate(part)
        for name, item in items:
            yield from dicts_in(item, f'{key}.{name}')
