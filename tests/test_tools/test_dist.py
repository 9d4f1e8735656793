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
from torch.testing import assert_close

SCRIPTS = ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh']
# In place of python and srun: says what it was to run, and in what environment.
TELL = """#!/usr/bin/env bash
printf '%s\\n' "$0" "$@" ">PYTHONPATH=$PYTHONPATH" ">OMP=${OMP_NUM_THREADS:-}" \
">PORT=${MASTER_PORT:-}"
"""
# Starts the tasks here, as Slurm would on its nodes.
LOCAL_SRUN = """#!/usr/bin/env bash
while [[ $1 == -* ]]; do
  case $1 in --ntasks=*) ntasks=${1#*=} ;; -p) shift ;; esac
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
def tell(run_tool, environment, tmp_path):
    """What a script would start, word by word, and the environment of that."""
    folder = executable(tmp_path / 'bin' / 'python', TELL)
    executable(folder / 'srun', TELL)

    def run(*arguments, **variables):
        variables = dict(VIRTUAL_ENV='some', OMP_NUM_THREADS='') | variables
        path = f'{folder}:{environment["PATH"]}'
        return run_tool(*arguments, PATH=path, **variables).stdout.splitlines()

    return run


def after(words, tool):
    """The arguments of a file of ``tools/``."""
    (start,) = (i for i, word in enumerate(words) if word.endswith(f'/tools/{tool}'))
    return [word for word in words[start + 1 :] if not word.startswith('>')]


@pytest.mark.parametrize('script', SCRIPTS)
def test_too_few_arguments_show_the_usage(root, script):
    command = ['bash', root / 'tools' / script, 'one']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert f'usage: bash tools/{script}' in done.stderr


@pytest.mark.parametrize(
    'words', ['dist_train.sh my.py --resume', 'dist_test.sh my.py my.pth 0']
)
def test_the_number_of_processes_is_a_number(root, words):
    script, *words = words.split()
    command = ['bash', root / 'tools' / script, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f'PROCESSES must be a whole number of at least 1, got {words[-1]}' in (
        done.stderr
    )


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.skipif(not shutil.which('shellcheck'), reason='shellcheck is not here')
def test_the_scripts_are_clean(root, script):
    command = ['shellcheck', root / 'tools' / script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_torchrun_starts_the_tools_with_their_options(tell, root):
    options = ['--amp', '--cfg-options', 'a=b c']
    words = tell('dist_train.sh', 'my config.py', 2, *options)
    assert words[1:5] == [
        *('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2')
    ]
    passed = ['my config.py', '--launcher', 'pytorch', *options]
    assert after(words, 'train.py') == passed
    assert any(word.startswith(f'>PYTHONPATH={root}') for word in words)
    words = tell('dist_test.sh', 'a.py', 'b.pth', 3, '--gt-boxes')
    assert '--nproc_per_node=3' in words
    passed = ['a.py', 'b.pth', '--launcher', 'pytorch', '--gt-boxes']
    assert after(words, 'test.py') == passed


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
def test_several_machines_meet_at_a_chosen_port(tell, run_tool, script):
    arguments = [script, *['a.py', 'b.pth'][: 1 + ('test' in script)], 8]
    words = tell(*arguments, PORT='29999')
    assert '--master_port=29999' in words
    assert '--standalone' not in words
    nodes = dict(NNODES='3', NODE_RANK='2', MASTER_ADDR='10.0.0.1')
    meeting = ['--nnodes=3', '--node_rank=2', '--master_addr=10.0.0.1']
    assert {*meeting, '--master_port=29500'} < {*tell(*arguments, **nodes)}
    for missing in ('NODE_RANK', 'MASTER_ADDR'):
        known = {key: nodes[key] for key in nodes if key != missing}
        assert missing in run_tool(*arguments, status=1, **known).stderr


@pytest.mark.parametrize(
    ('processes', 'given', 'threads'), [(1, '3', 3), (1, '', None), (999, '', 1)]
)
def test_the_cores_are_shared_between_the_processes(tell, processes, given, threads):
    words = tell('dist_train.sh', 'a.py', processes, OMP_NUM_THREADS=given)
    assert f'>OMP={threads or len(os.sched_getaffinity(0))}' in words


@pytest.mark.parametrize('script', SCRIPTS)
def test_the_checkouts_environment_is_used_if_none_is_active(root, tmp_path, script):
    shutil.copytree(root / 'tools', tmp_path / 'tools')
    ours = executable(tmp_path / '.venv' / 'bin' / 'python', TELL)
    others = executable(tmp_path / 'bin' / 'python', TELL)
    executable(others / 'srun', LOCAL_SRUN)
    for active, expected in [({}, ours), (dict(CONDA_PREFIX='some'), others)]:
        done = subprocess.run(
            ['bash', tmp_path / 'tools' / script, '1', '1', '1', '1'],
            env=dict(PATH=f'{others}:/usr/bin:/bin', GPUS='1', **active),
            capture_output=True,
            text=True,
        )
        assert done.stdout.startswith(f'{expected}/python\n'), done.stderr


def test_slurm_gets_the_job_and_its_size(tell):
    size = dict(GPUS='16', GPUS_PER_NODE='4', CPUS_PER_TASK='3')
    more = dict(SRUN_ARGS='--gres=none --time=1:00', MASTER_PORT='7')
    job = ['slurm_train.sh', 'part', 'job', 'a.py', 'work', '--amp']
    words = tell(*job, **size, **more)
    assert words[1:4] == ['-p', 'part', '--job-name=job']
    assert {'--ntasks=16', '--ntasks-per-node=4', '--cpus-per-task=3'} < {*words}
    assert words.index('--time=1:00') > words.index('--gres=none')
    assert words.index('--gres=none') > words.index('--gres=gpu:4')  # the last wins
    passed = ['a.py', '--work-dir', 'work', '--launcher', 'slurm', '--amp']
    assert after(words, 'train.py') == passed
    assert '>PORT=7' in words
    words = tell('slurm_test.sh', 'part', 'job', 'a.py', 'b.pth')
    usual = ['--ntasks=8', '--ntasks-per-node=8', '--gres=gpu:8', '--cpus-per-task=5']
    assert {*usual} < {*words}
    assert after(words, 'test.py') == ['a.py', 'b.pth', '--launcher', 'slurm']


def test_small_jobs_of_slurm_may_share_a_node(tell):
    job = ['slurm_train.sh', 'part', 'job', 'a.py', 'work']
    told = [tell(*job, GPUS='2') for _ in range(4)]
    assert {'--ntasks-per-node=2', '--gres=gpu:2'} < {*told[0]}
    assert len({words[-1] for words in told}) > 1  # their ports


def outcome(work_dir):
    """The losses that were logged, and the weights after each of two epochs."""
    newest = max(work_dir.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in newest.read_text().splitlines()]
    losses = torch.tensor([line['loss'] for line in lines if 'loss' in line])
    states = (torch.load(work_dir / f'epoch_{n}.pth')['state_dict'] for n in (1, 2))
    return losses, *states


def distance(one, other):
    """Between the weights of two states."""
    return math.hypot(*(float((one[key] - other[key]).norm()) for key in one))


def assert_two_equal_one(one_dir, two_dir):
    """With plain SGD the weights went where the gradients led, up to rounding.

    In float64 the gradients are compared in test_training/test_distributed.py.
    """
    losses, one, later = outcome(one_dir)
    their_losses, two, _ = outcome(two_dir)
    assert_close(their_losses, losses, rtol=1e-4, atol=0)
    assert losses[0] != losses[1]
    assert distance(one, two) < 1e-4 * distance(one, later)


SGD = ['optim_wrapper.optimizer.type=SGD', 'optim_wrapper.optimizer.lr=1']
# A group norm knows no batch.
GROUPS = [
    f'model.{part}.norm_cfg.{setting}'
    for part in ('backbone', 'neck')
    for setting in ('type=GN', 'num_groups=2')
]


@pytest.fixture
def two_epochs(not_random):
    return [
        *('--no-validate', '--cfg-options', *SGD, *GROUPS, 'train_cfg.max_epochs=2'),
        *not_random,
    ]


@pytest.fixture
def one(tool, tiny_config, two_epochs, tmp_path):
    """The work dir of one process with the batch of two."""
    folder, whole = tmp_path / 'one', 'train_dataloader.batch_size=4'
    tool('train.py', tiny_config, '--work-dir', folder, *two_epochs, whole).main()
    return folder


def test_two_processes_train_as_one(run_tool, tiny_config, two_epochs, one, tmp_path):
    two = tmp_path / 'two'
    run_tool('dist_train.sh', tiny_config, 2, '--work-dir', two, *two_epochs)
    assert_two_equal_one(one, two)


@pytest.mark.slow
def test_two_processes_test_as_one(run_tool, tiny_config, trained, tested, tmp_path):
    predictions, metrics = tmp_path / 'people.pkl', tmp_path / 'metrics.json'
    options = ['--work-dir', tmp_path, '--dump', predictions, '--out', metrics]
    options += ['--show-dir', 'pictures']
    run_tool('dist_test.sh', tiny_config, trained / 'epoch_3.pth', 2, *options)
    assert len([*tmp_path.glob('*/pictures/*.png')]) == 4
    assert metrics.read_text() == (tested / 'metrics.json').read_text()
    found, expected = (
        {
            person['img_id']: person['pred_instances']['keypoints']
            for person in load(path)
        }
        for path in (predictions, tested / 'people.pkl')
    )
    assert {*found} == {*expected}
    for image, keypoints in expected.items():
        np.testing.assert_allclose(found[image], keypoints, atol=1e-3)


@pytest.mark.slow
def test_two_machines_train_as_one_process_does(
    root, environment, tiny_config, two_epochs, one, tmp_path
):
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = str(free.getsockname()[1])
    meeting = dict(NNODES='2', MASTER_ADDR='127.0.0.1', PORT=port)
    command = ['bash', root / 'tools' / 'dist_train.sh', tiny_config, '1']
    command += ['--work-dir', tmp_path / 'two', *two_epochs]
    machines = [
        subprocess.Popen(command, env=environment | meeting | dict(NODE_RANK=rank))
        for rank in '01'
    ]
    assert [machine.wait() for machine in machines] == [0, 0]
    assert_two_equal_one(one, tmp_path / 'two')


@pytest.mark.slow
def test_two_tasks_of_slurm_train_and_test_on_cpus(
    run_tool, environment, tiny_config, two_epochs, one, tmp_path
):
    folder = executable(tmp_path / 'slurm' / 'srun', LOCAL_SRUN)
    job = dict(GPUS='2', SRUN_ARGS='--gres=none', MASTER_ADDR='127.0.0.1')
    job |= dict(PATH=f'{folder}:{environment["PATH"]}', VIRTUAL_ENV='some')
    two, metrics = tmp_path / 'two', tmp_path / 'metrics.json'
    run_tool('slurm_train.sh', 'part', 'job', tiny_config, two, *two_epochs, **job)
    assert_two_equal_one(one, two)
    arguments = [tiny_config, two / 'epoch_2.pth', '--work-dir', two, '--out', metrics]
    arguments += ['--cfg-options', *GROUPS]
    run_tool('slurm_test.sh', 'part', 'job', *arguments, **job)
    assert 'coco/AP' in json.loads(metrics.read_text())
