"""Checkpoint files: the forms in which they come and the forms written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmpose.datasets.datasets.utils import parse_pose_metainfo
from torch import Tensor

from .convert import SHOWN_NAMES, StateDict, to_mmpose, to_original
from .reading import read_checkpoint
from .writing import plain, to_bytes, write_whole

DATASETS = {17: 'coco', 16: 'mpii'}  # by number of joints


@dataclass(frozen=True)
class Weights:
    """What was read from a checkpoint file.

    Attributes:
        state_dict: the tensors by the names in the file, without ``module.``.
        source: where in the file they stood, in words.
        info: what else the file says of them: ``epoch``, ``perf``.
    """

    state_dict: StateDict
    source: str
    info: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        """Source, sizes and info in one line, of weights that fit the network."""
        parameters = sum(
            tensor.numel()
            for name, tensor in self.state_dict.items()
            if name.endswith(('.weight', '.bias'))
        )
        joints = next(
            len(tensor)
            for name, tensor in self.state_dict.items()
            if name.endswith('final_layer.weight')
        )
        about = ''.join(f', {key} {value}' for key, value in self.info.items())
        return (
            f'{self.source}{about}; {len(self.state_dict)} tensors, '
            f'{parameters:,} parameters, {joints} joints'
        )


def read_original(path: str | Path, which: Literal['best', 'last'] = 'best') -> Weights:
    """Reads a file that the original code wrote.

    It writes bare state dicts (``model_best.pth``, ``final_state.pth``) and
    training checkpoints (``checkpoint.pth``), which hold two.

    Args:
        path: the file.
        which: the state dict of a training checkpoint to take: its
            ``best_state_dict`` or its ``state_dict``, the last one.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is none of these forms.
    """
    content = read_checkpoint(path)
    if 'meta' in content:
        raise ValueError(
            f'{path} is already a checkpoint of MMPose. To write the original '
            "code's form, use --reverse."
        )
    if not {'state_dict', 'best_state_dict'} & set(content):
        return Weights(tensors_in(content, path), 'a bare state dict')
    key = {'best': 'best_state_dict', 'last': 'state_dict'}[which]
    if key not in content:
        raise ValueError(
            f'{path} is a training checkpoint without {key!r}, only with '
            f'{_listing(content)}. Choose the other weights with --which.'
        )
    info = {k: plain(content[k]) for k in ('epoch', 'perf') if k in content}
    return Weights(
        tensors_in(content[key], path), f'{key!r} of a training checkpoint', info
    )


def read_mmpose(path: str | Path) -> Weights:
    """Reads the weights of a checkpoint in MMPose's form.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is no such checkpoint.
    """
    content = read_checkpoint(path)
    if 'state_dict' not in content:
        raise ValueError(
            f'{path} is no checkpoint of MMPose: one is a dict with `meta` and '
            f'`state_dict`, but this holds {_listing(content)}.'
        )
    return Weights(
        tensors_in(content['state_dict'], path), "'state_dict' of an MMPose checkpoint"
    )


def tensors_in(content: Any, path: str | Path) -> StateDict:
    """A state dict, with ``module.`` of ``DataParallel`` taken from its names."""
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor)
        for name, value in content.items()
    ):
        raise ValueError(
            f'{path} holds no state dict: expected tensors by name, but found '
            f'{_listing(content)}.'
        )
    return {name.removeprefix('module.'): tensor for name, tensor in content.items()}


def _listing(content: Any) -> str:
    if not isinstance(content, Mapping):
        return type(content).__name__
    names = [str(name) for name in content]
    more = f', ... ({len(names)} in all)' if len(names) > SHOWN_NAMES else ''
    return f'the keys {", ".join(names[:SHOWN_NAMES])}{more}'


def write_mmpose(weights: Weights, path: str | Path) -> dict[str, Any]:
    """Writes the original's weights as a checkpoint of MMPose.

    Its ``meta`` holds plain types only, so that ``torch.load`` reads it whatever
    is imported; for COCO's 17 and MPII's 16 joints it describes the data set,
    as MMPose's own checkpoints do.

    Returns:
        The ``meta`` written.

    Raises:
        ValueError: as :func:`to_mmpose`.
    """
    state_dict = to_mmpose(weights.state_dict)
    meta: dict[str, Any] = dict(converted_from='the original LDCRN', **weights.info)
    dataset = DATASETS.get(len(state_dict['head.final_layer.weight']))
    if dataset:
        config = f'configs/_base_/datasets/{dataset}.py'
        meta['dataset_meta'] = plain(parse_pose_metainfo(dict(from_file=config)))
    write_whole(to_bytes(dict(meta=meta, state_dict=state_dict)), path)
    return meta


def write_original(weights: Weights, path: str | Path) -> None:
    """Writes our weights as a bare state dict of the original code.

    Raises:
        ValueError: as :func:`to_original`.
    """
    write_whole(to_bytes(to_original(weights.state_dict)), path)
