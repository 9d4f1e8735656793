"""Training on several processes: on CPUs as on GPUs, with the loss of all."""

from typing import Any

import torch
from mmengine.dist import all_reduce_dict
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS  # the runner looks in this one only
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import Tensor, nn
from torch import distributed as dist


class SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes, in each of them.

    Every process's result depends on every process's input, so the gradient
    is the sum of the results' gradients.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        """The sum over ``group``, ``None`` for all processes."""
        ctx.group = group
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """The sum of the gradients of all results."""
        return SumOverProcesses.apply(grad, ctx.group), None


class CPUSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation with the statistics of all processes, on CPUs.

    PyTorch's refuses tensors that are not on a GPU, and its
    DistributedDataParallel refuses PyTorch's. Mean and variance are two
    passes of sums over all processes' samples, in float32 or wider, so the
    outputs, the gradients and the running statistics are those of one process
    with the whole batch, whether or not the shares are of equal size.

    Shape: ``(N, C, ...)`` to the same.
    """

    process_group: dist.ProcessGroup | None = None

    @classmethod
    def replace(cls, module: nn.Module) -> None:
        """Turns every ``nn.SyncBatchNorm`` inside ``module`` into this class.

        They keep their parameters, buffers, settings and hooks: only the
        class changes, and with it the forward pass.
        """
        for child in module.modules():
            if isinstance(child, nn.SyncBatchNorm):
                child.__class__ = cls

    def forward(self, x: Tensor) -> Tensor:
        """Normalises, while training with the statistics of all processes."""
        if not self.training or dist.get_world_size(self.process_group) == 1:
            return super().forward(x)
        across = [dim for dim in range(x.dim()) if dim != 1]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        count = wide.new_tensor([wide.numel() // wide.shape[1]])
        sums = self._sum(torch.cat([wide.sum(across), count]))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        per_channel = [1, -1] + [1] * (x.dim() - 2)
        centred = wide - mean.view(per_channel)
        var = self._sum(centred.square().sum(across)) / count
        if self.track_running_stats:
            self._track(mean.detach(), var.detach() * count / (count - 1))
        normed = centred * (var + self.eps).rsqrt().view(per_channel)
        if self.affine:
            normed = torch.addcmul(
                self.bias.view(per_channel), normed, self.weight.view(per_channel)
            )
        return normed.to(x.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions will do."""

    def _sum(self, x: Tensor) -> Tensor:
        return SumOverProcesses.apply(x, self.process_group)

    def _track(self, mean: Tensor, var: Tensor) -> None:
        """Moves the running statistics as ``nn.BatchNorm2d`` does."""
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
    """Logs the mean over all processes of the losses, instead of the first's.

    With shares of equal size that is the loss of the whole batch.
    """

    priority = 'HIGHEST'  # before RuntimeInfoHook hands the values to the log

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
