"""Checkpoints of the original LDCRN code, converted to MMPose's form and back.

Both codes hold the same tensors in the same shapes; only their names differ. So
the table in :mod:`.names` is the whole conversion. :mod:`.convert` applies it
and checks that every tensor is used once and fits, :mod:`.files` reads the forms
in which checkpoints come.
"""

from .convert import to_mmpose, to_original
from .files import Weights, read_mmpose, read_original, write_mmpose, write_original
from .names import mmpose_name, original_name, refuse_original

__all__ = [
    'Weights',
    'mmpose_name',
    'original_name',
    'read_mmpose',
    'read_original',
    'refuse_original',
    'to_mmpose',
    'to_original',
    'write_mmpose',
    'write_original',
]
