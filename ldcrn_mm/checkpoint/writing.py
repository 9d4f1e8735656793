"""Writing checkpoints that bare PyTorch reads with ``weights_only=True``."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.fileio import LocalBackend, register_backend


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """The local file system, with files that appear whole or not at all.

    MMEngine writes a checkpoint straight to its name, so a run that is killed
    meanwhile leaves a broken file under it.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes beside ``filepath``, flushes to disk, then renames."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
        try:
            with partial.open('wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """``value`` of Python's own types: lists and numbers for what is numpy's.

    Raises:
        TypeError: where something in it is neither a number, text, list, dict
            nor an array of these.
    """
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        f'The meta of a checkpoint holds a {type(value).__name__}, which has no plain '
        'form. Expected numbers, text, lists, dicts and arrays of these.'
    )


def to_bytes(content: dict[str, Any]) -> bytes:
    """The file of a checkpoint; the same content gives the same bytes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def write_whole(content: bytes, path: str | Path) -> None:
    """Writes a file that appears whole or not at all, and its folder."""
    AtomicLocalBackend().put(content, path)
