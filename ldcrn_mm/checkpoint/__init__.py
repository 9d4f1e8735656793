"""Checkpoints: read, loaded, converted from the original code's, and published.

Both codes hold the same tensors in the same shapes; only their names differ. So
the table in :mod:`.names` is the whole conversion. :mod:`.convert` applies it
and checks that every tensor is used once and fits, :mod:`.files` reads the forms
in which checkpoints come. :mod:`.publish`, which is not imported with the
package, makes a checkpoint for inference of one of a training.
"""

from ..models.original import mmpose_name, original_name, refuse_original
from .convert import to_mmpose, to_original
from .files import Weights, read_mmpose, read_original, write_mmpose, write_original
from .loading import load_weights
from .reading import find_checkpoint, read_checkpoint
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
    'refuse_original',
    'to_mmpose',
    'to_original',
    'write_mmpose',
    'write_original',
]
