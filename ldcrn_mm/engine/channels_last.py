"""Channels-last memory layout for training and testing."""

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpose.registry import HOOKS


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
