import os
import select
import socket
import sys
import time
import warnings
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper, ConstantLR, OptimWrapper
from torch import distributed as dist
from torch.utils.data import DataLoader

from ldcrn_mm.training import launch


@pytest.fixture
def alone(monkeypatch):
    """What a launcher tells the only process of a job."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    variables = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    variables |= dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1')
    variables |= dict(SLURM_PROCID='0', SLURM_LOCALID='0', SLURM_NTASKS='1')
    variables |= dict(SLURM_NODELIST='node', OMPI_COMM_WORLD_LOCAL_RANK='0')
    variables |= dict(OMPI_COMM_WORLD_SIZE='1', OMPI_COMM_WORLD_RANK='0')
    variables |= dict(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    start_method = torch.multiprocessing.get_start_method(allow_none=True)
    yield
    torch.multiprocessing.set_start_method(start_method, force=True)
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.fixture
def on_gpu(monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')


def launched(launcher, **cfg):
    cfg = Config(cfg)
    launch.set_launcher(cfg, launcher)
    return cfg


@pytest.mark.parametrize(
    ('launcher', 'name'), [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID')]
)
def test_a_process_that_nothing_launched_has_no_rank(monkeypatch, launcher, name):
    monkeypatch.setenv(name, '3')
    assert (launch.rank(launcher), launch.rank('none')) == (3, 0)
    monkeypatch.delenv(name)
    with pytest.raises(ValueError, match=f'{launcher} expects {name}'):
        launch.rank(launcher)


def test_a_single_process_is_left_alone():
    hooks = [dict(type='EMAHook')]
    cfg = launched('none', custom_hooks=hooks)
    assert cfg.to_dict() == dict(custom_hooks=hooks, launcher='none')
    assert not dist.is_initialized()


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_cpus_are_joined_by_gloo_with_the_settings_of_the_config(alone, launcher):
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.*start method.*')
        cfg = launched(
            launcher,
            env_cfg=dict(
                dist_cfg=dict(backend='nccl', timeout=7),
                mp_cfg=dict(mp_start_method='fork'),
            ),
        )
    assert cfg.launcher == launcher
    assert cfg.custom_hooks == [dict(type='AverageLossHook')]
    assert dist.get_backend() == 'gloo'
    gloo = dist.group.WORLD._get_backend(torch.device('cpu'))
    assert gloo.options._timeout == timedelta(seconds=7)
    assert torch.multiprocessing.get_start_method() == 'fork'


OURS, OTHER = 'AnyDeviceDistributedDataParallel', 'MMSeparateDistributedDataParallel'


@pytest.mark.parametrize(
    ('cfg', 'kind', 'unused'),
    [
        (dict(), OURS, False),
        (dict(find_unused_parameters=True), OURS, True),
        (dict(model_wrapper_cfg=dict(find_unused_parameters=True)), OURS, True),
        (dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel')), OURS, False),
        (dict(model_wrapper_cfg=dict(type=MMDistributedDataParallel)), OURS, False),
        (dict(model_wrapper_cfg=dict(type=OTHER)), OTHER, False),
    ],
)
def test_on_cpus_the_model_gets_a_wrapper_for_them(alone, cfg, kind, unused):
    wrapper = launched('pytorch', **cfg).model_wrapper_cfg
    assert wrapper == dict(
        type=kind, find_unused_parameters=unused, broadcast_buffers=False
    )


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems cannot do this')
def test_a_worker_dies_with_torchrun(monkeypatch):
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'some')
    alive, ready = os.pipe(), os.pipe()
    torchrun = os.fork()
    if not torchrun and not os.fork():  # the worker
        launch._die_with_torchrun()
        os.write(ready[1], b'.')
        time.sleep(60)
        os._exit(0)
    if not torchrun:
        os.read(ready[0], 1)
        os._exit(0)
    os.waitpid(torchrun, 0)
    os.close(alive[1])
    ended, _, _ = select.select([alive[0]], [], [], 10)
    assert ended  # nobody has the other end any more


def test_gpus_are_left_to_mmengine(on_gpu):
    cfg = launched('pytorch')
    hooks = [dict(type='AverageLossHook')]
    assert cfg.to_dict() == dict(launcher='pytorch', custom_hooks=hooks)
    assert not dist.is_initialized()


@pytest.mark.parametrize('hook', ['EMAHook', EMAHook])
def test_a_hook_is_added_once_and_after_the_others(hook):
    cfg = Config(dict(custom_hooks=[dict(type=hook)]))
    for kind in ('ChannelsLastHook', 'ChannelsLastHook', 'EMAHook'):
        launch.add_hook(cfg, kind)
    assert [part.type for part in cfg.custom_hooks] == [hook, 'ChannelsLastHook']


def mixed(**wrapper):
    cfg = Config(dict(optim_wrapper=wrapper))
    launch.use_mixed_precision(cfg)
    return cfg.optim_wrapper


PLAIN = [dict(optimizer=dict(type='Adam')), dict(type='OptimWrapper')]
PLAIN += [dict(type=OptimWrapper)]  # of a pure-Python config


@pytest.mark.parametrize('native', [True, False])
@pytest.mark.parametrize('wrapper', PLAIN)
def test_mixed_precision_is_bfloat16_on_cpus(monkeypatch, wrapper, native):
    monkeypatch.setattr(launch, 'cpu_computes_in', lambda dtype: native)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        assert mixed(**wrapper) == wrapper | dict(type='BFloat16OptimWrapper')
    assert ['Leave --amp out' in str(warning.message) for warning in said] == (
        [] if native else [True]
    )


@pytest.mark.parametrize('wrapper', PLAIN)
def test_mixed_precision_is_float16_with_a_loss_scale_on_gpus(on_gpu, wrapper):
    expected = wrapper | dict(type='AmpOptimWrapper', loss_scale='dynamic')
    assert mixed(**wrapper) == expected


@pytest.mark.parametrize(
    'kind', ['AmpOptimWrapper', AmpOptimWrapper, 'BFloat16OptimWrapper']
)
def test_a_config_with_mixed_precision_is_left_alone(kind):
    assert mixed(type=kind, loss_scale=512.0) == dict(type=kind, loss_scale=512.0)


def test_mixed_precision_does_not_replace_another_wrapper():
    with pytest.raises(ValueError, match=r"'ApexOptimWrapper'.*Leave --amp out"):
        mixed(type='ApexOptimWrapper')


def test_the_learning_rate_is_scaled_from_the_batch_size_of_the_config():
    cfg = Config(dict(auto_scale_lr=dict(base_batch_size=128)))
    launch.use_scaled_lr(cfg)
    assert cfg.auto_scale_lr == dict(base_batch_size=128, enable=True)
    for without in (dict(), dict(auto_scale_lr=None)):
        with pytest.raises(ValueError, match='base_batch_size'):
            launch.use_scaled_lr(Config(without))


@pytest.mark.parametrize(
    ('changes', 'end'),
    [
        (dict(), 3),
        (dict(end=3), 3),
        (dict(end=2), 2),
        (dict(type=ConstantLR), 3),
        (dict(by_epoch=True), 100),
        (dict(begin=5), 100),  # no warm-up
        (dict(type='CosineAnnealingLR'), 100),
    ],
)
def test_a_warm_up_takes_at_most_a_tenth_of_a_training(changes, end):
    warm_up = dict(type='LinearLR', begin=0, end=100, by_epoch=False) | changes
    others = [dict(type='MultiStepLR', milestones=[3])]
    said = []
    runner = SimpleNamespace(
        max_iters=30,
        train_loop=SimpleNamespace(max_iters=30),
        param_schedulers=[warm_up, *others],
        logger=SimpleNamespace(info=said.append),
    )
    launch.shorten_warm_up(runner)
    assert warm_up['end'] == end
    assert len(said) == (end != (dict(end=100) | changes)['end'])


@pytest.mark.parametrize(
    ('part', 'words'),
    [
        (dict(type='CosineAnnealingLR', end=4), []),
        (dict(type='CosineAnnealingLR', end=5), ['4 epochs', 'Cosine', 'after 5']),
        (dict(type='CosineAnnealingLR', T_max=5), ['after 5']),
        (dict(type='MultiStepLR', milestones=[3, 4], end=9), []),
        (dict(type='MultiStepLR', milestones=[3, 6], end=4), ['after 6']),
        (dict(type='LinearLR', by_epoch=False, end=30), []),
        (dict(type=ConstantLR, by_epoch=False, end=31), ['30 iters', 'ConstantLR']),
        (dict(first=[]), []),  # of several optimizers
    ],
)
def test_a_schedule_longer_than_the_training_is_said(part, words):
    said = []
    launch.compare_schedule(
        SimpleNamespace(
            train_loop=SimpleNamespace(max_epochs=4, max_iters=30),
            param_schedulers=part if 'first' in part else [part],
            logger=SimpleNamespace(warning=said.append),
        )
    )
    assert len(said) == bool(words)
    assert all(word in said[0] for word in words)


def test_epochs_without_a_step_are_refused():
    loader = DataLoader(range(3), batch_size=4, drop_last=True)
    for steps in (1, 0):
        loop = SimpleNamespace(max_iters=steps)
        runner = SimpleNamespace(train_loop=loop, train_dataloader=loader)
        with nullcontext() if steps else pytest.raises(ValueError, match='batch of 4'):
            launch.require_steps(runner)


def test_data_workers_are_not_waited_for_for_ever():
    loaders = [dict(num_workers=2), dict(num_workers=2, timeout=7), dict(num_workers=0)]
    names = [f'{split}_dataloader' for split in ('train', 'val', 'test')]
    cfg = Config(dict(zip(names, loaders)))
    launch.limit_waiting(cfg)
    assert [cfg[name].get('timeout') for name in names] == [600, 7, None]
