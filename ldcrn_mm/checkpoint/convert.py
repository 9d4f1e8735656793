"""Checkpoints of the original LDCRN code, converted to MMPose's form and back.

Both codes hold the same tensors in the same shapes under other names. The table of
the names is in :mod:`ldcrn_mm.models.original`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import MODELS
from torch import Tensor

from ..models.original import mmpose_name, original_name
from . import files

StateDict = dict[str, Tensor]
DATASETS = {17: 'coco', 16: 'mpii'}  # by number of joints


@dataclass(frozen=True)
class Weights:
    """Weights read from a checkpoint file.

    Attributes:
        state_dict: the tensors by their names in the file, without ``module.``.
        source: where in the file they are, in words.
        info: ``epoch`` and ``perf`` if the file has them.
    """

    state_dict: StateDict
    source: str
    info: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        """Source, info and number of tensors in one line."""
        about = ''.join(f', {key} {value}' for key, value in self.info.items())
        return f'{self.source}{about}, {len(self.state_dict)} tensors'


def read_original(path: str | Path, which: Literal['best', 'last'] = 'best') -> Weights:
    """Reads a file of the original code.

    Args:
        path: a bare state dict (``model_best.pth``, ``final_state.pth``) or a
            training checkpoint (``checkpoint.pth``), which holds two.
        which: ``best_state_dict`` or ``state_dict`` of a training checkpoint.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is neither.
    """
    content = files.read_checkpoint(path)
    if 'meta' in content:
        raise ValueError(
            f'{path} is already a checkpoint of MMPose. To write the original '
            "code's form, use --reverse."
        )
    if not {'state_dict', 'best_state_dict'} & set(content):
        return Weights(files.tensors_in(content, path), 'a bare state dict')
    key = {'best': 'best_state_dict', 'last': 'state_dict'}[which]
    if key not in content:
        raise ValueError(
            f'{path} is a training checkpoint without {key!r}, found '
            f'{files.kind_of(content)}. Choose the other weights with --which.'
        )
    info = {k: files.plain(content[k]) for k in ('epoch', 'perf') if k in content}
    state_dict = files.tensors_in(content[key], path)
    return Weights(state_dict, f'{key!r} of a training checkpoint', info)


def read_mmpose(path: str | Path) -> Weights:
    """Reads the weights of a checkpoint in MMPose's form.

    Raises:
        FileNotFoundError, ValueError: as :func:`read_original`.
    """
    content = files.read_checkpoint(path)
    if 'state_dict' not in content:
        raise ValueError(
            f'{path} is not a checkpoint of MMPose: expected a dict with `meta` and '
            f'`state_dict`, found {files.kind_of(content)}.'
        )
    state_dict = files.tensors_in(content['state_dict'], path)
    return Weights(state_dict, "'state_dict' of an MMPose checkpoint")


def write_mmpose(weights: Weights, path: str | Path) -> dict[str, Any]:
    """Writes the original's weights as a checkpoint of MMPose.

    Bare PyTorch reads it. With COCO's 17 or MPII's 16 joints its ``meta`` describes
    the data set, as in MMPose's checkpoints.

    Returns:
        The ``meta``.

    Raises:
        ValueError: as :func:`to_mmpose`.
    """
    state_dict = to_mmpose(weights.state_dict)
    meta: dict[str, Any] = dict(converted_from='the original LDCRN', **weights.info)
    dataset = DATASETS.get(len(state_dict['head.final_layer.weight']))
    if dataset:
        config = f'configs/_base_/datasets/{dataset}.py'
        meta['dataset_meta'] = files.plain(parse_pose_metainfo(dict(from_file=config)))
    files.write_whole(files.to_bytes(dict(meta=meta, state_dict=state_dict)), path)
    return meta


def write_original(weights: Weights, path: str | Path) -> None:
    """Writes our weights as a bare state dict of the original code.

    Raises:
        ValueError: as :func:`to_original`.
    """
    files.write_whole(files.to_bytes(to_original(weights.state_dict)), path)


def to_mmpose(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Renames the tensors of the original's state dict to ours.

    Args:
        state_dict: the original's, without ``module.`` before the names.

    Raises:
        ValueError: if it has not exactly the tensors of the paper's network.
    """
    ours = {mmpose_name(name) or name: tensor for name, tensor in state_dict.items()}
    _check(ours, 'the original LDCRN')
    return ours


def to_original(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Renames the tensors of our state dict to the original's.

    Raises:
        ValueError: as :func:`to_mmpose`.
    """
    _check(state_dict, 'LDCRN in MMPose')
    return {original_name(name): tensor for name, tensor in state_dict.items()}


def _check(state_dict: Mapping[str, Tensor], owner: str) -> None:
    last = state_dict.get('head.final_layer.weight')
    num_joints = len(last) if last is not None and last.dim() else 17
    network = MODELS.build(
        dict(
            _scope_='mmpose',
            type='TopdownPoseEstimator',
            backbone=dict(type='LDCRN'),
            neck=dict(type='PyramidFusionNeck'),
            head=dict(type='LDCRNHead', out_channels=num_joints),
        )
    )
    files.load_weights(network, state_dict, 'the file', exact=True, owner=owner)
