"""Training on several processes: on CPUs too, with the loss of all of them."""

import os
from collections.abc import Sequence
from typing import Any
from unittest import mock

import torch
from mmengine.dist import all_reduce_dict, get_rank
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS  # the runner looks in this one only
from mmengine.runner import Runner
from mmpose.engine.hooks import PoseVisualizationHook
from mmpose.registry import HOOKS
from torch import Tensor, nn
from torch import distributed as dist


class SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes, in each of them.

    Every result depends on every input, so the gradient is the sum of the gradients of
    all results. (PyTorch's own function for this is deprecated.)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        """Sums over ``group``, ``None`` for all processes."""
        ctx.group = group
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Sums the gradients."""
        return SumOverProcesses.apply(grad, ctx.group), None


class CPUSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation with the statistics of all processes, on CPUs.

    PyTorch's own needs a GPU. Mean and variance are two sums over the samples of all
    processes, in float32 or wider. So outputs, gradients and running statistics are
    those of one process with the whole batch, also for shares of unequal size.

    Shape: ``(N, C, ...)`` to the same.
    """

    process_group: dist.ProcessGroup | None = None

    @classmethod
    def replace(cls, module: nn.Module) -> None:
        """Turns every ``nn.SyncBatchNorm`` inside ``module`` into this class.

        Only the class changes: parameters, buffers, settings and hooks stay.
        """
        for child in module.modules():
            if isinstance(child, nn.SyncBatchNorm):
                child.__class__ = cls

    def forward(self, x: Tensor) -> Tensor:
        """Normalises, in training with the statistics of all processes."""
        if not self.training or dist.get_world_size(self.process_group) == 1:
            return super().forward(x)
        across = [dim for dim in range(x.dim()) if dim != 1]
        per_channel = [1, -1] + [1] * (x.dim() - 2)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        count = wide.new_tensor([wide.numel() // wide.shape[1]])
        sums = self._sum(torch.cat([wide.sum(across), count]))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        centred = wide - mean.view(per_channel)
        var = self._sum(centred.square().sum(across)) / count
        if self.track_running_stats:
            self._track(mean.detach(), var.detach() * count / (count - 1))
        out = centred * (var + self.eps).rsqrt().view(per_channel)
        if self.affine:
            out = out * self.weight.view(per_channel) + self.bias.view(per_channel)
        return out.to(x.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accepts any number of dimensions."""

    def _sum(self, x: Tensor) -> Tensor:
        return SumOverProcesses.apply(x, self.process_group)

    def _track(self, mean: Tensor, var: Tensor) -> None:
        """Updates the running statistics as ``nn.BatchNorm2d`` does."""
        self.num_batches_tracked += 1
        momentum = self.momentum
        if momentum is None:  # the average over all steps
            momentum = 1 / self.num_batches_tracked.item()
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_(var.to(self.running_var), momentum)


@MODEL_WRAPPERS.register_module()
class AnyDeviceDistributedDataParallel(MMDistributedDataParallel):
    """MMEngine's wrapper, for models on CPUs too.

    On CPUs there are no device ids, and ``nn.SyncBatchNorm`` (from
    ``norm_cfg=dict(type='SyncBN')`` or ``sync_bn = 'torch'``) becomes
    :class:`CPUSyncBatchNorm`. On GPUs nothing differs.
    """

    def __init__(
        self, module: nn.Module, device_ids: list[int] | None = None, **kwargs: Any
    ) -> None:
        if next(module.parameters()).device.type == 'cpu':
            device_ids = None
            CPUSyncBatchNorm.replace(module)
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
