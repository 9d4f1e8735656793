"""Changes to a config, in place, between reading it and building the runner."""

import ctypes
import os
import signal
import sys
import warnings
from typing import Any
from unittest import mock

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing

from .precision import cpu_computes_in


def set_launcher(cfg: Config, launcher: str) -> None:
    """Makes ``cfg`` run under ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    The logged loss becomes the mean over all processes. On GPUs MMEngine does the
    rest. On CPUs it asks CUDA for a device whatever the backend, and gives
    DistributedDataParallel device ids that do not exist. So the processes are joined
    here, by gloo, and the model gets a wrapper for CPUs.
    """
    cfg.launcher = launcher
    if launcher == 'none':
        return
    _die_with_torchrun()
    add_hook(cfg, 'AverageLossHook')
    if get_device() == 'cpu':
        _join_on_cpu(cfg, launcher)


def rank(launcher: str) -> int:
    """This process's number, before the processes are joined.

    Raises:
        ValueError: nothing has launched this process.
    """
    names = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')
    if launcher == 'none':
        return 0
    if names[launcher] not in os.environ:
        raise ValueError(
            f'--launcher {launcher} expects {names[launcher]} in the environment, as '
            'torchrun, srun or mpirun sets it. Start with tools/dist_train.sh or '
            'tools/slurm_train.sh, or leave --launcher out.'
        )
    return int(os.environ[names[launcher]])


def _die_with_torchrun() -> None:
    """Lets Linux kill this process if torchrun is killed and cannot do it."""
    if sys.platform == 'linux' and 'TORCHELASTIC_RUN_ID' in os.environ:
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _join_on_cpu(cfg: Config, launcher: str) -> None:
    if not is_distributed():
        env = cfg.get('env_cfg', {})
        # In the runner's order, so that the processes join with this start method
        set_multi_processing(**env.get('mp_cfg', {}), distributed=True)
        options = {**env.get('dist_cfg', {}), 'backend': 'gloo'}
        with mock.patch.object(torch.cuda, 'set_device'):
            init_dist(launcher, **options)
    wrapper = cfg.setdefault('model_wrapper_cfg', ConfigDict())
    wrapper.setdefault('type', 'MMDistributedDataParallel')
    if type_name(wrapper) == 'MMDistributedDataParallel':
        wrapper.type = 'AnyDeviceDistributedDataParallel'
    # MMEngine's defaults, which it uses only if the config has no wrapper
    unused = cfg.get('find_unused_parameters', False)
    wrapper.setdefault('broadcast_buffers', False)
    wrapper.setdefault('find_unused_parameters', unused)


def type_name(part: dict[str, Any]) -> str:
    """Name of a part's ``type``, a class in pure-Python configs, or ``''`` for none."""
    kind = part.get('type', '')
    return kind if isinstance(kind, str) else kind.__name__


def add_hook(cfg: Config, kind: str) -> None:
    """Appends a custom hook of type ``kind``, unless the config has it already."""
    hooks = cfg.get('custom_hooks') or []
    if kind not in map(type_name, hooks):
        cfg.custom_hooks = [*hooks, dict(type=kind)]


def draw_in_all_processes(cfg: Config) -> None:
    """Makes MMPose's hook draw the people that every process tests."""
    hook = cfg.default_hooks.visualization
    if type_name(hook) == 'PoseVisualizationHook':
        hook.type = 'EveryProcessVisualizationHook'


def limit_waiting(cfg: Config, seconds: int = 600) -> None:
    """Ends a run whose data workers hang, where MMEngine would wait for ever."""
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader') or {}
        if loader.get('num_workers', 0) > 0:
            loader.setdefault('timeout', seconds)


def require_steps(runner: Runner) -> None:
    """Refuses epochs without a batch, which MMEngine would run through.

    Raises:
        ValueError: the training data do not fill one batch, and no other is taken.
    """
    if not runner.train_loop.max_iters:
        loader = runner.train_dataloader
        raise ValueError(
            f'an epoch has no step: {len(loader.dataset)} people do not fill a batch '
            f'of {loader.batch_size} in every process, and train_dataloader.drop_last '
            'leaves out smaller ones. Lower train_dataloader.batch_size.'
        )


def shorten_warm_up(runner: Runner) -> None:
    """Limits a warm-up, counted in iterations, to a tenth of a short training."""
    limit = max(1, runner.train_loop.max_iters // 10)
    for part in _schedulers(runner):
        if (
            type_name(part) in ('LinearLR', 'ConstantLR')
            and not part.get('by_epoch', True)
            and not part.get('begin')
            and part.get('end', 0) > limit
        ):
            runner.logger.info(
                f'The warm-up takes {limit} iterations instead of {part["end"]}: a '
                f'tenth of this training, which has {runner.max_iters}.'
            )
            part['end'] = limit


def compare_schedule(runner: Runner) -> None:
    """Warns of a learning rate that would still change after a new training."""
    for part in _schedulers(runner):
        unit = 'epochs' if part.get('by_epoch', True) else 'iters'
        last = getattr(runner.train_loop, f'max_{unit}')
        end = max(part.get('milestones') or [part.get('T_max') or part.get('end', 0)])
        if end > last:
            runner.logger.warning(
                f'The training ends after {last} {unit}, but the {type_name(part)} of '
                f'param_scheduler after {end}, so the rate is broken off. Set both '
                'alike.'
            )


def _schedulers(runner: Runner) -> list[dict[str, Any]]:
    """Those of the config, before they are built. Not those of several optimizers."""
    schedulers = runner.param_schedulers or []
    several = [schedulers] if isinstance(schedulers, dict) else schedulers
    return [part for part in several if 'type' in part]


def use_scaled_lr(cfg: Config) -> None:
    """Scales the learning rate with the batch size of all processes.

    Raises:
        ValueError: the config does not say which batch size its learning rate is for.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError(
            '--auto-scale-lr needs the batch size that the learning rate of the '
            'config is for: auto_scale_lr = dict(base_batch_size=...).'
        )
    cfg.auto_scale_lr.enable = True


def use_mixed_precision(cfg: Config) -> None:
    """Trains in float16 with a loss scale on GPU, in bfloat16 on CPU.

    Warns if the CPU has no instructions for bfloat16. oneDNN then imitates it, many
    times slower than float32.

    Raises:
        ValueError: the config's optimizer wrapper is neither MMEngine's plain one nor
            one for mixed precision.
    """
    wrapper = cfg.optim_wrapper
    kind = type_name({'type': 'OptimWrapper'} | wrapper)
    if kind in ('AmpOptimWrapper', 'BFloat16OptimWrapper'):
        return
    if kind != 'OptimWrapper':
        raise ValueError(
            f'--amp replaces OptimWrapper, but optim_wrapper.type is {kind!r}. Leave '
            '--amp out, or set the precision in the config.'
        )
    if get_device() != 'cpu':
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
        return
    wrapper.type = 'BFloat16OptimWrapper'
    if not cpu_computes_in(torch.bfloat16):
        warnings.warn(
            'This CPU cannot compute in bfloat16 and will imitate it, many times '
            'slower than float32. Leave --amp out here.',
            stacklevel=2,
        )
