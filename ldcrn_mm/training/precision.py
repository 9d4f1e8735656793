"""Mixed precision without a GPU, and the channels-last memory layout."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmpose.registry import HOOKS, OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Runs the forward pass under bfloat16 autocast, on CPU or GPU.

    MMEngine's ``AmpOptimWrapper`` insists on a GPU. bfloat16 has float32's
    range, so there is no loss scale; weights, their gradients and the
    optimizer's state stay float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass and the loss."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def cpu_computes_in(dtype: torch.dtype) -> bool:
    """Whether oneDNN, which does PyTorch's convolutions on CPU, does them so here.

    Args:
        dtype: float32, bfloat16 or float16.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if dtype == torch.float16:
        return torch.ops.mkldnn._is_mkldnn_fp16_supported()
    return True


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lays the model's weights out channels-last before it runs.

    PyTorch's convolutions take their layout from the weights, so the
    activations follow. The values are the same; on CPU (and with mixed
    precision on GPU) it is faster.
    """

    def before_run(self, runner: Runner) -> None:
        """Converts the model and, of several processes, wraps it anew."""
        if not is_model_wrapper(runner.model):
            runner.model.to(memory_format=torch.channels_last)
            return
        # A wrapper lays its buckets of gradients out as the weights were.
        model = runner.model.module.to(memory_format=torch.channels_last)
        runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), model)
