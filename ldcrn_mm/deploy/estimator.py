"""Puts an exported network into the pose estimator of MMPose.

The estimator still does everything else: normalisation, flip test, decoding, and the
mapping of keypoints into the picture.
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

from .runtime import Runtime, open_runtime


@MODELS.register_module()
class ExportedNetwork(BaseModule):
    """An exported network as the backbone of a pose estimator.

    Shape: ``(N, 3, H, W)`` to a tuple of the outputs of the network, on the device of
    the input.

    Args:
        path: the file, see :func:`~ldcrn_mm.deploy.open_runtime`.
        precision: of the computation.
        num_threads: CPU threads.
        init_cfg: not used, as the weights are in the file.
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
    """The head for a network that was exported with its decoding.

    Shape: keypoints ``(N, K, 2)`` in pixels of the input, scores ``(N, K)``.
    """

    def predict(
        self, feats: tuple[Tensor, Tensor], data_samples: list, test_cfg: dict
    ) -> list[InstanceData]:
        """One instance per image, like the heads of MMPose return them.

        Raises:
            ValueError: if ``test_cfg`` asks for heatmaps.
        """
        if test_cfg.get('output_heatmaps'):
            raise ValueError(
                'A network that was exported with --decode has no heatmaps to show. '
                'Export it without --decode.'
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

    The network is run once, on an empty image, to check that it fits.

    Args:
        model: config of the estimator that was exported, ``cfg.model``. It is not
            changed.
        path: the exported file.
        precision: of the computation. Defaults to that of the file.
        num_threads: CPU threads. Defaults to the choice of the runtime.

    Returns:
        The config with backbone, neck and head replaced. The decoder of the head and
        ``test_cfg`` are kept.

    Raises:
        FileNotFoundError, ImportError: as :func:`~ldcrn_mm.deploy.open_runtime`.
        ValueError: as there, or if the file does not fit the config, returns NaN, or
            has its decoding in the graph while the config asks for the flip test, or
            if the head of the config has no heatmaps or no decoder.
    """
    head = _heatmap_head(model.head)
    runtime = open_runtime(path, precision, num_threads)
    _check_shapes(runtime, head)
    if not runtime.decoded:
        decode = dict(  # a head without layers
            type='HeatmapHead',
            in_channels=head.out_channels,
            out_channels=head.out_channels,
            deconv_out_channels=None,
            final_layer=None,
            decoder=head.decoder,
        )
    elif (model.get('test_cfg') or {}).get('flip_test'):
        raise ValueError(
            f'`{path}` was exported with --decode, but the flip test averages '
            'heatmaps. Export it without --decode, or test without the flip test: '
            '--cfg-options model.test_cfg.flip_test=False'
        )
    else:
        decode = dict(type='DecodedHead')
    network = dict(
        type='ExportedNetwork',
        path=str(path),
        precision=precision,
        num_threads=num_threads,
    )
    # update() would merge the settings of the old backbone into the new one.
    return ConfigDict({**model, 'backbone': network, 'neck': None, 'head': decode})


def _heatmap_head(head: ConfigDict) -> ConfigDict:
    """The config of a head, with the defaults of its class."""
    kind = MODELS.get(head.type)
    if kind is None or not issubclass(kind, HeatmapHead):
        raise ValueError(
            'An exported network replaces a HeatmapHead or a subclass of it, got '
            f'head.type={head.type}'
        )
    parameters = inspect.signature(kind).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    head = ConfigDict({**defaults, **head})
    if head.decoder is None:
        raise ValueError(
            'The head in the config has no decoder, which finds keypoints on heatmaps. '
            'Set head.decoder to the codec of the training.'
        )
    return head


def _check_shapes(runtime: Runtime, head: ConfigDict) -> None:
    width, height = runtime.input_size
    size = tuple(head.decoder['input_size'])
    if size != runtime.input_size:
        raise ValueError(
            f'`{runtime.path}` takes images of {width}x{height} (width x height), but '
            f'the codec of the config has input_size={size}. Use the config that it '
            'was exported with.'
        )
    found = runtime(np.zeros((1, 3, height, width), np.float32))
    if runtime.decoded:
        found, expected = found[0].shape, (1, head.out_channels, 2)
    else:
        columns, rows = head.decoder['heatmap_size']
        found, expected = np.shape(found), (1, head.out_channels, rows, columns)
    if found != expected:
        raise ValueError(
            f'The output of `{runtime.path}` must have the shape {expected} for '
            f'out_channels={head.out_channels} and the codec of the config, got '
            f'{found}. Use the config that it was exported with.'
        )
