"""Training on several processes: on CPUs too, with the loss of all of them."""

import os
from collections.abc import Sequence
from typing import Any
from unittest import mock

from mmengine.dist import all_reduce_dict, get_rank
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.registry import MODEL_WRAPPERS  # the runner looks in this one only
from mmengine.runner import Runner
from mmpose.engine.hooks import PoseVisualizationHook
from mmpose.registry import HOOKS
from torch import Tensor, nn


@MODEL_WRAPPERS.register_module()
class AnyDeviceDistributedDataParallel(MMDistributedDataParallel):
    """MMEngine's wrapper, for models on CPUs too.

    On CPUs there are no device ids, and PyTorch has no ``nn.SyncBatchNorm``: it becomes
    plain batch norm, as in MMEngine's training on one CPU. On GPUs nothing differs.
    """

    def __init__(
        self, module: nn.Module, device_ids: list[int] | None = None, **kwargs: Any
    ) -> None:
        if next(module.parameters()).device.type == 'cpu':
            device_ids, module = None, revert_sync_batchnorm(module)
        super().__init__(module, device_ids=device_ids, **kwargs)


@HOOKS.register_module()
class AverageLossHook(Hook):
    """Logs the mean of the losses over all processes, not the first's."""

    priority = 'HIGHEST'  # before RuntimeInfoHook passes the values to the log

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Tensor] | None = None,
    ) -> None:
        """Replaces the values of ``outputs``."""
        means = {name: value.detach() for name, value in (outputs or {}).items()}
        if means:
            all_reduce_dict(means, op='mean')
            outputs.update(means)


@HOOKS.register_module()
class EveryProcessVisualizationHook(PoseVisualizationHook):
    """MMPose's hook, which draws the people of the first process only, for all.

    Pictures of the other processes have the number of the process in their names.
    """

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence
    ) -> None:
        """Draws what this process has tested."""
        draw, rank = self._visualizer.add_datasample, get_rank()

        def draw_here(*args: Any, out_file: str | None = None, **kwargs: Any) -> None:
            if out_file and rank:
                stem, suffix = os.path.splitext(out_file)
                out_file = f'{stem}_process{rank}{suffix}'
            draw(*args, out_file=out_file, **kwargs)

        with (
            mock.patch('mmengine.dist.utils.is_main_process', return_value=True),
            mock.patch.object(self._visualizer, 'add_datasample', draw_here),
        ):
            super().after_test_iter(runner, batch_idx, data_batch, outputs)
