"""Two processes on CPUs against one with the whole batch.

The second runs this file, with the folder for the results.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.testing import assert_close

from ldcrn_mm.models import LDCRN, PyramidFusionNeck
from ldcrn_mm.training import AverageLossHook, launch
from ldcrn_mm.training.distributed import AnyDeviceDistributedDataParallel

NORMS = ('BN', 'SyncBN')


def pictures():
    """(4, 3, 16, 16), of which each process gets two."""
    return torch.randn(4, 3, 16, 16, generator=torch.manual_seed(1)).double()


def network(norm):
    """A small LDCRN with its neck, in double precision, the same everywhere."""
    torch.manual_seed(2)
    norm_cfg = dict(type=norm)
    backbone = LDCRN(
        stem_channels=4,
        channels=(4, 8),
        num_modules=(1,),
        num_blocks=1,
        num_layers=1,
        growth_rate=2,
        norm_cfg=norm_cfg,
        init_cfg=None,
    )
    neck = PyramidFusionNeck((4, 8), (4,), 4, norm_cfg, init_cfg=None)
    return nn.Sequential(backbone, neck).double()


def run_network(model, x):
    """The loss, which is a mean over the samples, all gradients and all buffers."""
    loss = (model(x)[0] - 1).square().mean()
    loss.backward()
    plain = getattr(model, 'module', model)
    grads = {name: param.grad for name, param in plain.named_parameters()}
    return dict(loss=loss.detach(), grads=grads, buffers=dict(plain.named_buffers()))


def run_logging(rank):
    outputs = dict(
        loss=torch.tensor(1.0 + rank, requires_grad=True),
        acc_pose=torch.tensor(0.5 * rank, dtype=torch.float64),
    )
    AverageLossHook().after_train_iter(SimpleNamespace(), 0, None, outputs)
    return outputs


def main(folder):
    dist_cfg = dict(timeout=300)  # if the other one fails
    launch.set_launcher(Config(dict(env_cfg=dict(dist_cfg=dist_cfg))), 'pytorch')
    rank = torch.distributed.get_rank()
    share = pictures()[2 * rank : 2 * rank + 2]
    wrapped = {name: AnyDeviceDistributedDataParallel(network(name)) for name in NORMS}
    results = {name: run_network(model, share) for name, model in wrapped.items()}
    results['logged'] = run_logging(rank)
    torch.save(results, folder / f'{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def ranks(root, tmp_path_factory):
    """What both processes computed, of which this one is the first."""
    folder = tmp_path_factory.mktemp('ranks')
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = str(free.getsockname()[1])
    meeting = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port, WORLD_SIZE='2')
    meeting |= dict(PYTHONPATH=str(root), OMP_NUM_THREADS='1')
    environ = os.environ | meeting | dict(RANK='1', LOCAL_RANK='1')
    other = subprocess.Popen([sys.executable, __file__, folder], env=environ)
    start_method = torch.multiprocessing.get_start_method(allow_none=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (meeting | dict(RANK='0', LOCAL_RANK='0')).items():
            patch.setenv(name, value)
        try:
            main(folder)
        except BaseException:
            other.kill()
            raise
    torch.multiprocessing.set_start_method(start_method, force=True)
    assert other.wait() == 0
    return [torch.load(folder / f'{rank}.pth') for rank in range(2)]


def mean(one, other):
    """Of tensors in dicts."""
    if isinstance(one, dict):
        return {key: mean(one[key], other[key]) for key in one}
    return (one + other) / 2


@pytest.mark.parametrize('norm', NORMS)
def test_gradients_are_the_average_over_both_halves(ranks, norm):
    halves = [run_network(network('BN'), x) for x in pictures().split(2)]
    average = mean(*halves)['grads']
    for rank, half in zip(ranks, halves):
        assert_close(rank[norm]['grads'], average)
        assert_close(rank[norm]['buffers'], half['buffers'])
    assert ranks[0][norm]['loss'] != ranks[1][norm]['loss']


def test_the_logged_loss_is_that_of_all_processes(ranks):
    for rank in ranks:
        assert rank['logged']['loss'] == 1.5
        assert rank['logged']['acc_pose'] == 0.25
        assert not rank['logged']['loss'].requires_grad


if __name__ == '__main__':
    main(Path(sys.argv[1]))
