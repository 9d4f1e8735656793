"""Training a small network with the heatmaps of a larger one.

References:
    [1] Zhang, Zhu, Ye: "Fast human pose estimation", CVPR 2019: the teacher's
        heatmaps as targets beside the annotated ones.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpose.models import HeatmapHead, TopdownPoseEstimator
from mmpose.registry import MODELS
from mmpose.utils.typing import SampleList
from torch import Tensor


@MODELS.register_module()
class DistilledPoseEstimator(TopdownPoseEstimator):
    """A top-down estimator that also learns a teacher's heatmaps.

    With ``L`` the head's loss and ``a`` the teacher's weight, training
    minimises ``(1 - a) L(heatmaps, annotated) + a L(heatmaps, teacher's)``.
    The first term counts annotated joints only, the second all of them.

    The teacher is frozen, in evaluation mode, and no part of this module:
    neither optimizers nor averages nor checkpoints see it, so a checkpoint is
    that of a plain ``TopdownPoseEstimator``. It is read when weights are
    initialised for training, and not for testing. (``DWPoseDistiller`` of
    MMPose is for SimCC heads and saves its teacher.)

    Args:
        *args: as for ``TopdownPoseEstimator``.
        teacher: config of the teacher, a file or ``'mmpose::folder/name.py'``;
            any model with a ``HeatmapHead`` (a subclass, too) for the same
            keypoints, size of heatmaps, codec and normalisation of images.
        teacher_checkpoint: its weights, a file or an address.
        teacher_weight: ``a``, from 0 to 1.
        **kwargs: as for ``TopdownPoseEstimator``.

    Raises:
        ValueError: where ``teacher_weight`` is outside its range, the student
            has no heatmaps or, when training begins, the teacher does not fit.
        FileNotFoundError: when training begins, where a file of the teacher
            is missing.
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
            raise ValueError(
                f'`teacher_weight` is a share, from 0 to 1, not {teacher_weight}.'
            )
        _require_heatmaps(self, 'the student')
        self.teacher_config = teacher
        self.teacher_checkpoint = teacher_checkpoint
        self.teacher_weight = teacher_weight

    @cached_property  # stored past nn.Module's bookkeeping: it is no submodule
    def teacher(self) -> TopdownPoseEstimator:
        """The trained network, built and loaded when it is first asked for."""
        model = MODELS.build(_read_config(self.teacher_config).model)
        _require_heatmaps(model, f'the teacher, {self.teacher_config},')
        _require_same_data(self, model)
        _require_file(self.teacher_checkpoint, 'checkpoint')
        load_checkpoint(model, self.teacher_checkpoint, map_location='cpu', strict=True)
        return model.requires_grad_(False).eval()

    def init_weights(self) -> None:
        """Initialises the student and reads the teacher: both before training."""
        super().init_weights()
        self.teacher  # noqa: B018

    def loss(self, inputs: Tensor, data_samples: SampleList) -> dict:
        """The two terms of the loss.

        Args:
            inputs: normalised images, (N, 3, H, W).
            data_samples: their annotated heatmaps.

        Returns:
            ``loss_kpt`` and ``loss_teacher``, each with its weight, and the
            head's ``acc_pose`` against the annotated heatmaps.
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


def _read_config(name: str) -> Config:
    if '::' in name:  # mmengine.hub.get_config would install what is missing
        return Config.fromstring(f'_base_ = {name!r}', '.py')
    _require_file(name, 'config')
    return Config.fromfile(name)


def _require_file(name: str, what: str) -> None:
    if '://' not in name and not Path(name).is_file():
        raise FileNotFoundError(
            f"the teacher's {what} is no file: {name}. Set `model.teacher` and "
            '`model.teacher_checkpoint` to a trained model, in the config or with '
            '--cfg-options.'
        )


def _require_heatmaps(model: TopdownPoseEstimator, who: str) -> None:
    if not isinstance(model.head, HeatmapHead) or model.head.decoder is None:
        raise ValueError(
            'DistilledPoseEstimator compares the heatmaps of two HeatmapHeads with '
            f'a decoder, but the head of {who} is {type(model.head).__name__}.'
        )


def _require_same_data(
    student: TopdownPoseEstimator, teacher: TopdownPoseEstimator
) -> None:
    """The same heatmaps for the same images, or an error that says what differs."""
    wanted, found = _heatmaps_of(student.head), _heatmaps_of(teacher.head)
    wrong = [
        f'{key} is {found[key]}, not {wanted[key]}'
        for key in wanted
        if found[key] != wanted[key]
    ]
    if not torch.equal(_normalised(student), _normalised(teacher)):
        wrong.append('data_preprocessor normalises images differently')
    if wrong:
        raise ValueError(
            "the teacher has to make the student's heatmaps from the student's "
            f'images, but its {"; its ".join(wrong)}. Take another teacher, or '
            "change the student's config."
        )


def _heatmaps_of(head: HeatmapHead) -> dict[str, Any]:
    """What the values of a head's heatmaps mean."""
    codec = head.decoder
    return dict(
        keypoints=head.out_channels,
        codec=type(codec).__name__,
        input_size=tuple(codec.input_size),
        heatmap_size=tuple(codec.heatmap_size),
        sigma=getattr(codec, 'sigma', None),
    )


def _normalised(model: TopdownPoseEstimator) -> Tensor:
    """What a model makes of pixels that are different in every channel."""
    pixels = torch.arange(0, 240, 20, dtype=torch.uint8).view(3, 2, 2)
    batch = dict(inputs=[pixels], data_samples=[])
    return model.data_preprocessor(batch)['inputs'].cpu()
