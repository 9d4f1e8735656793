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

    MMEngine's ``AmpOptimWrapper`` needs a GPU. bfloat16 has the range of float32, so
    there is no loss scale. Weights, gradients and the optimizer's state stay float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass and the loss."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def cpu_computes_in(dtype: torch.dtype) -> bool:
    """Whether this CPU has instructions for convolutions in ``dtype``, by oneDNN.

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
    """Converts the model's weights to channels-last before it runs.

    PyTorch's convolutions take their layout from the weights, so the activations
    follow. The values are the same. It is faster on CPU, and on GPU with mixed
    precision.
    """

    def before_run(self, runner: Runner) -> None:
        """Converts the model and, of several processes, wraps it again."""
        if not is_model_wrapper(runner.model):
            runner.model.to(memory_format=torch.channels_last)
            return
        # The wrapper's buckets of gradients have the layout that the weights had.
        model = runner.model.module.to(memory_format=torch.channels_last)
        runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), model)
