import socket
import warnings
from datetime import timedelta
from pickle import UnpicklingError

import pytest
import torch
from mmengine.config import Config
from torch import distributed as dist

from ldcrn_mm.training import launch


@pytest.fixture
def alone(monkeypatch):
    """What a launcher tells the only process of a job."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    monkeypatch.setenv('MASTER_PORT', str(port))
    variables = dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1')
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


def test_a_single_process_is_left_alone():
    cfg = Config(dict(custom_hooks=[dict(type='EMAHook')]))

    launch.set_launcher(cfg, 'none')

    assert cfg.to_dict() == dict(custom_hooks=[dict(type='EMAHook')], launcher='none')
    assert not dist.is_initialized()


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_cpus_are_joined_by_gloo(alone, launcher):
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl'))))

    launch.set_launcher(cfg, launcher)

    assert cfg.launcher == launcher
    assert dist.get_backend() == 'gloo'
    assert cfg.model_wrapper_cfg == dict(
        type='AnyDeviceDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=False,
    )


def test_the_timeout_of_the_config_holds_on_cpus(alone):
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl', timeout=7))))

    launch.set_launcher(cfg, 'pytorch')

    gloo = dist.group.WORLD._get_backend(torch.device('cpu'))
    assert gloo.options._timeout == timedelta(seconds=7)


def test_settings_of_the_wrapper_are_kept(alone):
    cfg = Config(
        dict(
            model_wrapper_cfg=dict(
                type='MMDistributedDataParallel', find_unused_parameters=True
            )
        )
    )

    launch.set_launcher(cfg, 'pytorch')

    assert cfg.model_wrapper_cfg.type == 'AnyDeviceDistributedDataParallel'
    assert cfg.model_wrapper_cfg.find_unused_parameters


def test_another_wrapper_is_kept(alone):
    cfg = Config(dict(model_wrapper_cfg=dict(type='MMSeparateDistributedDataParallel')))

    launch.set_launcher(cfg, 'pytorch')

    assert cfg.model_wrapper_cfg.type == 'MMSeparateDistributedDataParallel'


def test_unused_parameters_are_looked_for_where_the_config_says_so(alone):
    cfg = Config(dict(find_unused_parameters=True))

    launch.set_launcher(cfg, 'pytorch')

    assert cfg.model_wrapper_cfg.find_unused_parameters


def test_joining_sets_the_start_method_that_the_config_asks_for(alone):
    cfg = Config(dict(env_cfg=dict(mp_cfg=dict(mp_start_method='fork'))))

    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.*start method.*')
        launch.set_launcher(cfg, 'pytorch')

    assert torch.multiprocessing.get_start_method() == 'fork'


def test_gpus_are_left_to_mmengine(on_gpu):
    cfg = Config(dict())

    launch.set_launcher(cfg, 'pytorch')

    hooks = [dict(type='AverageLossHook')]
    assert cfg.to_dict() == dict(launcher='pytorch', custom_hooks=hooks)
    assert not dist.is_initialized()


class Code:
    def __reduce__(self):
        return print, ('run',)


def test_what_asks_pytorch_to_run_code_is_refused(tmp_path, capsys):
    torch.save(Code(), tmp_path / 'code.pth')

    with launch.weights_only(), pytest.raises(UnpicklingError):
        torch.load(tmp_path / 'code.pth', weights_only=False)

    assert capsys.readouterr().out == ''
    torch.load(tmp_path / 'code.pth', weights_only=False)
    assert capsys.readouterr().out == 'run\n'


def test_pytorchs_switch_for_the_protection_is_heeded(tmp_path, capsys, monkeypatch):
    torch.save(Code(), tmp_path / 'code.pth')
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')

    with launch.weights_only():
        torch.load(tmp_path / 'code.pth', weights_only=False)

    assert capsys.readouterr().out == 'run\n'


def test_a_hook_is_added_once_and_after_the_others():
    cfg = Config(dict(custom_hooks=[dict(type='SyncBuffersHook')]))

    launch.add_hook(cfg, 'ChannelsLastHook')
    launch.add_hook(cfg, 'ChannelsLastHook')

    kinds = [hook.type for hook in cfg.custom_hooks]
    assert kinds == ['SyncBuffersHook', 'ChannelsLastHook']


def test_mixed_precision_is_bfloat16_on_cpu():
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='Adam'))))

    launch.use_mixed_precision(cfg)

    assert cfg.optim_wrapper.type == 'BFloat16OptimWrapper'
    assert 'loss_scale' not in cfg.optim_wrapper


@pytest.mark.parametrize('native', [True, False])
def test_mixed_precision_warns_where_the_cpu_would_imitate_it(monkeypatch, native):
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='Adam'))))
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: native)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        launch.use_mixed_precision(cfg)

    assert len(said) == (0 if native else 1)
    assert all('Leave --amp out' in str(warning.message) for warning in said)


def test_mixed_precision_is_float16_with_a_loss_scale_on_gpu(on_gpu):
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))

    launch.use_mixed_precision(cfg)

    assert cfg.optim_wrapper == dict(type='AmpOptimWrapper', loss_scale='dynamic')


@pytest.mark.parametrize('kind', ['AmpOptimWrapper', 'BFloat16OptimWrapper'])
def test_a_config_with_mixed_precision_is_left_as_it_is(kind):
    cfg = Config(dict(optim_wrapper=dict(type=kind, loss_scale=512.0)))

    launch.use_mixed_precision(cfg)

    assert cfg.optim_wrapper == dict(type=kind, loss_scale=512.0)


def test_mixed_precision_does_not_replace_a_foreign_wrapper():
    cfg = Config(dict(optim_wrapper=dict(type='ApexOptimWrapper')))

    with pytest.raises(ValueError, match=r'ApexOptimWrapper.*Leave --amp out'):
        launch.use_mixed_precision(cfg)


def test_the_learning_rate_is_scaled_where_the_config_says_for_which_batch():
    cfg = Config(dict(auto_scale_lr=dict(base_batch_size=128)))

    launch.use_scaled_lr(cfg)

    assert cfg.auto_scale_lr == dict(base_batch_size=128, enable=True)


def test_the_learning_rate_is_not_scaled_without_knowing_from_what():
    with pytest.raises(ValueError, match='base_batch_size'):
        launch.use_scaled_lr(Config(dict()))
