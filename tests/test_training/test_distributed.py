import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

SCRIPT = Path(__file__).with_name('run_on_two.py')
spec = importlib.util.spec_from_file_location('run_on_two', SCRIPT)
on_two = importlib.util.module_from_spec(spec)
spec.loader.exec_module(on_two)


@pytest.fixture(scope='module')
def ranks(root, tmp_path_factory):
    """What both processes saw."""
    folder = tmp_path_factory.mktemp('ranks')
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    launcher = ['-m', 'torch.distributed.run', '--nproc_per_node=2']
    done = subprocess.run(
        [sys.executable, *launcher, f'--master_port={port}', SCRIPT, folder],
        env=os.environ | {'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f'{rank}.pth') for rank in range(2)]


def one_process(norm, x):
    """Loss, gradients and buffers of a plain model on ``x``."""
    model = on_two.network(norm)
    loss = on_two.loss_of(model, x)
    loss.backward()
    return on_two.state_after(model, loss)


def mean(*trees):
    """Of tensors in dicts, leaf by leaf."""
    if isinstance(trees[0], dict):
        return {key: mean(*(tree[key] for tree in trees)) for key in trees[0]}
    return sum(trees) / len(trees)


def test_processes_on_cpus_join_with_gloo(ranks):
    assert [rank['backend'] for rank in ranks] == ['gloo', 'gloo']
    assert [rank['world_size'] for rank in ranks] == [2, 2]


def test_without_batch_statistics_two_processes_equal_one_with_the_whole_batch(ranks):
    whole = one_process('group', on_two.pictures())

    for rank in ranks:
        assert_close(rank['networks']['group']['grads'], whole['grads'])
    losses = [rank['networks']['group']['loss'] for rank in ranks]
    assert losses[0] != losses[1]
    assert_close(mean(*losses), whole['loss'])


def test_batch_norm_equals_the_average_over_both_halves(ranks):
    halves = [one_process('batch', x) for x in on_two.pictures().split(2)]
    whole = one_process('batch', on_two.pictures())

    average = mean(*(half['grads'] for half in halves))
    for rank, half in zip(ranks, halves):
        assert_close(rank['networks']['batch']['grads'], average)
        assert_close(rank['networks']['batch']['buffers'], half['buffers'])
    some = '0.stem.0.0.weight'
    assert not torch.allclose(average[some], whole['grads'][some], rtol=1e-3)


@pytest.mark.parametrize('norm', ['sync', 'sync_recomputed'])
def test_sync_batch_norm_equals_one_process_with_the_whole_batch(ranks, norm):
    whole = one_process('batch', on_two.pictures())

    for rank in ranks:
        assert_close(rank['networks'][norm]['grads'], whole['grads'])
        assert_close(rank['networks'][norm]['buffers'], whole['buffers'])
    losses = [rank['networks'][norm]['loss'] for rank in ranks]
    assert_close(mean(*losses), whole['loss'])


@pytest.mark.parametrize('share', on_two.SHARES)
@pytest.mark.parametrize('setting', on_two.SETTINGS)
def test_synchronised_statistics_are_those_of_all_samples(ranks, share, setting):
    norm = nn.BatchNorm2d(3, **on_two.SETTINGS[setting]).double()
    whole = on_two.run_norm(norm, on_two.features(), on_two.features() - 4)

    parts = [rank['norms'][share, setting] for rank in ranks]
    for key in ('out', 'grad'):
        assert_close(torch.cat([part[key] for part in parts]), whole[key])
    for part in parts:
        assert_close(part['buffers'], whole['buffers'])


def test_bfloat16_is_normalised_with_float32_statistics(ranks):
    x = on_two.features(torch.bfloat16)
    expected = nn.BatchNorm2d(3)(x.float())

    out = torch.cat([rank['norms']['bfloat16'] for rank in ranks])

    assert out.dtype == torch.bfloat16
    assert_close(out, expected.bfloat16())


def test_evaluation_uses_the_running_statistics(ranks):
    x = on_two.features(torch.bfloat16).float()
    norm = nn.BatchNorm2d(3)
    norm(x)

    out = torch.cat([rank['norms']['eval'] for rank in ranks])

    assert_close(out, norm.eval()(x))


def test_the_logged_loss_is_that_of_all_processes(ranks):
    for rank in ranks:
        assert rank['logged']['loss'] == 1.5
        assert rank['logged']['acc_pose'] == 0.25
        assert not rank['logged']['loss'].requires_grad
