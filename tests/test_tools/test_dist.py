"""dist_*.sh and slurm_*.sh: what they start, and what comes out of it."""

import json
import math
import os
import shutil
import socket
import subprocess

import numpy as np
import pytest
import torch
from mmengine.fileio import load

SCRIPTS = ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh']
# Has MMPose, knows a free port, and says what it was to run and in what environment.
FAKE_PYTHON = """#!/usr/bin/env bash
case $2 in
  *find_spec*) exit 0 ;;
  *socket*) echo 12345 ;;
  *) printf '%s\\n' "$@" ">PYTHONPATH=$PYTHONPATH" ">threads=$OMP_NUM_THREADS" ;;
esac
"""
FAKE_SRUN = """#!/usr/bin/env bash
printf '%s\\n' "$@" ">PYTHONPATH=$PYTHONPATH" ">MASTER_PORT=$MASTER_PORT"
"""
# Starts the tasks here, as Slurm would on its nodes.
LOCAL_SRUN = """#!/usr/bin/env bash
while [[ $1 == -* ]]; do
  case $1 in --ntasks=*) ntasks=${1#*=} ;; esac
  shift
done
for ((task = 0; task < ntasks; task++)); do
  SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NTASKS=$ntasks \\
    SLURM_NODELIST=localhost "$@" &
  tasks+=($!)
done
for task in "${tasks[@]}"; do wait "$task" || exit; done
"""


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path.parent


@pytest.fixture
def active(tmp_path):
    """The variables of an active environment with a Python that only tells."""
    executable(tmp_path / 'env' / 'bin' / 'python', FAKE_PYTHON)
    return dict(VIRTUAL_ENV=str(tmp_path / 'env'))


@pytest.fixture
def cluster(tmp_path, environment):
    """The PATH of a machine whose srun only tells."""
    folder = executable(tmp_path / 'slurm' / 'srun', FAKE_SRUN)
    return dict(PATH=f'{folder}:{environment["PATH"]}')


def after(lines, tool):
    """The arguments of a file of ``tools/`` in a command line that was told."""
    (start,) = (i for i, line in enumerate(lines) if line.endswith(f'/tools/{tool}'))
    end = next(i for i, line in enumerate(lines) if line.startswith('>'))
    return lines[start + 1 : end]


@pytest.mark.parametrize('script', SCRIPTS)
def test_too_few_arguments_show_the_usage(run_tool, script):
    done = run_tool(script, 'one', status=2)

    assert f'bash tools/{script}' in done.stderr
    assert f'[options of {script.split("_")[1][:-3]}.py]' in done.stderr


@pytest.mark.parametrize('script', SCRIPTS)
def test_the_usage_can_be_asked_for(run_tool, script):
    done = run_tool(script, '--help')

    assert f'bash tools/{script}' in done.stdout
    assert '#' not in done.stdout


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.skipif(not shutil.which('shellcheck'), reason='shellcheck is not here')
def test_the_scripts_are_clean(root, script):
    command = ['shellcheck', '--external-sources', f'tools/{script}']
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize('number', ['0', 'two', '1.5', ''])
def test_a_number_of_processes_that_is_none_is_refused(run_tool, number):
    done = run_tool('dist_train.sh', 'config.py', number, status=2)

    assert f"number of processes must be a whole number from 1, not '{number}'" in (
        done.stderr
    )


def test_torchrun_starts_one_process_a_gpu(run_tool, active, root):
    options = ['--amp', '--cfg-options', 'a=b c']
    done = run_tool('dist_train.sh', 'my config.py', 2, *options, **active)
    lines = done.stdout.splitlines()

    assert lines[:2] == ['-m', 'torch.distributed.run']
    expected = {'--nproc_per_node=2', '--nnodes=1', '--node_rank=0'}
    assert expected | {'--master_addr=127.0.0.1'} < set(lines)
    passed = ['my config.py', *options, '--launcher', 'pytorch']
    assert after(lines, 'train.py') == passed
    assert f'>PYTHONPATH={root}' in done.stdout


def test_a_test_gets_its_checkpoint(run_tool, active):
    done = run_tool('dist_test.sh', 'a.py', 'b.pth', 3, '--gt-boxes', **active)
    lines = done.stdout.splitlines()

    assert '--nproc_per_node=3' in lines
    passed = ['a.py', 'b.pth', '--gt-boxes', '--launcher', 'pytorch']
    assert after(lines, 'test.py') == passed


