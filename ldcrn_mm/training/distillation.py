"""Training a small network with the heatmaps of a larger one.

References:
    Zhang, Zhu, Ye: "Fast human pose estimation", CVPR 2019: the teacher's heatmaps
    as targets beside the annotated ones.
"""

from functools import cached_property
from typing import Any

import torch
from mmengine.config import Config
from mmpose.models import HeatmapHead, TopdownPoseEstimator
from mmpose.registry import MODELS
from mmpose.utils.typing import SampleList
from torch import Tensor

from ..checkpoint import load_weights, read_checkpoint


@MODELS.register_module()
class DistilledPoseEstimator(TopdownPoseEstimator):
    """A top-down estimator that also learns a teacher's heatmaps.

    With ``L`` the head's loss and ``a`` the teacher's weight, training minimises
    ``(1 - a) L(heatmaps, annotated) + a L(heatmaps, teacher's)``. The first term
    counts annotated joints only, the second all joints.

    The teacher is frozen, in evaluation mode, and no submodule. Optimizers, averages
    and checkpoints do not see it, so a checkpoint is that of a plain
    ``TopdownPoseEstimator``. It is loaded for training only. (MMPose's
    ``DWPoseDistiller`` is for SimCC heads and saves its teacher.)

    Args:
        *args: as for ``TopdownPoseEstimator``.
        teacher: config of the teacher, a file or ``'mmpose::folder/name.py'``: any
            model with a ``HeatmapHead`` or a subclass for the same keypoints, size of
            heatmaps, codec and normalisation of images.
        teacher_checkpoint: its weights, a file, an address or ``ldcrn_mm://NAME``.
        teacher_weight: ``a``, from 0 to 1.
        **kwargs: as for ``TopdownPoseEstimator``.

    Raises:
        ValueError: ``teacher_weight`` is outside its range, the student has no
            heatmaps or, when training begins, the teacher does not fit.
        FileNotFoundError: when training begins, a file of the teacher is missing.
    """

    def __init__(
        self,
        *args: Any,
        teacher: str,
        teacher_checkpoint: str,
        teacher_weight: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= teacher_weight <= 1:
            raise ValueError(f'teacher_weight must be in [0, 1], got {teacher_weight}.')
        _require_heatmaps(self, 'the student')
        self.teacher_config = teacher
        self.teacher_checkpoint = teacher_checkpoint
        self.teacher_weight = teacher_weight

    @cached_property  # which nn.Module does not see as a submodule
    def teacher(self) -> TopdownPoseEstimator:
        """The trained network, built and loaded at the first access."""
        name = self.teacher_config
        if '::' in name:  # mmengine.hub.get_config would install what is missing
            cfg = Config.fromstring(f'_base_ = {name!r}', '.py')
        else:
            cfg = Config.fromfile(name)
        model = MODELS.build(cfg.model)
        _require_heatmaps(model, f'the teacher, {name},')
        _require_same_data(self, model)
        source = self.teacher_checkpoint
        load_weights(model, read_checkpoint(source), source, owner='the teacher')
        return model.requires_grad_(False).eval()

    def init_weights(self) -> None:
        """Initialises the student and loads the teacher, before training."""
        super().init_weights()
        self.teacher  # noqa: B018

    def loss(self, inputs: Tensor, data_samples: SampleList) -> dict:
        """The two terms of the loss.

        Args:
            inputs: normalised images, (N, 3, H, W).
            data_samples: their annotated heatmaps.

        Returns:
            ``loss_kpt`` and ``loss_teacher``, each with its weight, and the head's
            ``acc_pose`` against the annotated heatmaps.
        """
        feats = self.extract_feat(inputs)
        losses = self.head.loss(feats, data_samples, train_cfg=self.train_cfg)
        heatmaps = self.head(feats)
        teacher = self.teacher.to(inputs.device)
        taught = teacher.head(teacher.extract_feat(inputs))
        agreement = self.head.loss_module(heatmaps, taught)
        losses['loss_kpt'] = (1 - self.teacher_weight) * losses['loss_kpt']
        losses['loss_teacher'] = self.teacher_weight * agreement
        return losses


def _require_heatmaps(model: TopdownPoseEstimator, who: str) -> None:
    if not isinstance(model.head, HeatmapHead) or model.head.decoder is None:
        raise ValueError(
            'DistilledPoseEstimator expects a HeatmapHead with a decoder, but the '
            f'head of {who} is {type(model.head).__name__}.'
        )


def _require_same_data(
    student: TopdownPoseEstimator, teacher: TopdownPoseEstimator
) -> None:
    """Checks that both make the same kind of heatmaps from the same images."""
    expected, found = _data_of(student), _data_of(teacher)
    wrong = [
        f'{key} is {found[key]}, not {expected[key]}'
        for key in expected
        if found[key] != expected[key]
    ]
    if wrong:
        raise ValueError(
            "the teacher must make the student's heatmaps from the student's images, "
            f'but its {"; its ".join(wrong)}. Choose another teacher, or change the '
            "student's config."
        )


def _data_of(model: TopdownPoseEstimator) -> dict[str, Any]:
    """What a model's images and heatmaps stand for."""
    codec = model.head.decoder
    pixels = torch.arange(0, 240, 20, dtype=torch.uint8).view(3, 2, 2)
    batch = model.data_preprocessor(dict(inputs=[pixels], data_samples=[]))
    return dict(
        keypoints=model.head.out_channels,
        codec=type(codec).__name__,
        input_size=tuple(codec.input_size),
        heatmap_size=tuple(codec.heatmap_size),
        sigma=getattr(codec, 'sigma', None),
        normalisation=batch['inputs'].flatten().tolist(),
    )
