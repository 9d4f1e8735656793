"""What is wrong with a config and its data, found before anything is built."""

import inspect
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from os.path import join, realpath

from mmengine.config import Config
from mmengine.registry import FUNCTIONS
from mmpose.registry import HOOKS, METRICS

from ..registry import CHILDREN, SCOPE
from .annotations import inspect_dataset, keypoint_names
from .data_files import check_data_files, datasets, dicts_in, evaluators
from .launch import type_name
from .variables import FIELDS, did_you_mean, misspelt_names, stale_variables

COCO = ['AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)']
COCO += [name.replace('AP', 'AR') for name in COCO]
CROWD = ['AP', 'AP .5', 'AP .75', 'AR', 'AR .5', 'AR .75', 'AP(E)', 'AP(M)', 'AP(H)']
PARTS = ('Head', 'Shoulder', 'Elbow', 'Wrist', 'Hip', 'Knee', 'Ankle')
NAMES = dict(  # of the metrics of evaluators
    CocoMetric=COCO,
    PCKAccuracy=['PCK', 'PCKh', 'tPCK'],
    MpiiPCKAccuracy=['PCK', 'PCK@0.1', *(f'{part} PCK' for part in PARTS)],
    TorsoPCKAccuracy=['PCK', *(f'{part} PCK' for part in PARTS[1:])],
    AUC=['AUC'],
    EPE=['EPE'],
    NME=['NME'],
)
LOWEST = dict(
    max_epochs=1, max_iters=1, val_interval=1, batch_size=1, interval=1, end=1,
    accumulative_counts=1, num_workers=0, seed=0, lr=0, max_norm=0,
)  # fmt: skip
FRACTIONS = ('lr', 'max_norm')
SPLITS = ('train', 'val', 'test')
DICTS = (
    *('model', 'default_hooks', 'optim_wrapper', 'randomness'),
    *(f'{split}_{part}' for split in SPLITS for part in ('cfg', 'dataloader')),
)
SCOPES = ('mmpose', SCOPE)
REGISTRIES = [FUNCTIONS, *CHILDREN.values(), *(x.parent for x in CHILDREN.values())]
REGISTRIES += [x.parent for x in REGISTRIES if x.parent and x.scope == 'mmpose']
LISTS = ('custom_hooks', 'param_scheduler', 'val_evaluator', 'test_evaluator')


def check(cfg: Config, splits: Sequence[str], data: bool = True) -> None:
    """Refuses a config that could not do what it says.

    Args:
        cfg: the config, with all options.
        splits: those of ``'train'``, ``'val'`` and ``'test'`` that will run.
        data: Whether to look into the annotation files. One process is enough.

    Raises:
        FileNotFoundError: data files are missing.
        ValueError: one line for each problem.
    """
    check_data_files(cfg, splits)
    needed = [f'{split}_dataloader' for split in splits if split != 'val']
    problems = [f'the config has no {name}.' for name in needed if not cfg.get(name)]
    problems += config_problems(cfg, splits)
    if data:
        problems += survey(cfg, splits)[1]
    if problems:
        raise ValueError(
            '\n  '.join(['the config or its data cannot be right:', *problems])
        )


def check_inference(cfg: Config, keypoints: bool = True) -> None:
    """Refuses a config whose test pipeline is not that of the network.

    Args:
        cfg: the config, with a ``test_dataloader``.
        keypoints: whether the test data set names the network's keypoints.

    Raises:
        ValueError: a size or the number of keypoints differs.
    """
    counts = _keypoints(cfg, ['test']) if keypoints else ()
    if problems := [*_sizes(cfg, ['test']), *counts]:
        raise ValueError(' '.join(problems))


def survey(cfg: Config, splits: Sequence[str]) -> tuple[dict[str, Counter], list[str]]:
    """What the annotation files hold, by config key, and what is wrong with them."""
    counts: dict[str, Counter] = {}
    problems: list[str] = []
    for split in splits:
        coco = [
            metric
            for metric in evaluators(cfg, split)
            if type_name(metric) == 'CocoMetric' and not metric.get('format_only')
        ]
        parts = [*datasets(cfg, split)]
        fits = split != 'train' and coco and min(len(coco), len(parts)) == 1
        for where, dataset in parts:
            evaluator = coco[0] if fits else None
            counts[where], found = inspect_dataset(dataset, evaluator)
            problems += [problem for problem in found if problem not in problems]
    return counts, problems


