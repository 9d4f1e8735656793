"""State dicts of the original to ours and back, every tensor checked."""

from collections.abc import Mapping

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

from ..models.original import mmpose_name, original_name

StateDict = dict[str, Tensor]
SHOWN_NAMES = 6


def to_mmpose(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Renames the tensors of the original's state dict to ours.

    Args:
        state_dict: the original's, without ``module.`` before the names.

    Raises:
        ValueError: lists the tensors that are missing, that belong to no
            LDCRN, and that have another shape.
    """
    num_joints = _num_joints(state_dict, 'final_layer.weight')
    shapes = {original_name(n): s for n, s in _shapes(num_joints).items()}
    _check(state_dict, shapes, 'the original LDCRN')
    return {mmpose_name(name): tensor for name, tensor in state_dict.items()}


def to_original(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Renames the tensors of our state dict to the original's.

    Raises:
        ValueError: as :func:`to_mmpose`.
    """
    shapes = _shapes(_num_joints(state_dict, 'head.final_layer.weight'))
    _check(state_dict, shapes, 'ldcrn_mm')
    return {original_name(name): tensor for name, tensor in state_dict.items()}


def _num_joints(state_dict: Mapping[str, Tensor], last_weight: str) -> int:
    """As many as the last layer has outputs; COCO's where it is missing."""
    shape = state_dict[last_weight].shape if last_weight in state_dict else (17,)
    return shape[0] if shape else 17


def _shapes(num_joints: int) -> dict[str, torch.Size]:
    """Our names and shapes of all tensors of the paper's network."""
    with torch.device('meta'):
        network: nn.Module = MODELS.build(
            dict(
                _scope_='mmpose',
                type='TopdownPoseEstimator',
                backbone=dict(type='LDCRN'),
                neck=dict(type='PyramidFusionNeck'),
                head=dict(type='LDCRNHead', out_channels=num_joints),
            )
        )
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def _check(
    state_dict: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], owner: str
) -> None:
    """Raises unless ``state_dict`` has exactly the tensors of ``shapes``."""
    problems = {
        'missing': [name for name in shapes if name not in state_dict],
        'not of this network': [name for name in state_dict if name not in shapes],
        'of another shape': [
            f'{name} {tuple(state_dict[name].shape)} instead of {tuple(shape)}'
            for name, shape in shapes.items()
            if name in state_dict and state_dict[name].shape != shape
        ],
    }
    if not any(problems.values()):
        return
    lines = [f'These weights are not those of the network of {owner}:']
    for problem, names in problems.items():
        if names:
            lines.append(f'{len(names)} tensors {problem}:')
            lines += [f'    {name}' for name in names[:SHOWN_NAMES]]
        if len(names) > SHOWN_NAMES:
            lines.append(f'    ... and {len(names) - SHOWN_NAMES} more')
    raise ValueError('\n'.join(lines))