def test_on_one_machine_the_port_is_a_free_one(run_tool, active):
    done = run_tool('dist_train.sh', 'a.py', 2, **active)

    assert '--master_port=12345' in done.stdout.splitlines()


def test_a_port_can_be_chosen(run_tool, active):
    done = run_tool('dist_train.sh', 'a.py', 2, PORT='29999', **active)

    assert '--master_port=29999' in done.stdout.splitlines()


def test_several_machines_meet_at_the_first(run_tool, active):
    nodes = dict(NNODES='3', NODE_RANK='2', MASTER_ADDR='10.0.0.1')
    lines = run_tool('dist_train.sh', 'a.py', 8, **nodes, **active).stdout.splitlines()

    expected = {'--nnodes=3', '--node_rank=2', '--master_addr=10.0.0.1'}
    assert expected | {'--master_port=29500', '--nproc_per_node=8'} < set(lines)


@pytest.mark.parametrize('known', [dict(), dict(NODE_RANK='1'), dict(MASTER_ADDR='a')])
def test_several_machines_have_to_know_where_to_meet(run_tool, active, known):
    done = run_tool('dist_train.sh', 'a.py', 2, NNODES='2', **known, status=2, **active)

    assert 'NNODES=2: set NODE_RANK (0 to 1) too, and MASTER_ADDR' in done.stderr


@pytest.mark.parametrize(('given', 'threads'), [('3', '3'), ('', None)])
def test_the_cores_are_shared_between_the_processes(run_tool, active, given, threads):
    done = run_tool('dist_train.sh', 'a.py', 1, OMP_NUM_THREADS=given, **active)

    cores = len(os.sched_getaffinity(0))
    assert f'>threads={threads or cores}' in done.stdout.splitlines()


class TestPython:
    """Which Python runs, in a checkout with or without its .venv."""

    WITH, WITHOUT = FAKE_PYTHON, '#!/bin/sh\nexit 1\n'

    @pytest.fixture
    def run(self, root, tmp_path):
        def run(active, checkout, path):
            copy = tmp_path / 'checkout'
            shutil.copytree(root / 'tools', copy / 'tools')
            named = 'case $2 in *find_spec*) ;; *) echo {} ;; esac\n'
            for name, python in dict(
                active=(tmp_path / 'active' / 'bin' / 'python', active),
                checkout=(copy / '.venv' / 'bin' / 'python', checkout),
                path=(tmp_path / 'path' / 'python', path),
                path3=(tmp_path / 'path' / 'python3', self.WITHOUT),
            ).items():
                file, text = python
                if text:
                    text = text.replace('case', named.format(name) + 'case', 1)
                    executable(file, text)
            return subprocess.run(
                ['bash', copy / 'tools' / 'dist_train.sh', 'a.py', '1'],
                env=dict(
                    PATH=f'{tmp_path}/path:/usr/bin:/bin',
                    VIRTUAL_ENV=str(tmp_path / 'active'),
                    PORT='1',
                ),
                capture_output=True,
                text=True,
            )

        return run

    @pytest.mark.parametrize(
        ('pythons', 'chosen'),
        [
            ((WITH, WITH, WITH), 'active'),
            ((WITHOUT, WITH, WITH), 'checkout'),
            ((None, WITH, WITH), 'checkout'),
            ((None, WITHOUT, WITH), 'path'),
            ((WITHOUT, None, WITH), 'path'),
        ],
    )
    def test_the_nearest_one_with_mmpose_runs(self, run, pythons, chosen):
        done = run(*pythons)

        assert done.stdout.splitlines()[:2] == [chosen, '-m'], done.stderr

    def test_without_any_the_message_says_how_to_get_one(self, run):
        done = run(self.WITHOUT, None, self.WITHOUT)

        assert done.returncode == 2
        assert 'no python with torch and mmpose' in done.stderr
        assert '/tools/setup_env.sh' in done.stderr


def test_slurm_gets_the_job_and_its_size(run_tool, active, cluster, root):
    size = dict(GPUS='16', GPUS_PER_NODE='4', CPUS_PER_TASK='3')
    more = dict(SRUN_ARGS='--nodes=4 --time=1:00')
    arguments = ['part', 'job', 'a.py', 'work', '--amp']
    done = run_tool('slurm_train.sh', *arguments, **size, **more, **cluster, **active)
    lines = done.stdout.splitlines()

    assert {'--partition=part', '--job-name=job', '--ntasks=16'} < set(lines)
    assert {'--ntasks-per-node=4', '--gres=gpu:4', '--cpus-per-task=3'} < set(lines)
    assert lines.index('--time=1:00') == lines.index('--nodes=4') + 1
    assert lines.index('--nodes=4') > lines.index('--gres=gpu:4')  # the last wins
    passed = ['a.py', '--work-dir', 'work', '--amp', '--launcher', 'slurm']
    assert after(lines, 'train.py') == passed
    assert f'>PYTHONPATH={root}' in done.stdout


