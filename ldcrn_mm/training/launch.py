"""What happens between reading a config and building the runner."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed
from mmengine.utils.dl_utils import set_multi_processing

from .precision import cpu_computes_in


def set_launcher(cfg: Config, launcher: str) -> None:
    """Makes ``cfg`` run under ``launcher``, on CPUs with gloo.

    On GPUs the logged loss becomes that of all processes, and MMEngine does
    the rest. On CPUs it asks CUDA for a device whatever the backend, and
    gives DistributedDataParallel device ids that do not exist, so the
    processes are joined here and the model gets a wrapper that knows CPUs.

    Args:
        cfg: the run's config, changed in place.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
    """
    cfg.launcher = launcher
    if launcher == 'none':
        return
    add_hook(cfg, 'AverageLossHook')
    if get_device() == 'cpu':
        _join_on_cpu(cfg, launcher)


def _join_on_cpu(cfg: Config, launcher: str) -> None:
    if not is_distributed():
        env = cfg.get('env_cfg', {})
        # In this order as in the runner, so that joining finds a start method.
        set_multi_processing(**env.get('mp_cfg', {}), distributed=True)
        options = {**env.get('dist_cfg', {}), 'backend': 'gloo'}
        with mock.patch.object(torch.cuda, 'set_device'):
            init_dist(launcher, **options)
    wrapper = cfg.setdefault('model_wrapper_cfg', ConfigDict())
    if wrapper.get('type', 'MMDistributedDataParallel') == 'MMDistributedDataParallel':
        wrapper.type = 'AnyDeviceDistributedDataParallel'
    # MMEngine's defaults, which it applies only where no wrapper is configured.
    wrapper.setdefault('broadcast_buffers', False)
    wrapper.setdefault(
        'find_unused_parameters', cfg.get('find_unused_parameters', False)
    )


@contextmanager
def weights_only() -> Iterator[None]:
    """Lets no checkpoint run code, whoever loads it: neither file nor download.

    MMEngine leaves that to PyTorch, which by default protects for files, but not for
    downloads. Whoever sets PyTorch's switch TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD trusts
    what is loaded, and goes without.
    """
    trusted = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' in os.environ
    protection = {} if trusted else {'TORCH_FORCE_WEIGHTS_ONLY_LOAD': '1'}
    with mock.patch.dict(os.environ, protection):
        yield


def add_hook(cfg: Config, kind: str) -> None:
    """Appends a custom hook, unless the config has it already.

    Args:
        cfg: the run's config, changed in place.
        kind: the hook's type.
    """
    hooks = cfg.get('custom_hooks') or []
    if all(hook['type'] != kind for hook in hooks):
        cfg.custom_hooks = [*hooks, dict(type=kind)]


def use_scaled_lr(cfg: Config) -> None:
    """Scales the learning rate with the batch size of all processes.

    Args:
        cfg: the run's config, changed in place.

    Raises:
        ValueError: where the config does not say which batch size its
            learning rate is for.
    """
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ValueError(
            '--auto-scale-lr needs the batch size that the learning rate of the '
            'config is for: auto_scale_lr = dict(base_batch_size=...).'
        )
    cfg.auto_scale_lr.enable = True


def use_mixed_precision(cfg: Config) -> None:
    """Trains in float16 with a loss scale on GPU, in bfloat16 on CPU.

    Warns where the CPU has no instructions for bfloat16: oneDNN then falls back
    on code that is many times slower than float32.

    Args:
        cfg: the run's config, changed in place.

    Raises:
        ValueError: where the config's optimizer wrapper is neither MMEngine's
            plain one nor one for mixed precision.
    """
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind in ('AmpOptimWrapper', 'BFloat16OptimWrapper'):
        return
    if kind != 'OptimWrapper':
        raise ValueError(
            '--amp replaces OptimWrapper, but `optim_wrapper.type` is '
            f'{kind!r}. Leave --amp out, or set the precision in the config.'
        )
    if get_device() == 'cpu':
        cfg.optim_wrapper.type = 'BFloat16OptimWrapper'
        if not cpu_computes_in(torch.bfloat16):
            warnings.warn(
                'This CPU cannot compute in bfloat16 and will imitate it, many times '
                'slower than float32. Leave --amp out here.',
                stacklevel=2,
            )
    else:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