def config_problems(cfg: Config, splits: Sequence[str]) -> list[str]:
    """Sentences on settings that disagree, that nothing reads or that cannot work."""
    if wrong := [*wrong_kinds(cfg)]:
        return wrong
    if cfg.get('model') is None:
        return ['the config has no model.']
    return [
        *_sizes(cfg, splits),
        *_crops(cfg),
        *_keypoints(cfg, splits),
        *stale_variables(cfg),
        *misspelt_names(cfg),
        *_types(cfg, splits),
        *_numbers(cfg, splits),
        *_best(cfg, splits),
        *_evaluated_files(cfg, splits),
        *_hooks(cfg),
        *_units(cfg, splits),
    ]


def wrong_kinds(cfg: Config) -> Iterator[str]:
    """Sentences on parts that are no dicts, and on types that are no names."""
    parts = {name: cfg[name] for name in DICTS if cfg.get(name) is not None}
    for name in LISTS:
        part = cfg.get(name) or []
        several = part if isinstance(part, list | tuple) else [part]
        parts |= {f'{name}.{i}': one for i, one in enumerate(several)}
    for name, part in parts.items():
        if not isinstance(part, dict):
            yield f'{name} must be a dict, got {part!r:.50}.'
        for key, one in dicts_in(part, name):
            kind = one.get('type', '')
            if not (isinstance(kind, str) or callable(kind)):
                yield f'{key}.type must be a name, got {kind!r:.50}.'