def test_slurm_has_usual_sizes_and_a_test_gets_its_checkpoint(
    run_tool, active, cluster
):
    done = run_tool(
        'slurm_test.sh', 'part', 'job', 'a.py', 'b.pth', **cluster, **active
    )
    lines = done.stdout.splitlines()

    usual = {'--ntasks=8', '--ntasks-per-node=8', '--gres=gpu:8', '--cpus-per-task=5'}
    assert usual < set(lines)
    assert after(lines, 'test.py') == ['a.py', 'b.pth', '--launcher', 'slurm']


def test_a_small_job_takes_no_more_of_a_node_than_it_has_processes(
    run_tool, active, cluster
):
    job = ['part', 'job', 'a.py', 'work']
    done = run_tool('slurm_train.sh', *job, GPUS='2', **cluster, **active)

    assert {'--ntasks-per-node=2', '--gres=gpu:2'} < set(done.stdout.splitlines())


def test_two_jobs_on_one_node_have_ports_of_their_own(run_tool, active, cluster):
    job = ['part', 'job', 'a.py', 'work']
    ports = set()
    for _ in range(4):
        done = run_tool('slurm_train.sh', *job, **cluster, **active)
        ports.add(done.stdout.split('>MASTER_PORT=')[1])
    chosen = run_tool('slurm_train.sh', *job, MASTER_PORT='7', **cluster, **active)

    assert len(ports) > 1
    assert '>MASTER_PORT=7\n' in chosen.stdout


def test_without_slurm_the_message_says_so(run_tool, active, tmp_path):
    job = ['part', 'job', 'a.py', 'work']
    done = run_tool('slurm_train.sh', *job, status=2, PATH='/usr/bin:/bin', **active)

    assert 'found no srun' in done.stderr


def outcome(work_dir):
    """The losses that were logged, and the state after each of two epochs."""
    newest = max(work_dir.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in newest.read_text().splitlines()]
    losses = torch.tensor([line['loss'] for line in lines if 'loss' in line])
    names = ('epoch_1.pth', 'epoch_2.pth')
    return losses, *(torch.load(work_dir / name)['state_dict'] for name in names)


def is_statistic(name):
    return 'running' in name or 'num_batches' in name


def distance(one, other):
    """Between the weights of two states."""
    return math.hypot(
        *(float((one[key] - other[key]).norm()) for key in one if not is_statistic(key))
    )


