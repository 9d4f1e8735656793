"""Checkpoint files: read without running code, loaded strictly, written whole."""

import functools
import hashlib
import io
import os
import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os.path import expanduser, isfile
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.model import is_model_wrapper
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from .zoo import SCHEME, locate

HASH = re.compile(r'-([0-9a-f]{8,64})\.pth$')  # NAME-HASH.pth, as in torch.hub
TIMEOUT = 30  # seconds that a server may stay silent


def find_checkpoint(source: str | Path) -> str:
    """Path of a checkpoint file that exists, or an address.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_checkpoint`.
    """
    source = locate(str(source))
    if '://' not in source and not isfile(expanduser(source)):
        raise FileNotFoundError(
            f'checkpoint file not found: {source} (published weights: {SCHEME}NAME)'
        )
    return source


def read_checkpoint(source: str | Path, map_location: Any = 'cpu') -> dict[str, Any]:
    """Reads a checkpoint, always with ``weights_only=True``.

    A file with the name ``NAME-HASH.pth`` must have this SHA-256.

    Args:
        source: path, web address, ``ldcrn_mm://NAME`` of published weights, or
            another address that MMEngine's ``CheckpointLoader`` knows.
        map_location: device of the tensors, as for :func:`torch.load`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is broken or not a checkpoint, or if no weights are
            published under this name.
    """
    source = find_checkpoint(source)
    try:
        content = _load(source, map_location)
    except (TimeoutError, URLError) as error:
        raise FileNotFoundError(f'cannot download {source}: {error}') from error
    except Exception as error:  # torch.load raises any type on a broken file
        if isinstance(error, OSError) and error.filename:
            raise
        raise ValueError(
            f'`{source}` is broken or not a checkpoint that torch.load reads with '
            f'weights_only=True: {reason(error)}'
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f'`{source}` holds a {type(content).__name__}. Expected a checkpoint, a '
            'dict of weights by name.'
        )
    return content


@CheckpointLoader.register_scheme(SCHEME, force=True)
def load_from_zoo(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Lets MMEngine load ``ldcrn_mm://NAME`` wherever it loads a checkpoint."""
    return read_checkpoint(filename, map_location)


@contextmanager
def weights_only() -> Iterator[None]:
    """Lets no checkpoint run code, neither a file nor a download.

    MMEngine leaves this to PyTorch, which protects by default for files but not for
    downloads. PyTorch's switch ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD`` turns it off.
    """
    trusted = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' in os.environ
    protection = {} if trusted else {'TORCH_FORCE_WEIGHTS_ONLY_LOAD': '1'}
    with mock.patch.dict(os.environ, protection):
        yield


def _load(source: str, map_location: Any) -> Any:
    on_the_web = source.startswith(('http://', 'https://'))
    if '://' in source and not on_the_web:
        with mock.patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD='1'):
            os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None)
            return CheckpointLoader.load_checkpoint(source, map_location, 'silent')
    path = place_of_download(source) if on_the_web else Path(expanduser(source))
    is_new = on_the_web and not path.exists()
    if is_new:
        _download(source, path)
    try:
        _check_file(path)
        return torch.load(path, map_location, weights_only=True)
    except Exception:
        if is_new:  # broken off, or an error page: the next call asks again
            path.unlink(missing_ok=True)
        raise


def place_of_download(address: str) -> Path:
    """The file in torch.hub's cache. Without a hash in its name it is the address's."""
    folder = Path(torch.hub.get_dir(), 'checkpoints')
    name = Path(urlsplit(address).path).name
    if not _hash_in(name):
        folder /= hashlib.sha256(address.encode()).hexdigest()[:16]
    return folder / name


