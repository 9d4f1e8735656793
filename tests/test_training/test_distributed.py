"""Two processes on CPUs against one with the whole batch.

torchrun starts this file twice, with the folder for the results.
"""

import os
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
from ldcrn_mm.training.distributed import (
    AnyDeviceDistributedDataParallel,
    CPUSyncBatchNorm,
)

NORMS = {'batch': 'BN', 'sync': 'SyncBN', 'sync_recomputed': 'SyncBN'}
SETTINGS = {
    'plain': dict(),
    'cumulative': dict(momentum=None),
    'not_affine': dict(affine=False),
    'not_tracking': dict(track_running_stats=False),
}
SHARES = {'equal': (2, 2), 'unequal': (3, 1)}


def pictures():
    """(4, 3, 16, 16), of which each process gets two."""
    return torch.randn(4, 3, 16, 16, generator=torch.manual_seed(1)).double()


def features(dtype=torch.float64):
    """(4, 3, 2, 5), far from zero mean and unit variance."""
    random = torch.randn(4, 3, 2, 5, generator=torch.manual_seed(3))
    return (5 + 3 * random).to(dtype)


def network(norm):
    """A small LDCRN with its neck, in double precision, the same everywhere."""
    torch.manual_seed(2)
    norm_cfg = dict(type=NORMS[norm])
    backbone = LDCRN(
        stem_channels=4,
        channels=(4, 8),
        num_modules=(1,),
        num_blocks=1,
        num_layers=1,
        growth_rate=2,
        norm_cfg=norm_cfg,
        with_cp=norm.endswith('recomputed'),
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


def run_norm(norm, x, weights):
    """Outputs, gradients of the inputs and buffers after two steps."""
    x = x.clone().requires_grad_()
    norm(x + 1)
    out = norm(x)
    (out.square() * weights).sum().backward()
    return dict(out=out.detach(), grad=x.grad, buffers=dict(norm.named_buffers()))


def sync_norm(**settings):
    norm = nn.Sequential(nn.SyncBatchNorm(3, **settings))
    CPUSyncBatchNorm.replace(norm)
    return norm[0]


def run_norms(rank):
    results = {}
    for share, sizes in SHARES.items():
        x, weights = (part.split(sizes)[rank] for part in (features(), features() - 4))
        for name, settings in SETTINGS.items():
            norm = sync_norm(**settings).double()
            results[share, name] = run_norm(norm, x, weights)
    x, norm = features(torch.bfloat16).split(2)[rank], sync_norm()
    return results | dict(bfloat16=norm(x).detach(), eval=norm.eval()(x.float()))


def run_logging(rank):
    outputs = dict(
        loss=torch.tensor(1.0 + rank, requires_grad=True),
        acc_pose=torch.tensor(0.5 * rank, dtype=torch.float64),
    )
    AverageLossHook().after_train_iter(SimpleNamespace(), 0, None, outputs)
    return outputs


def main(folder):
    launch.set_launcher(Config(dict()), 'pytorch')
    rank = torch.distributed.get_rank()
    share = pictures()[2 * rank : 2 * rank + 2]
    wrapped = {name: AnyDeviceDistributedDataParallel(network(name)) for name in NORMS}
    results = {name: run_network(model, share) for name, model in wrapped.items()}
    results |= dict(norms=run_norms(rank), logged=run_logging(rank))
    torch.save(results, folder / f'{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def ranks(root, tmp_path_factory):
    """What both processes computed."""
    folder = tmp_path_factory.mktemp('ranks')
    launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    done = subprocess.run(
        [sys.executable, *launcher, __file__, folder],
        env=os.environ | {'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f'{rank}.pth') for rank in range(2)]


def mean(one, other):
    """Of tensors in dicts."""
    if isinstance(one, dict):
        return {key: mean(one[key], other[key]) for key in one}
    return (one + other) / 2


def test_batch_norm_equals_the_average_over_both_halves(ranks):
    halves = [run_network(network('batch'), x) for x in pictures().split(2)]

    average = mean(*halves)['grads']
    for rank, half in zip(ranks, halves):
        assert_close(rank['batch']['grads'], average)
        assert_close(rank['batch']['buffers'], half['buffers'])
    whole = run_network(network('batch'), pictures())['grads']
    some = '0.stem.0.0.weight'
    assert not torch.allclose(average[some], whole[some], rtol=1e-3)


@pytest.mark.parametrize('norm', ['sync', 'sync_recomputed'])
def test_sync_batch_norm_equals_one_process_with_the_whole_batch(ranks, norm):
    whole = run_network(network('batch'), pictures())

    for rank in ranks:
        assert_close(rank[norm]['grads'], whole['grads'])
        assert_close(rank[norm]['buffers'], whole['buffers'])
    assert_close(mean(*(rank[norm]['loss'] for rank in ranks)), whole['loss'])
    assert ranks[0][norm]['loss'] != ranks[1][norm]['loss']


@pytest.mark.parametrize('share', SHARES)
@pytest.mark.parametrize('setting', SETTINGS)
def test_synchronised_statistics_are_those_of_all_samples(ranks, share, setting):
    norm = nn.BatchNorm2d(3, **SETTINGS[setting]).double()
    whole = run_norm(norm, features(), features() - 4)

    parts = [rank['norms'][share, setting] for rank in ranks]
    for key in ('out', 'grad'):
        assert_close(torch.cat([part[key] for part in parts]), whole[key])
    for part in parts:
        assert_close(part['buffers'], whole['buffers'])


def test_bfloat16_is_normalised_with_float32_statistics_and_evaluation_uses_them(ranks):
    x, norm = features(torch.bfloat16).float(), nn.BatchNorm2d(3)

    out = torch.cat([rank['norms']['bfloat16'] for rank in ranks])
    assert out.dtype == torch.bfloat16
    assert_close(out, norm(x).bfloat16())

    out = torch.cat([rank['norms']['eval'] for rank in ranks])
    assert_close(out, norm.eval()(x))


def test_the_logged_loss_is_that_of_all_processes(ranks):
    for rank in ranks:
        assert rank['logged']['loss'] == 1.5
        assert rank['logged']['acc_pose'] == 0.25
        assert not rank['logged']['loss'].requires_grad


if __name__ == '__main__':
    main(Path(sys.argv[1]))
