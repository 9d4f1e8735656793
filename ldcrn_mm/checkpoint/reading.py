"""Reading a checkpoint from wherever it is, without running code from it."""

import os
import re
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.error import URLError

import torch
from mmengine.runner import CheckpointLoader

from .zoo import SCHEME, locate

WEB = ('http://', 'https://')


def read_checkpoint(source: str | Path, map_location: Any = 'cpu') -> dict[str, Any]:
    """Reads the dict that a checkpoint is.

    Whatever loads the file, it is loaded with ``weights_only=True``: MMEngine
    leaves that to PyTorch's defaults, which for downloads is False. A download
    whose name ends in ``-HASH.pth`` has to have that hash.

    Args:
        source: path or address of the file: on the web, ``ldcrn_mm://NAME`` for
            a published one, or any other that MMEngine's CheckpointLoader takes.
        map_location: device of the tensors, as for :func:`torch.load`.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it is broken, or no checkpoint, or there is none
            published under this name.
    """
    source = find_checkpoint(source)
    try:
        content = _load(source, map_location)
    except URLError as error:
        raise FileNotFoundError(f'cannot download {source}: {error}') from error
    except OSError:
        raise
    except Exception as error:  # of any type, where the file is not torch's
        raise ValueError(
            f'`{source}` is broken, or no checkpoint that torch.load reads with '
            f'weights_only=True: {reason(error)}'
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f'`{source}` holds a {type(content).__name__}, not a dict. Expected a '
            'checkpoint, a dict of weights by their names.'
        )
    return content


def find_checkpoint(source: str | Path) -> str:
    """Path or address of a checkpoint that is there, or on the web.

    Args:
        source: as for :func:`read_checkpoint`.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where none is published under this name.
    """
    source = locate(str(source))
    if '://' not in source and not Path(source).expanduser().is_file():
        raise FileNotFoundError(
            f'checkpoint file not found: {source} (published ones, if that is '
            'one, go by ldcrn_mm://NAME)'
        )
    return source


@CheckpointLoader.register_scheme(SCHEME, force=True)
def load_from_zoo(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Lets MMEngine load ``ldcrn_mm://NAME`` wherever it loads a checkpoint."""
    return read_checkpoint(filename, map_location)


def _load(source: str, map_location: Any) -> Any:
    if source.startswith(WEB):
        return torch.hub.load_state_dict_from_url(
            source,
            map_location=map_location,
            check_hash=re.search(r'-[0-9a-f]{8,64}\.pth$', source) is not None,
            weights_only=True,
        )
    with mock.patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD='1'):
        os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None)
        return CheckpointLoader.load_checkpoint(source, map_location, logger='silent')


def reason(error: Exception) -> str:
    """What torch found, without its advice, which is to drop the protection."""
    text = str(error) or type(error).__name__
    found = re.search(r'(WeightsUnpickler|PytorchStreamReader).*', text)
    return (found or re.match('.*', text))[0].partition('. ')[0].rstrip(': ')