def assert_two_equal_one(one_dir, two_dir, rounding=1e-4):
    """With plain SGD the weights went where the gradients led.

    ``rounding`` is what float32 does to the gradients; in float64 they are
    compared in test_training/test_distributed.py.
    """
    losses, one, later = outcome(one_dir)
    their_losses, two, _ = outcome(two_dir)

    torch.testing.assert_close(their_losses[0], losses[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(their_losses[1], losses[1], rtol=rounding, atol=0)
    assert losses[0] != losses[1]
    assert distance(one, two) < rounding * distance(one, later)
    for key in filter(is_statistic, one):
        torch.testing.assert_close(two[key], one[key], rtol=1e-3, atol=1e-6)


SGD = ['optim_wrapper.optimizer.type=SGD', 'optim_wrapper.optimizer.lr=1']
SYNC = [f'model.{part}.norm_cfg.type=SyncBN' for part in ('backbone', 'neck')]
TWO_EPOCHS = [*SGD, *SYNC, 'train_cfg.max_epochs=2']


def test_two_processes_train_as_one_does_on_the_whole_batch(
    run_tool, tiny_config, not_random, tmp_path
):
    options = ['--no-validate', '--cfg-options', *TWO_EPOCHS, *not_random]
    whole = 'train_dataloader.batch_size=4'
    one, two = tmp_path / 'one', tmp_path / 'two'

    run_tool('train.py', tiny_config, '--work-dir', one, *options, whole)
    run_tool('dist_train.sh', tiny_config, 2, '--work-dir', two, *options, cwd=tmp_path)

    assert_two_equal_one(one, two)


def test_two_processes_test_as_one_does(
    run_tool, tiny_config, trained, tested, tmp_path
):
    predictions, metrics = tmp_path / 'people.pkl', tmp_path / 'metrics.json'
    run_tool(
        'dist_test.sh',
        *[tiny_config, trained / 'epoch_3.pth', 2, '--work-dir', tmp_path],
        *['--dump', predictions, '--out', metrics],
    )

    assert metrics.read_text() == (tested / 'metrics.json').read_text()
    one, two = (
        sorted(load(path), key=lambda person: person['img_id'])
        for path in (tested / 'people.pkl', predictions)
    )
    for person, other in zip(one, two, strict=True):
        assert person['img_id'] == other['img_id']
        np.testing.assert_allclose(
            person['pred_instances']['keypoints'],
            other['pred_instances']['keypoints'],
            atol=1e-3,
        )


@pytest.mark.slow
def test_two_machines_train_as_one_process_does(
    run_tool, root, environment, tiny_config, not_random, tmp_path
):
    options = ['--no-validate', '--cfg-options', *TWO_EPOCHS, *not_random]
    one, two = tmp_path / 'one', tmp_path / 'two'
    whole = 'train_dataloader.batch_size=4'
    run_tool('train.py', tiny_config, '--work-dir', one, *options, whole)

    with socket.create_server(('127.0.0.1', 0)) as free:
        port = str(free.getsockname()[1])
    meeting = dict(NNODES='2', MASTER_ADDR='127.0.0.1', PORT=port)
    script = root / 'tools' / 'dist_train.sh'
    machines = [
        subprocess.Popen(
            ['bash', script, tiny_config, '1', '--work-dir', two, *options],
            env=environment | meeting | dict(NODE_RANK=rank),
            stdout=subprocess.DEVNULL,
        )
        for rank in '01'
    ]

    assert [machine.wait() for machine in machines] == [0, 0]
    assert_two_equal_one(one, two)


@pytest.mark.slow
def test_two_tasks_of_slurm_train_and_test_on_cpus(
    run_tool, environment, tiny_config, not_random, tmp_path
):
    folder = executable(tmp_path / 'slurm' / 'srun', LOCAL_SRUN)
    job = dict(GPUS='2', SRUN_ARGS='--gres=none', MASTER_ADDR='127.0.0.1')
    job['PATH'] = f'{folder}:{environment["PATH"]}'
    options = ['--no-validate', '--cfg-options', *TWO_EPOCHS, *not_random]
    one, two = tmp_path / 'one', tmp_path / 'two'
    whole = 'train_dataloader.batch_size=4'
    run_tool('train.py', tiny_config, '--work-dir', one, *options, whole)

    run_tool('slurm_train.sh', 'part', 'job', tiny_config, two, *options, **job)
    assert_two_equal_one(one, two)

    metrics = tmp_path / 'metrics.json'
    checkpoint = two / 'epoch_2.pth'
    options = ['--work-dir', two, '--out', metrics]
    run_tool('slurm_test.sh', 'part', 'job', tiny_config, checkpoint, *options, **job)
    assert 'coco/AP' in json.loads(metrics.read_text())


@pytest.mark.slow
@pytest.mark.parametrize('norm', ['SyncBN', 'BN'])
def test_the_recipe_trains_on_two_processes_on_real_photographs(
    run_tool, root, sample_data, not_random, tmp_path, norm
):
    coco = sample_data / 'coco'
    options = ['--no-validate', '--cfg-options', *SGD, 'train_cfg.max_epochs=2']
    options += [f'train_dataloader.dataset.data_root={coco}', *not_random]
    options += ['train_dataloader.dataset.indices=4', 'randomness.seed=1']
    options += ['train_dataloader.num_workers=1', 'default_hooks.logger.interval=1']
    options += [f'model.{part}.norm_cfg.type={norm}' for part in ('backbone', 'neck')]
    config = root / 'configs' / 'ldcrn_coco.py'
    one, two = tmp_path / 'one', tmp_path / 'two'

    half, whole = (f'train_dataloader.batch_size={size}' for size in (2, 4))
    run_tool('train.py', config, '--work-dir', one, *options, whole)
    run_tool('dist_train.sh', config, 2, '--work-dir', two, *options, half)

    if norm == 'SyncBN':  # one process in float32 is 0.005 from itself in float64
        assert_two_equal_one(one, two, rounding=0.05)
    else:  # each process normalises with the statistics of its half
        torch.testing.assert_close(outcome(two)[0], outcome(one)[0], rtol=0.05, atol=0)
