"""From a checkpoint of a training to one for inference, with its model card.

::

    from ldcrn_mm.checkpoint.publish import publish

    published = publish('work_dirs/ldcrn_coco/epoch_400.pth', 'published/')
    print(published.checkpoint, published.metafile)
"""

import copy
import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.config import Config
from mmpose.apis import init_model
from torch import Tensor, nn

from .. import __version__
from ..models.original import COMMAND, is_original
from .card import CardFacts, metafile_entry, model_card
from .files import tensors_in
from .loading import load_weights
from .reading import read_checkpoint
from .training_log import read_log
from .writing import plain, to_bytes, write_whole

Which = Literal['model', 'ema']
Dtype = Literal['fp32', 'fp16']


# Of a training's meta, and of that of a file published or converted before
KEPT = ('converted_from', 'epoch', 'iter', 'seed', 'dataset_meta', 'cfg', 'weights')
# Of the machine it was trained on, and of no use elsewhere
LOCAL_SETTINGS = re.compile(r'^(work_dir|load_from|resume|launcher) = .*\n', re.M)


@dataclass(frozen=True)
class Published:
    """What :func:`publish` wrote, and what to add to the metafile.

    Attributes:
        checkpoint: ``NAME-HASH.pth``, with the first 8 digits of its SHA-256.
        card: ``NAME-HASH.md`` beside it.
        metafile: the model's entry for a metafile, YAML.
    """

    checkpoint: Path
    card: Path
    metafile: str


def publish(
    source: str | Path,
    target: str | Path,
    *,
    config: str | Path | None = None,
    log: str | Path | None = None,
    dtype: Dtype = 'fp32',
    weights: Which | None = None,
) -> Published:
    """Writes the weights of a training's checkpoint, and nothing else of it.

    The file needs PyTorch alone and no trust: ``torch.load(weights_only=True)``
    reads it. The same input gives the same file, byte by byte.

    Args:
        source: checkpoint of a training by MMEngine.
        target: ``NAME.pth``, or a folder for a file named as the config.
        config: the model's config, to check that the weights are its own.
        log: work dir or ``scalars.json`` of the training, for the card.
        dtype: ``'fp16'`` halves the file; models of any precision load it.
        weights: of a training with ``EMAHook``, the averages (``'ema'``, by
            default) or the ``'model'`` itself.

    Raises:
        FileNotFoundError: where a file to read does not exist.
        FileExistsError: where a file to write does, with other content.
        ValueError: where ``source`` is no checkpoint of a training, its weights
            are not finite or not those of ``config``, or ``log`` is no log.
    """
    training = read_log(log) if log else None
    checkpoint = read_checkpoint(source)
    cfg = Config.fromfile(config) if config else None
    published = _for_inference(checkpoint, source, cfg, dtype, weights)
    content = to_bytes(published)
    digest = hashlib.sha256(content).hexdigest()
    experiment = (checkpoint.get('meta') or {}).get('experiment_name')
    path = _path(target, config or experiment or source, digest)
    facts = CardFacts(
        file=path.name,
        content=content,
        sha256=digest,
        state_dict=published['state_dict'],
        meta=published['meta'],
        averaged='ema_state_dict' in checkpoint,
        config=_below_configs(config) if config else None,
        settings=cfg,
        log=training,
    )
    card = path.with_suffix('.md')
    _write_new({path: content, card: model_card(facts).encode()})
    return Published(path, card, metafile_entry(facts))


def _for_inference(
    checkpoint: Mapping[str, Any],
    source: object,
    cfg: Config | None,
    dtype: Dtype,
    weights: Which | None,
) -> dict[str, Any]:
    """The content of the file: ``meta`` and ``state_dict``."""
    which, state = _chosen(checkpoint, weights, source)
    state = _in_precision(state, dtype, source)
    known = dict(weights=which) | dict(checkpoint.get('meta') or {})
    if cfg is not None:
        model = _fitting_model(state, cfg, source)
        known = dict(dataset_meta=model.dataset_meta) | known
        known['cfg'] = cfg.pretty_text
    return dict(meta=_meta(known) | dict(dtype=dtype), state_dict=state)