def _sizes(cfg: Config, splits: Sequence[str]) -> Iterator[str]:
    """Crops and targets of another size or kind than the head's decoder."""
    head = cfg.model.get('head') or {}
    decoder = head.get('decoder')
    if not isinstance(decoder, dict):
        return
    for name in ('input_size', 'heatmap_size'):
        size = decoder.get(name, (1, 1))
        if not isinstance(size, list | tuple) or len(size) != 2:
            yield (f'model.head.decoder.{name} must be width and height, got {size!r}.')
            return
    maps = decoder.get('heatmap_size')
    if maps and type_name(head) == 'LDCRNHead':
        expected = tuple(side // 4 for side in decoder.input_size)
        if tuple(maps) != expected and 'deconv_out_channels' not in head:
            yield (
                f'model.head.decoder.heatmap_size is {tuple(maps)}, but must be '
                f'{expected}: LDCRN returns a quarter of the input_size.'
            )
    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        for key, part in dicts_in(loader.get('dataset'), f'{split}_dataloader.dataset'):
            kind = type_name(part)
            if kind == 'TopdownAffine':
                yield from _differ(part, decoder, ['input_size'], key)
            elif kind == 'GenerateTarget' and part.get('encoder'):
                codec = part.encoder
                codec = codec[-1] if isinstance(codec, list) else codec
                yield from _differ(codec, decoder, [*codec], f'{key}.encoder')


def _crops(cfg: Config) -> Iterator[str]:
    """Training, validation and test pictures that are cut out in two ways."""
    crops = {}
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader') or {}
        for key, part in dicts_in(loader.get('dataset'), f'{split}_dataloader.dataset'):
            if type_name(part) == 'TopdownAffine':
                crops[bool(part.get('use_udp'))] = f'{key}.use_udp'
    if len(crops) > 1:
        yield f'{crops[True]} is True, but not {crops[False]}. Set both alike.'


def _differ(part: dict, decoder: dict, names: list[str], key: str) -> Iterator[str]:
    for name in names:
        if name in part and name in decoder:
            both = (
                type_name(x) if name == 'type' else x[name] for x in (part, decoder)
            )
            own, other = (tuple(x) if isinstance(x, list) else x for x in both)
            if own != other:
                yield (
                    f'{key}.{name} is {own}, but model.head.decoder.{name} is {other}. '
                    'Set both to the same value.'
                )


def _keypoints(cfg: Config, splits: Sequence[str]) -> Iterator[str]:
    """A head for another number of keypoints than a data set has."""
    head = cfg.model.get('head') or {}
    decoder = head.get('decoder')
    if not isinstance(decoder, dict) or 'input_size' not in decoder:
        return  # for poses in 3D `out_channels` is 3
    maps = 3 if decoder.get('heatmap_type') == 'combined' else 1
    name = 'out_channels' if 'out_channels' in head else 'num_joints'
    if 'output_keypoint_indices' in (cfg.model.get('test_cfg') or {}):
        splits = [split for split in splits if split == 'train']  # others get a part
    try:
        counts = [*chain(*(_counted(cfg, split) for split in splits))]
    except ValueError as error:
        yield str(error)
        return
    for where, count in counts:
        if count and head.get(name, count * maps) != count * maps:
            yield (
                f'model.head.{name} is {head[name]}, but must be {count * maps} for '
                f'the {count} keypoints of {where} (its type or metainfo).'
            )


def _counted(cfg: Config, split: str) -> Iterator[tuple[str, int]]:
    """(config key, number of keypoints) of the data sets of a split."""
    whole = (cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}
    if 'datasets' in whole:  # CombinedDataset, whose parts are converted
        yield f'{split}_dataloader.dataset', len(keypoint_names(whole))
        return
    for where, dataset in datasets(cfg, split):
        steps = [step for _, step in dicts_in(dataset.get('pipeline'))]
        counts = [
            x.num_keypoints for x in steps if x.get('type') == 'KeypointConverter'
        ]
        yield where, counts[-1] if counts else len(keypoint_names(dataset))


def _types(cfg: Config, splits: Sequence[str]) -> Iterator[str]:
    """Types of all but hooks that no registry has. MMEngine looks some up late."""
    unused = ('default_hooks', 'custom_hooks')
    unused += tuple(f'{split}_' for split in SPLITS if split not in splits)
    if 'train' not in splits:
        unused += ('optim_wrapper', 'param_scheduler')
    fields = FIELDS if cfg.get('default_scope') in SCOPES else ()
    parts = (dicts_in(cfg.get(x), x) for x in fields if not x.startswith(unused))
    left_out: tuple[str, ...] = ()
    for key, part in chain(*parts):
        kind, scope = part.get('type'), part.get('_scope_', SCOPE)
        theirs = '.' in str(kind) or scope not in SCOPES or kind == 'Albumentation'
        if theirs or key.endswith(('.metainfo', '.clip_grad')):
            left_out += (key,)  # the types in it are of other packages, or no classes
        elif key.startswith(left_out) or not isinstance(kind, str):
            continue
        elif not any(registry.get(kind) for registry in REGISTRIES):
            hint = did_you_mean(kind, chain(*(x.module_dict for x in REGISTRIES)))
            yield f'{key}.type is {kind!r}, which no registry has.{hint}'


def _numbers(cfg: Config, splits: Sequence[str]) -> Iterator[str]:
    """Numbers too low, and what is none."""
    parts = {f'{split}_dataloader': cfg.get(f'{split}_dataloader') for split in splits}
    if 'train' in splits:
        wrapper = cfg.get('optim_wrapper') or {}
        random = cfg.get('randomness') or {}
        parts |= {
            'train_cfg': cfg.get('train_cfg'),
            'default_hooks.logger': (cfg.get('default_hooks') or {}).get('logger'),
            'optim_wrapper': wrapper,
            'optim_wrapper.optimizer': wrapper.get('optimizer'),
            'optim_wrapper.clip_grad': wrapper.get('clip_grad'),
            'randomness': {n: v for n, v in random.items() if v is not None},
        }
        schedulers = cfg.get('param_scheduler')
        if isinstance(schedulers, list):
            parts |= {f'param_scheduler.{i}': part for i, part in enumerate(schedulers)}
    for key, part in parts.items():
        if not isinstance(part or {}, dict):
            yield f'{key} must be a dict, got {part!r:.50}.'
            continue
        for name, value in (part or {}).items():
            kinds = (int, float) if name in FRACTIONS else (int,)
            if name in LOWEST and not (type(value) in kinds and value >= LOWEST[name]):
                what = 'a number' if name in FRACTIONS else 'a whole number'
                yield (
                    f'{key}.{name} must be {what} of at least {LOWEST[name]}, got '
                    f'{value!r}.'
                )


def _best(cfg: Config, splits: Sequence[str]) -> Iterator[str]:
    """Metrics to choose a checkpoint or the end by, which are not computed."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    chosen = {'default_hooks.checkpoint.save_best': hook.get('save_best')}
    for i, hook in enumerate(cfg.get('custom_hooks') or []):
        if type_name(hook) == 'EarlyStoppingHook':
            chosen[f'custom_hooks.{i}.monitor'] = hook.get('monitor')
    metrics = evaluators(cfg, 'val')
    if 'val' not in splits or not metrics:
        return
    if any(type_name(metric) not in NAMES for metric in metrics):
        return
    names = [name for metric in metrics for name in _names_of(metric)]
    for key, own in chosen.items():
        for name in [own] if isinstance(own, str) else own or ():
            if name not in (*names, 'auto'):
                yield (
                    f'{key} is {name!r}, which val_evaluator does not compute. Choose '
                    f'one of {", ".join(names)}.'
                )


def _names_of(metric: dict) -> list[str]:
    kind = type_name(metric)
    names = CROWD if metric.get('iou_type') == 'keypoints_crowd' else NAMES[kind]
    prefix = metric.get('prefix') or METRICS.get(kind).default_prefix
    return [f'{prefix}/{name}' if prefix else name for name in names]


def _evaluated_files(cfg: Config, splits: Sequence[str]) -> Iterator[str]:
    """An evaluator that counts other people than its data set has."""
    for split in splits:
        parts = [*datasets(cfg, split)]
        metrics = evaluators(cfg, split)
        for metric in metrics if len(parts) == 1 else ():
            where, dataset = parts[0]
            own = join(dataset.get('data_root') or '', dataset.get('ann_file') or '')
            other = metric.get('ann_file')
            if other and own and realpath(other) != realpath(own):
                yield (
                    f'{split}_evaluator.ann_file is {other}, but {where}.ann_file is '
                    f'{own}. Set both to the same file.'
                )
        if all(type_name(m) != 'CocoMetric' or m.get('format_only') for m in metrics):
            continue
        for where, dataset in parts:
            for name, whole in dict(indices=None, sample_interval=1).items():
                if dataset.get(name, whole) != whole:
                    yield (
                        f'{where}.{name} leaves out people whom CocoMetric counts as '
                        'not found. Set an ann_file with fewer people instead.'
                    )
        kinds = {type_name(dataset) for _, dataset in parts}
        if len(parts) > 1 and not (
            'datasets' in cfg[f'{split}_evaluator'] and len(kinds) == len(parts)
        ):
            yield (
                f'{split}_evaluator: a CocoMetric counts the people of one ann_file, '
                f'but {split}_dataloader.dataset has {len(parts)}. Put all people into '
                'one file, or take a MultiDatasetEvaluator for data sets of different '
                'types.'
            )


def _units(cfg: Config, splits: Sequence[str]) -> Iterator[str]:
    """Loops that never end, and one that writes its only checkpoint at the end."""
    train = cfg.get('train_cfg') or {}
    if 'train' in splits and {'type', 'by_epoch'} <= train.keys():
        yield 'train_cfg has type and by_epoch. Set dict(_delete_=True, type=...).'
    kind = type_name(train)
    by_epoch = train.get('by_epoch', kind != 'IterBasedTrainLoop')
    for split in splits:
        sampler = (cfg.get(f'{split}_dataloader') or {}).get('sampler')
        endless = type_name(sampler or {}) == 'InfiniteSampler'
        by_epochs = by_epoch and kind in ('', 'EpochBasedTrainLoop')
        if endless and (by_epochs or split != 'train'):
            yield f'{split}_dataloader.sampler: InfiniteSampler never ends an epoch.'
    hook = (cfg.get('default_hooks') or {}).get('checkpoint')
    if 'train' in splits and not by_epoch and hook and hook.get('by_epoch', True):
        yield (
            'default_hooks.checkpoint counts epochs, of which a training by iterations '
            'has one. Set its by_epoch=False and its interval in iterations.'
        )


def _hooks(cfg: Config) -> Iterator[str]:
    """Hooks of unknown types, or with arguments that they do not have."""
    named, custom = cfg.get('default_hooks') or {}, cfg.get('custom_hooks') or []
    hooks = {f'default_hooks.{name}': hook for name, hook in named.items()}
    hooks |= {f'custom_hooks.{i}': hook for i, hook in enumerate(custom)}
    for key, hook in hooks.items():
        if not isinstance(hook, dict):
            continue
        if 'type' not in hook:
            yield f'{key} has no `type`: is its name right?'
            continue
        kind = HOOKS.get(hook.type) if isinstance(hook.type, str) else hook.type
        if kind is None and hook.get('_scope_', SCOPE) in SCOPES:
            hint = did_you_mean(hook.type, chain(*(x.module_dict for x in REGISTRIES)))
            yield f'{key}.type is {hook.type!r}, which is no hook.{hint}'
        known = _arguments(kind) if kind else set()
        unknown = hook.keys() - known - {'type', 'priority', '_scope_'}
        for name in unknown if known else ():
            problem = f'{key}.{name} is no argument of {type_name(hook)}.'
            yield problem + did_you_mean(name, known)


def _arguments(kind: type) -> set[str]:
    """Names of a class's arguments, those that it passes on included.

    Empty where they are not known. ``CheckpointHook`` passes its others on to
    ``Runner.save_checkpoint``, of which it sets all.
    """
    names: set[str] = set()
    for cls in kind.__mro__:
        if '__init__' not in vars(cls):
            continue
        parameters = inspect.signature(cls.__init__).parameters
        names |= parameters.keys()
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return names
        if cls.__name__ == 'CheckpointHook':
            return names
    return set()
