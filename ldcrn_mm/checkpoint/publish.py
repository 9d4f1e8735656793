"""Publishing a checkpoint: its inference weights, a card and a metafile entry."""

import copy
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from posixpath import join
from typing import Any, Literal, NamedTuple

import torch
import yaml
from mmengine.config import Config
from mmpose.apis import init_model
from torch import Tensor

from .. import __version__
from ..models.original import COMMAND, is_original
from . import files
from .zoo import SCHEME

# Never a config: MMEngine runs the one that it finds in a checkpoint.
KEPT_META = ('converted_from', 'epoch', 'iter', 'seed', 'dataset_meta', 'weights')
UNKNOWN = 'unknown'
BUFFERS = ('.running_mean', '.running_var', '.num_batches_tracked')


class Published(NamedTuple):
    """File ``NAME-HASH.pth``, a model card to start from, an entry for a metafile."""

    path: Path
    card: str
    metafile: str


def publish(
    source: str | Path,
    target: str | Path,
    *,
    config: str | Path | None = None,
    validations: Mapping[int, Mapping[str, float]] | None = None,
    dtype: Literal['fp32', 'fp16'] = 'fp32',
    weights: Literal['model', 'ema'] | None = None,
) -> Published:
    """Strips a training checkpoint down to its inference weights.

    Bare PyTorch reads the file with ``weights_only=True``. The same checkpoint and
    options give the same bytes.

    Args:
        source: checkpoint of a training by MMEngine.
        target: ``NAME.pth``, or a folder for a file named after the config.
        config: the model's config. The weights must fit it.
        validations: metrics by epoch, see :func:`ldcrn_mm.report.read_log`.
        dtype: ``'fp16'`` halves the file. Vectors stay in fp32.
        weights: of a training with ``EMAHook`` the averages (``'ema'``, the default)
            or the ``'model'``.

    Raises:
        FileNotFoundError: if ``source`` does not exist.
        FileExistsError: if the file to write exists with other content.
        ValueError: if ``source`` is not a checkpoint of a training, or its weights
            are not finite or do not fit ``config``.
    """
    checkpoint = files.read_checkpoint(source)
    trained = checkpoint.get('meta') or {}
    which, state = _chosen(checkpoint, source, weights)
    state = _in_precision(state, source, dtype)
    kept = {k: trained[k] for k in KEPT_META if trained.get(k) is not None}
    meta = dict(weights=which) | kept
    settings = Config.fromfile(config) if config else Config()
    if config:
        model = init_model(copy.deepcopy(settings), device='cpu')
        files.load_weights(model, state, source, exact=True)
        meta.setdefault('dataset_meta', model.dataset_meta)
    versions = dict(ldcrn_mm=__version__, torch=str(torch.__version__))
    meta |= dict(dtype=dtype, versions=versions)
    content = files.to_bytes(dict(meta=files.plain(meta), state_dict=state))
    digest = hashlib.sha256(content).hexdigest()
    path = _path(target, config or trained.get('experiment_name') or source, digest)
    if path.exists() and not (path.is_file() and path.read_bytes() == content):
        raise FileExistsError(
            f'{path} exists with other content. Remove it, or write elsewhere.'
        )
    files.write_whole(content, path)
    metrics = (validations or {}).get(meta.get('epoch'), {})
    if which == 'model' and 'ema_state_dict' in checkpoint:
        metrics = {}  # the training validated its averages
    return Published(path, *_describe(path, digest, settings, state, meta, metrics))


def _chosen(
    checkpoint: Mapping[str, Any], source: object, weights: str | None
) -> tuple[str, Mapping[str, Tensor]]:
    """Which weights are published, and their state dict.

    MMEngine's ``EMAHook`` swaps the two when it saves: ``state_dict`` has the
    averages, and ``ema_state_dict`` the model.
    """
    state = files.tensors_in(checkpoint.get('state_dict') or checkpoint, source)
    if is_original(state):
        raise ValueError(
            f'{source} is a checkpoint of the original LDCRN code. Convert it, and '
            f'publish the result:\n    {COMMAND}'
        )
    if 'ema_state_dict' not in checkpoint:
        if weights == 'ema':
            raise ValueError(f'{source} has no averaged weights: EMAHook was not used.')
        return 'model', state
    if weights != 'model':
        return 'ema', state
    state = files.tensors_in(checkpoint['ema_state_dict'], source)
    state.pop('steps', None)  # the hook's counter
    return 'model', state


