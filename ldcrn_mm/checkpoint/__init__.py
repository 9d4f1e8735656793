"""Checkpoints: files, conversion from the original code, published weights.

:mod:`.zoo` finds published weights by name, :mod:`.files` reads, loads and writes
checkpoints, :mod:`.convert` translates those of the original LDCRN code. Import
:mod:`.publish` by its own name.
"""

from ..models.original import mmpose_name, original_name
from .convert import (
    Weights,
    read_mmpose,
    read_original,
    to_mmpose,
    to_original,
    write_mmpose,
    write_original,
)
from .files import find_checkpoint, load_weights, read_checkpoint, weights_only
from .zoo import locate

__all__ = [
    'Weights',
    'find_checkpoint',
    'load_weights',
    'locate',
    'mmpose_name',
    'original_name',
    'read_checkpoint',
    'read_mmpose',
    'read_original',
    'to_mmpose',
    'to_original',
    'weights_only',
    'write_mmpose',
    'write_original',
]