def _download(address: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # PyTorch would wait for ever for a server that does not answer.
    limited = functools.partial(urlopen, timeout=TIMEOUT)
    with mock.patch('torch.hub.urlopen', limited):
        torch.hub.download_url_to_file(address, str(path), _hash_in(path.name))


def _hash_in(name: str) -> str | None:
    """The start of a SHA-256 in the name of a file. Digits alone may be a date."""
    found = HASH.search(name)
    return found[1] if found and not found[1].isdigit() else None


def _check_file(path: Path) -> None:
    """Refuses a file with another hash than in its name, and a zip bomb."""
    if named := _hash_in(path.name):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[: len(named)]
        if digest != named:
            raise ValueError(
                f'its SHA-256 starts with {digest}, not with {named} as in its name '
                '(get the file again, or rename it if you changed it)'
            )
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > path.stat().st_size:  # torch.save does not compress
            raise ValueError(f'it is compressed and unpacks to {unpacked:,} bytes')


def reason(error: Exception) -> str:
    """What PyTorch found, without its advice to drop the protection."""
    text = str(error) or type(error).__name__
    found = re.search(r'(WeightsUnpickler|PytorchStreamReader).*', text)
    first = (found or re.match('.*', text))[0].partition('. ')[0].rstrip(': ')
    few_types = torch.__version__ < (2, 6) and 'Unsupported' in text
    return f'{first} (torch 2.6 and newer know more types)' if few_types else first


def tensors_in(content: Any, source: object) -> OrderedDict[str, Tensor]:
    """A state dict without the ``module.`` of ``DataParallel`` in its names.

    Raises:
        ValueError: if ``content`` is something else.
    """
    valid = isinstance(content, Mapping) and all(
        isinstance(name, str) and _is_dense(value) for name, value in content.items()
    )
    if not valid or not content:
        raise ValueError(
            f'`{source}` holds no state dict: expected dense tensors by name, found '
            f'{kind_of(content)}.'
        )
    state = OrderedDict((n.removeprefix('module.'), t) for n, t in content.items())
    state._metadata = getattr(content, '_metadata', OrderedDict())  # modules' versions
    return state


def _is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and not (
        value.is_sparse or value.is_quantized or value.is_complex() or value.is_meta
    )


def _fits(value: Tensor, own: Tensor) -> bool:
    """Whether a weight has the shape of the model's, and is no integer instead."""
    same_kind = value.is_floating_point() or not own.is_floating_point()
    return value.shape == own.shape and same_kind


def _form(value: Tensor) -> str:
    return f'{tuple(value.shape)} {value.dtype}'.replace(' torch.float32', '')


def kind_of(content: Any) -> str:
    """The type of a value, or the first keys of a dict, for error messages."""
    if not isinstance(content, Mapping):
        return type(content).__name__
    return f'the keys {", ".join(map(str, [*content][:6]))}' if content else 'no keys'


def require_finite(
    state_dict: Mapping[str, Tensor], source: object, why: str = 'the training diverged'
) -> None:
    """Raises ``ValueError`` if a tensor holds NaN or inf."""
    bad = [name for name, value in state_dict.items() if not value.isfinite().all()]
    if bad:
        raise ValueError(
            f'{len(bad)} weights of `{source}` are not finite (NaN or inf), such as '
            f'{bad[0]}: {why}.'
        )


def load_weights(
    model: nn.Module,
    checkpoint: Mapping[str, Any],
    source: object,
    exact: bool = False,
    owner: str = 'the model in the config',
) -> None:
    """Loads weights, all of which must fit and be finite.

    MMEngine's ``load_checkpoint`` only warns about weights that do not fit, and the
    model then predicts noise.

    Args:
        model: gets the weights, also if it is wrapped for several GPUs.
        checkpoint: a state dict, or a dict with one under ``state_dict``.
        source: where the checkpoint is from, for the error.
        exact: also refuse weights of modules that the model lacks altogether, such
            as a teacher. By default they are ignored.
        owner: what the model is, for the error.

    Raises:
        ValueError: counts the weights that are missing, unknown to the model, of
            another shape or not finite, with an example of each.
    """
    model = model.module if is_model_wrapper(model) else model
    state = tensors_in(checkpoint.get('state_dict', checkpoint), source)
    own = model.state_dict()
    misshapen = {
        name: f'{name} {_form(state.pop(name))} instead of {_form(value)}'
        for name, value in own.items()
        if name in state and not _fits(state[name], value)
    }
    require_finite({name: state[name] for name in own if name in state}, source)
    missing, unknown = model.load_state_dict(state, strict=False)
    problems = {
        'missing': [name for name in missing if name not in misshapen],
        'of another shape or type': [*misshapen.values()],
        'unknown': [n for n in unknown if exact or hasattr(model, n.split('.')[0])],
    }
    found = [f'{len(n)} {what} (such as {n[0]})' for what, n in problems.items() if n]
    if found:
        raise ValueError(
            f'`{source}` is no checkpoint of {owner}. Of {len(own)} weights expected: '
            f'{", ".join(found)}.'
        )


def starting_weights(
    model: nn.Module, checkpoint: Mapping[str, Any], source: object
) -> tuple[OrderedDict[str, Tensor], list[str]]:
    """Weights that a new training starts from: those of the backbone must fit.

    Other parts may differ, such as a head for other keypoints. They keep the model's.

    Args:
        model: is not changed.
        checkpoint: as for :func:`load_weights`.
        source: where the checkpoint is from, for the error.

    Returns:
        The model's state dict, from the checkpoint where it fits, and the names of the
        weights that do not.

    Raises:
        ValueError: says how many weights of each part fit, or which are not finite.
    """
    model = model.module if is_model_wrapper(model) else model
    state = tensors_in(checkpoint.get('state_dict', checkpoint), source)
    require_finite(state, source)
    own = model.state_dict()
    counted = [name for name in own if not name.endswith('num_batches_tracked')]
    new = [n for n in counted if n not in state or not _fits(state[n], own[n])]
    all_of, new_of = (Counter(n.split('.')[0] for n in ns) for ns in (counted, new))
    if new_of['backbone'] or len(new) == len(counted):
        fitting = [f'{all_of[p] - new_of[p]} of {all_of[p]} in {p}' for p in all_of]
        raise ValueError(
            f'`{source}` does not fit the model in the config. Expected all '
            'weights of the backbone (other parts may differ), found '
            f'{", ".join(fitting)}. The first that does not fit is {new[0]}.'
        )
    own.update({name: state[name] for name in (own.keys() & state.keys()) - {*new}})
    own._metadata = state._metadata
    return own, new


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """The local file system, where a file appears whole or not at all.

    MMEngine's backend writes straight to the final name, so a run that is killed
    meanwhile leaves a broken file.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes a file beside ``filepath``, flushes it to disk, then renames it."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
        try:
            with partial.open('wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            if error.errno and not error.filename:  # when the disk is full
                error.filename = str(path)
            raise
        finally:
            partial.unlink(missing_ok=True)


def write_whole(content: bytes, path: str | Path) -> None:
    """Writes a file, and its folder, that appears whole or not at all."""
    AtomicLocalBackend().put(content, path)


def to_bytes(content: dict[str, Any]) -> bytes:
    """A checkpoint as a file. Equal content gives equal bytes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def plain(value: Any) -> Any:
    """Numbers, text, lists and dicts of Python's types, for bare PyTorch to read.

    Raises:
        ValueError: if a part of ``value`` has no such form.
    """
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise ValueError(
        f'The meta of a checkpoint holds a {type(value).__name__}. Expected numbers, '
        'text, lists, dicts and arrays of these.'
    )
