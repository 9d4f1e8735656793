"""An exported network in place of the modules that it was made from.

MMPose's own estimator goes on to do everything else: normalisation, flip test,
decoding, and the way back into the picture.
"""

import inspect
from pathlib import Path

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from mmpose.models.heads import HeatmapHead
from mmpose.registry import MODELS
from torch import Tensor

from .opening import open_runtime


@MODELS.register_module()
class ExportedNetwork(BaseModule):
    """An exported network as the backbone of an MMPose estimator.

    Shape: ``(N, 3, H, W)`` to a tuple of the network's outputs, on the device
    of the input.

    Args:
        path: the file, see :func:`~ldcrn_mm.deploy.open_runtime`.
        precision: of the computation.
        num_threads: of the CPU.
        init_cfg: not used; the weights are in the file.
    """

    def __init__(
        self,
        path: str | Path,
        precision: str | None = None,
        num_threads: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.runtime = open_runtime(path, precision, num_threads)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the network."""
        outputs = self.runtime(images.cpu().numpy())
        outputs = (outputs,) if isinstance(outputs, np.ndarray) else outputs
        return tuple(torch.from_numpy(output).to(images.device) for output in outputs)


@MODELS.register_module()
class DecodedHead(BaseModule):
    """Hands on the keypoints of a network that has decoded its heatmaps.

    Shape: keypoints ``(N, K, 2)`` in pixels of the input, scores ``(N, K)``.

    Raises:
        ValueError: from ``predict``, where heatmaps are wanted.
    """

    def predict(
        self, feats: tuple[Tensor, Tensor], data_samples: list, test_cfg: dict
    ) -> list[InstanceData]:
        """One instance an image, as MMPose's heads return them."""
        if test_cfg.get('output_heatmaps'):
            raise ValueError(
                'A network that was exported with its decoding has no heatmaps to '
                'show. Export it without --decode.'
            )
        return [
            InstanceData(
                keypoints=keypoints[None].cpu().numpy(),
                keypoint_scores=scores[None].cpu().numpy(),
            )
            for keypoints, scores in zip(*feats)
        ]


def use_exported(
    model: ConfigDict,
    path: str | Path,
    precision: str | None = None,
    num_threads: int | None = None,
) -> ConfigDict:
    """Config of the estimator that runs an exported network.

    Args:
        model: config of the estimator that was exported, ``cfg.model``; stays
            as it is.
        path: the exported file.
        precision: of the computation, by default what the file was exported for.
        num_threads: of the CPU, by default the runtime's choice.

    Returns:
        The same with the backbone, neck and head replaced. The decoder and all
        of ``test_cfg`` are kept.

    Raises:
        FileNotFoundError, ImportError, ValueError: see
            :func:`~ldcrn_mm.deploy.open_runtime`.
        ValueError: where the file does not fit the config: of another size or
            number of keypoints, or decoded in the graph, while the flip test
            averages heatmaps; or where the head is none of heatmaps, or has no
            decoder.
    """
    runtime = open_runtime(path, precision, num_threads)
    head = model.head
    kind = MODELS.get(head.type)
    if kind is None or not issubclass(kind, HeatmapHead):
        raise ValueError(
            'An exported network can stand in for a HeatmapHead and what derives from '
            f'it, but the head in the config is {head.type}.'
        )
    head = _with_defaults(head, kind)
    if head.decoder is None:
        raise ValueError(
            'The head in the config has no decoder, which finds the keypoints on the '
            'heatmaps. Give it one: the codec that it was trained with.'
        )
    _check_size(runtime.input_size, head.decoder, path)
    if runtime.num_keypoints not in (None, head.out_channels):
        raise ValueError(
            f'`{path}` finds {runtime.num_keypoints} keypoints, but the head in the '
            f'config has out_channels={head.out_channels}.'
        )
    if runtime.decoded:
        _check_no_flip_test(model.get('test_cfg') or {}, path)
        decode = dict(type='DecodedHead')
    else:
        decode = dict(  # without a layer: what is left is the decoding
            type='HeatmapHead',
            in_channels=head.out_channels,
            out_channels=head.out_channels,
            deconv_out_channels=None,
            final_layer=None,
            decoder=head.decoder,
        )
    network = dict(
        type='ExportedNetwork',
        path=str(path),
        precision=precision,
        num_threads=num_threads,
    )
    # Not by update(), which would merge the old backbone's settings into the new.
    return ConfigDict({**model, 'backbone': network, 'neck': None, 'head': decode})


def _with_defaults(head: ConfigDict, kind: type[HeatmapHead]) -> ConfigDict:
    """A head's config with what it leaves to the defaults of its class."""
    parameters = inspect.signature(kind).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return ConfigDict({**defaults, **head})


def _check_size(size: tuple[int, int], decoder: dict, path: str | Path) -> None:
    expected = tuple(decoder['input_size'])
    if size != expected:
        raise ValueError(
            f'`{path}` takes images of {size[0]}x{size[1]} (width x height), but the '
            f'codec of the config has input_size={expected}. Take the config that it '
            'was exported with.'
        )


def _check_no_flip_test(test_cfg: dict, path: str | Path) -> None:
    if test_cfg.get('flip_test'):
        raise ValueError(
            f'`{path}` was exported with its decoding, and the flip test averages '
            'heatmaps before they are decoded. Export it without --decode, or test '
            'without: --cfg-options model.test_cfg.flip_test=False'
        )