def _chosen(
    checkpoint: Mapping[str, Any], weights: Which | None, source: object
) -> tuple[Which, Mapping[str, Tensor]]:
    """Which weights are published, and those.

    MMEngine's ``EMAHook`` swaps the two when it saves: ``state_dict`` has the
    averages, on which it validates too, and ``ema_state_dict`` the model.
    """
    state = checkpoint.get('state_dict')
    names = state if isinstance(state, Mapping) else checkpoint
    if is_original(str(name).removeprefix('module.') for name in names):
        raise ValueError(
            f'{source} is a checkpoint of the original LDCRN code. Convert it, and '
            f'publish what that writes:\n    {COMMAND}'
        )
    if not state:
        raise ValueError(
            f'{source} has no weights: expected a checkpoint of MMEngine, with '
            f'`state_dict`, but found the keys {", ".join(map(str, checkpoint))}.'
        )
    averaged = checkpoint.get('ema_state_dict')
    if weights == 'ema' and averaged is None:
        raise ValueError(f'{source} has no averaged weights: EMAHook was not used.')
    if averaged is None or weights != 'model':
        return ('model' if averaged is None else 'ema'), tensors_in(state, source)
    model = {n: tensor for n, tensor in averaged.items() if n.startswith('module.')}
    return 'model', tensors_in(model, source)


def _in_precision(
    state: Mapping[str, Tensor], dtype: Dtype, source: object
) -> OrderedDict[str, Tensor]:
    """The network's tensors, none of a teacher, in memory of their own.

    In half precision vectors stay as they are: they are few, and a variance of
    batch normalisation may be beyond its range.
    """
    result = OrderedDict()
    for name, tensor in state.items():
        if name.startswith('teacher.'):
            continue
        if tensor.is_floating_point():
            tensor = tensor.float()
            _require_finite(tensor, name, source, 'the training diverged')
            if dtype == 'fp16' and tensor.dim() > 1:
                tensor = tensor.half()
                _require_finite(tensor, name, source, 'it is too large for fp16')
        result[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
    return result


def _require_finite(tensor: Tensor, name: str, source: object, why: str) -> None:
    if not tensor.isfinite().all():
        raise ValueError(f'{name} in {source} is not finite (NaN or inf): {why}.')


def _fitting_model(
    state: Mapping[str, Tensor], cfg: Config, source: object
) -> nn.Module:
    """The config's model, which has all these weights and no others."""
    model = init_model(copy.deepcopy(cfg), device='cpu')
    load_weights(model, state, source)
    foreign = [name for name in state if name not in model.state_dict()]
    if foreign:
        raise ValueError(
            f'{len(foreign)} weights of {source} (such as {foreign[0]}) belong to no '
            'module of the model in the config.'
        )
    return model


def _meta(known: Mapping[str, Any]) -> dict[str, Any]:
    """What inference needs and what tells where the weights are from."""
    result = {key: known[key] for key in KEPT if known.get(key) is not None}
    if 'cfg' in result:
        result['cfg'] = LOCAL_SETTINGS.sub('', result['cfg'])
    result['versions'] = dict(
        ldcrn_mm=__version__,
        mmpose=_version('mmpose'),
        mmengine=_version('mmengine'),
        torch=str(torch.__version__),
    )
    try:
        return plain(result)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout on the path, say
        return 'unknown'


def _path(target: str | Path, named_after: str | Path, digest: str) -> Path:
    """Where to write, in the form by which ``torch.hub`` checks the hash."""
    target = Path(target)
    if target.suffix == '.pth':
        folder, name = target.parent, target.stem
    else:
        name = re.sub(r'_\d{8}_\d{6}$', '', Path(named_after).name)  # the time
        folder, name = target, re.sub(r'\.(py|pth)$', '', name)
    if '.' in name:
        raise ValueError(
            f'The name {name} has a dot in it, with which no tool of OpenMMLab finds '
            'the model. Give OUT another.'
        )
    return folder / f'{name}-{digest[:8]}.pth'


def _below_configs(config: str | Path) -> str:
    """Path of a config as metafiles write it, from ``configs`` on."""
    parts = Path(config).parts
    start = len(parts) - parts[::-1].index('configs') - 1 if 'configs' in parts else -1
    return Path(*parts[start:]).as_posix()


def _write_new(files: Mapping[Path, bytes]) -> None:
    for path, content in files.items():
        if path.exists() and not (path.is_file() and path.read_bytes() == content):
            raise FileExistsError(
                f'{path} exists with other content. Remove it, or write elsewhere.'
            )
    for path, content in files.items():
        write_whole(content, path)
