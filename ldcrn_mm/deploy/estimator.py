"""Puts an exported network into the pose estimator of MMPose.

The estimator still does everything else: normalisation, flip test, decoding, and the
mapping of keypoints into the picture.
"""

import inspect
from functools import lru_cache
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
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.runtime = _open(path)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the network."""
        outputs = self.runtime(images.cpu().numpy())
        outputs = (outputs,) if isinstance(outputs, np.ndarray) else outputs
        return tuple(torch.from_numpy(output).to(images.device) for output in outputs)


@MODELS.register_module()
class ExportedHead(HeatmapHead):
    """The head of an exported network: no layers, and decoding unless it is done.

    Shape: heatmaps ``(N, K, H, W)``, or keypoints ``(N, K, 2)`` in pixels of the input
    and scores ``(N, K)``.
    """

    def predict(
        self, feats: tuple[Tensor, ...], data_samples: list, test_cfg: dict
    ) -> list[InstanceData]:
        """One instance per image, like the heads of MMPose return them.

        Raises:
            ValueError: if ``test_cfg`` asks for heatmaps that there are not.
        """
        if isinstance(feats, list) or len(feats) == 1:  # heatmaps, or two for the flip
            return super().predict(feats, data_samples, test_cfg)
        if test_cfg.get('output_heatmaps'):
            raise ValueError(
                'A network that was exported with --decode has no heatmaps to show. '
                'Export it without --decode.'
            )
        return [
            InstanceData(keypoints=keypoints[None], keypoint_scores=scores[None])
            for keypoints, scores in zip(*(each.cpu().numpy() for each in feats))
        ]


def use_exported(model: ConfigDict, path: str | Path) -> ConfigDict:
    """Config of the estimator that runs an exported network.

    The network is run once, on an empty image, to check that it fits.

    Args:
        model: config of the estimator that was exported, ``cfg.model``. It is not
            changed.
        path: the exported file.

    Returns:
        The config with backbone, neck and head replaced. The decoder of the head and
        ``test_cfg`` are kept.

    Raises:
        FileNotFoundError, ImportError: as :func:`~ldcrn_mm.deploy.open_runtime`.
        ValueError: as there, or if the file does not fit the config, returns NaN, or
            has its decoding in the graph while the config asks for the flip test, or
            if the head of the config has no heatmaps or no decoder.
    """
    head = _exported_head(model.head)
    runtime = _open(path)
    _check_shapes(runtime, head)
    if runtime.decoded and (model.get('test_cfg') or {}).get('flip_test'):
        raise ValueError(
            f'`{path}` was exported with --decode, but the flip test averages '
            'heatmaps. Export it without --decode, or test without the flip test: '
            '--cfg-options model.test_cfg.flip_test=False'
        )
    network = dict(type='ExportedNetwork', path=str(path))
    # update() would merge the settings of the old backbone into the new one.
    return ConfigDict({**model, 'backbone': network, 'neck': None, 'head': head})


def _open(path: str | Path) -> Runtime:
    """Opens a file once for the check and for the model, as it takes seconds."""
    return _open_version(str(path), Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _open_version(path: str, version: int) -> Runtime:
    return open_runtime(path)


def _exported_head(head: ConfigDict) -> ConfigDict:
    """What stays of a head, with the defaults of its class."""
    kind = MODELS.get(head.type)
    if kind is None or not issubclass(kind, HeatmapHead):
        raise ValueError(
            'An exported network replaces a HeatmapHead or a subclass of it, got '
            f'head.type={head.type}'
        )
    defaults = inspect.signature(kind).parameters
    channels, decoder = (
        head.get(name, defaults[name].default) for name in ('out_channels', 'decoder')
    )
    if decoder is None:
        raise ValueError(
            'The head in the config has no decoder, which finds keypoints on heatmaps. '
            'Set head.decoder to the codec of the training.'
        )
    return ConfigDict(
        type='ExportedHead',
        in_channels=channels,
        out_channels=channels,
        deconv_out_channels=None,
        final_layer=None,
        decoder=decoder,
    )


def _check_shapes(runtime: Runtime, head: ConfigDict) -> None:
    width, height = runtime.input_size
    outputs = runtime(np.zeros((1, 3, height, width), np.float32))
    shape = (2,) if runtime.decoded else tuple(head.decoder['heatmap_size'][::-1])
    expected = tuple(head.decoder['input_size']), (1, head.out_channels, *shape)
    found = runtime.input_size, np.shape(outputs[0] if runtime.decoded else outputs)
    if found != expected:
        raise ValueError(
            f'`{runtime.path}` takes images of {width}x{height} (width x height) and '
            f'returns the shape {found[1]}, but in the config the codec has input_size='
            f'{expected[0]}, and with out_channels={head.out_channels} the shape is '
            f'{expected[1]}. Use the config that it was exported with.'
        )