def _in_precision(
    state: Mapping[str, Tensor], source: object, dtype: str
) -> dict[str, Tensor]:
    """The tensors of the network without a teacher, in memory of their own.

    In half precision vectors stay as they are: they are few, and a variance of
    batch normalization may exceed its range.
    """
    state = {n: t for n, t in state.items() if not n.startswith('teacher.')}
    files.require_finite(state, source)
    result = {}
    for name, tensor in state.items():
        if tensor.is_floating_point():
            half = dtype == 'fp16' and tensor.dim() > 1
            tensor = tensor.half() if half else tensor.float()
        result[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
    files.require_finite(result, source, f'they are too large for {dtype}')
    return result


def _path(target: str | Path, source: str | Path, digest: str) -> Path:
    """``NAME-HASH.pth``, by which ``torch.hub`` checks a download."""
    target = Path(target)
    if target.suffix == '.pth':
        folder, name = target.parent, target.stem
    else:
        name = re.sub(r'_\d{8}_\d{6}$', '', Path(source).name)  # MMEngine's time
        folder, name = target, re.sub(r'\.(py|pth)$', '', name)
    if '.' in name:
        raise ValueError(
            f'The name {name} has a dot in it, so OpenMMLab would not find the model. '
            'Give OUT another name.'
        )
    return folder / f'{name}-{digest[:8]}.pth'


def _describe(
    path: Path,
    digest: str,
    settings: Config,
    state: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    metrics: Mapping[str, float],
) -> tuple[str, str]:
    """The start of a model card, and an entry for a metafile."""
    # Metafiles call `coco/AP .5` `AP@0.5`.
    short = {n.rpartition('/')[2].replace(' .', '@0.'): v for n, v in metrics.items()}
    results = {
        'Dataset': _data(settings, 'val_dataloader'),
        'Metrics': {name: round(value, 4) for name, value in short.items()},
        'Task': 'Body 2D Keypoint',
    }
    trained = [t.numel() for n, t in state.items() if not n.endswith(BUFFERS)]
    metadata = {
        'Training Data': _data(settings, 'train_dataloader'),
        'Parameters': sum(trained),
        'Epochs': meta.get('epoch'),
    }
    entry = {
        'Name': path.name.rpartition('-')[0],
        'Config': _config(settings),
        'In Collection': 'LDCRN',
        'Metadata': metadata,
        'Results': [results] if metrics else None,
        'Weights': f'{SCHEME}{path.name}',
    }
    measured = ', '.join(f'{name} {value:.4f}' for name, value in short.items())
    card = f"""\
# {entry['Name']}

* File: `{path.name}`, SHA-256 `{digest}`
* Config: `{entry['Config']}`
* Data: `{metadata['Training Data']}`
* Weights: {meta['weights']} after epoch {metadata['Epochs']}, {meta['dtype']}
* Validation, before any rounding to fp16: {measured or UNKNOWN}
* Licence: FILL IN (of the weights, and what the data allow)
"""
    return card, yaml.safe_dump([entry], sort_keys=False)


def _config(settings: Config) -> str:
    """Path of the config as metafiles have it, from ``configs`` on."""
    path = Path(settings.filename or UNKNOWN)
    below = re.search('(?:.*/|^)(configs/.+)', path.as_posix())
    return below[1] if below else path.name


def _data(settings: Config, loader: str) -> str:
    dataset = (settings.get(loader) or {}).get('dataset', {})
    dataset = dataset.get('dataset', dataset)  # of RepeatDataset
    parts = dataset.get('datasets', [dataset])  # of CombinedDataset
    paths = [join(x.get('data_root') or '', x.get('ann_file') or '') for x in parts]
    return ', '.join(filter(None, paths)) or UNKNOWN
