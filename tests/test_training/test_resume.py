"""Trainings by MMEngine's runner, killed at every change of a file and resumed."""

import os
import re
import sys
import zipfile
from contextlib import nullcontext
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, BaseModule
from mmengine.runner import Runner
from torch import nn
from torch.torch_version import TorchVersion

from ldcrn_mm.training import SafeCheckpointHook
from ldcrn_mm.training.resume import (
    CheckpointCheckHook,
    check_fresh,
    check_pretrained,
    check_resumable,
    last_checkpoint,
    lock,
)


class Killed(BaseException):
    """In place of SIGKILL. Nothing of the program should catch it."""


class Killer:
    """Python's audit hook: raises at a change of a file in a folder, and ever after."""

    folder = None

    def __call__(self, event, args):
        if event not in ('open', 'os.remove', 'os.rename') or self.folder is None:
            return
        path, mode = str(args[0]), str(args[1])
        if not path.startswith(self.folder) or (event == 'open' and 'r' in mode):
            return
        self.countdown -= 1
        if self.countdown < 0:
            raise Killed


KILLER = Killer()
sys.addaudithook(KILLER)  # There is no way to remove it. Without a folder it is idle.


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        nn.init.ones_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x, mode):
        return dict(loss=self.layer(x).sum()) if mode == 'loss' else [self.layer(x)]


class Score(BaseMetric):
    """A score by epoch or iteration, from 1. Not every validation is the best."""

    SCORES: ClassVar[list[int]] = [2, 1, 4, 3]
    step = None

    def process(self, batch, samples):
        self.results.append(0)

    def compute_metrics(self, results):
        score = self.SCORES[self.step - 1]
        return {'AP': score, 'hand/EPE': score, 'shape': score}


class Watch(Hook):
    """Notes which validations were finished, and may begin a kill."""

    def __init__(self, loop, kill_after):
        self.loop, self.kill_after = loop, kill_after
        self.validated = []

    def before_train(self, runner):
        if self.kill_after is not None:
            KILLER.folder, KILLER.countdown = runner.work_dir, self.kill_after

    def before_val(self, runner):
        Score.step = getattr(runner, self.loop)

    def after_val(self, runner):
        self.validated.append(Score.step)


def train(
    folder,
    loop='epoch',
    resume=False,
    kill_after=None,
    hook=(),
    lr=0.1,
    load_from=None,
    hooks=(),
    optimizer=None,
    **loop_changes,
):
    """Four epochs or iterations. Returns those that ended with a validation."""
    data = dict(batch_size=1, sampler=dict(type='DefaultSampler'))
    saving = dict(type='SafeCheckpointHook', interval=1, by_epoch=loop == 'epoch')
    watch = Watch(loop, kill_after)
    start = str(load_from or resume) if load_from or resume else None
    runner = Runner(
        Model(),
        str(folder),
        train_dataloader=dict(dataset=torch.ones(4, 1), **data),
        val_dataloader=dict(dataset=torch.ones(1, 1), **data),
        train_cfg={'by_epoch': loop == 'epoch', f'max_{loop}s': 4, 'val_interval': 1}
        | loop_changes,
        val_cfg=dict(),
        val_evaluator=Evaluator(Score()),
        optim_wrapper=optimizer
        or dict(optimizer=dict(type='SGD', lr=lr, momentum=0.9)),
        param_scheduler=dict(type='MultiStepLR', milestones=[3]),
        default_hooks=dict(
            checkpoint=saving | dict(max_keep_ckpts=2, save_best='AP') | dict(hook),
            logger=None,
        ),
        custom_hooks=[watch, *hooks, CheckpointCheckHook()],
        load_from=last_checkpoint(str(folder)) if resume is True else start,
        resume=bool(resume),
        experiment_name=f'{folder}{id(watch)}',
        log_level='ERROR',
        default_scope='mmpose',
    )
    try:
        runner.train()
    except Killed:
        KILLER.folder = None
    return watch.validated


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Without what takes most of the time of such a run."""
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    monkeypatch.setattr('mmengine.runner.runner.get_git_hash', str)
    monkeypatch.setattr('mmengine.hooks.runtime_info_hook.get_git_hash', str)
    monkeypatch.setattr(os, 'fsync', lambda _: None)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The work dir of a training by epochs."""
    folder = tmp_path_factory.mktemp('trained')
    train(folder)
    return folder


def checkpoints(folder):
    return sorted(path.name for path in folder.glob('*.pth*'))


def test_the_last_two_and_the_best_are_kept(trained):
    names = ['best_AP_epoch_3.pth', 'epoch_3.pth', 'epoch_4.pth']
    assert checkpoints(trained) == names
    assert last_checkpoint(str(trained)) == str(trained / 'epoch_4.pth')


@pytest.mark.parametrize(
    'loop', ['epoch', pytest.param('iter', marks=pytest.mark.slow)]
)
def test_a_run_killed_at_any_change_of_a_file_loses_nothing(tmp_path, loop):
    expected = tmp_path / 'expected'
    train(expected, loop)
    last, best = None, []
    for kill in range(100):
        folder = tmp_path / str(kill)
        validated = train(folder, loop, kill_after=kill)
        if KILLER.folder:
            break  # it ended before this kill
        assert last_checkpoint(str(folder)) or last is None
        last = last_checkpoint(str(folder))
        assert last is None or check_resumable(last) is None
        assert [*folder.glob('best*.pth')] or not best
        best = [*folder.glob('best*.pth')]

        validated += train(folder, loop, resume=last is not None)

        assert {*validated} == {1, 2, 3, 4}
        assert {*checkpoints(folder)} >= {*checkpoints(expected)}
        # The old best may stay if the kill comes just before its removal.
        assert len(checkpoints(folder)) <= 4
        for name in checkpoints(expected):
            found, wanted = (torch.load(where / name) for where in (folder, expected))
            for key in {'state_dict', 'optimizer', 'param_schedulers'} & {*wanted}:
                assert str(found[key]) == str(wanted[key])
            scores = (c['message_hub']['runtime_info'] for c in (found, wanted))
            assert len({info['best_score'] for info in scores}) == 1
    assert kill > 30


@pytest.mark.parametrize(
    ('changes', 'start', 'validated'),
    [
        (dict(), 4, []),  # a finished run
        (dict(max_epochs=5), 4, [5]),
        (dict(), 3, [3, 4]),
        (dict(val_interval=3), 3, [3, 4]),
        (dict(val_interval=2), 3, [4]),
        (dict(val_interval=2, dynamic_intervals=[(3, 3)]), 3, [3, 4]),
        (dict(val_begin=4), 3, [4]),
    ],
)
def test_a_missing_validation(
    trained, tmp_path, monkeypatch, changes, start, validated
):
    monkeypatch.setattr(Score, 'SCORES', [2, 1, 4, 3, 0])
    (tmp_path / 'last_validation').write_text((trained / 'last_validation').read_text())
    start = str(trained / f'epoch_{start}.pth')
    assert train(tmp_path, resume=start, **changes) == validated


@pytest.mark.parametrize('missing', [False, True])
def test_the_first_process_says_what_is_missing(
    trained, tmp_path, monkeypatch, missing
):
    monkeypatch.setattr(
        'ldcrn_mm.training.resume.broadcast_object_list',
        lambda found: found.__setitem__(0, missing),
    )
    if not missing:  # though this process finds no record
        assert train(tmp_path, resume=trained / 'epoch_4.pth') == []
        return
    (tmp_path / 'last_validation').write_text('4')
    assert train(tmp_path, resume=trained / 'epoch_4.pth') == [4]


def test_a_new_run_in_an_old_folder_is_validated_again(tmp_path, monkeypatch):
    train(tmp_path, val_interval=4)
    monkeypatch.setattr(Score, 'SCORES', [2, 1, 4])
    with pytest.raises(IndexError):  # in the last validation
        train(tmp_path, val_interval=4)
    monkeypatch.undo()
    assert train(tmp_path, resume=True, val_interval=4) == [4]


def test_each_of_two_metrics_has_its_best(tmp_path):
    train(tmp_path, hook=dict(save_best=['AP', 'hand/EPE'], max_keep_ckpts=1))
    bests = ['best_AP_epoch_3.pth', 'best_hand_EPE_epoch_2.pth']
    assert checkpoints(tmp_path) == [*bests, 'epoch_3.pth', 'epoch_4.pth']


@pytest.mark.parametrize('save_best', ['AP', ['AP', 'hand/EPE']])
def test_a_run_resumed_in_another_folder(trained, tmp_path, monkeypatch, save_best):
    before = checkpoints(trained)
    monkeypatch.setattr(Score, 'SCORES', [5, 5, 5, 6])
    train(tmp_path, resume=str(trained / 'epoch_3.pth'), hook=dict(save_best=save_best))
    assert checkpoints(trained) == before
    assert 'best_AP_epoch_4.pth' in checkpoints(tmp_path)
    assert 'best_AP_epoch_3.pth' not in checkpoints(tmp_path)


def test_leftovers_and_the_old_best_go_from_a_folder_that_moved(tmp_path, monkeypatch):
    train(tmp_path / 'first')
    (tmp_path / 'first').rename(tmp_path / 'moved')
    (tmp_path / 'moved' / 'epoch_9.pth.77.partial').touch()  # of a run that was killed
    monkeypatch.setattr(Score, 'SCORES', [2, 1, 4, 3, 9])
    train(tmp_path / 'moved', resume=True, max_epochs=5)
    names = ['best_AP_epoch_5.pth', 'epoch_4.pth', 'epoch_5.pth']
    assert checkpoints(tmp_path / 'moved') == names


@pytest.mark.parametrize(
    ('metric', 'rule'),
    [
        *((name, 'greater') for name in ('PCK', 'Head PCK', 'PCKh@0.1', 'tPCK', 'AUC')),
        *((name, 'greater') for name in ('coco/AP', 'coco/AR .5', 'Total AP', 'mAP')),
        *((name, 'greater') for name in ('HandednessAcc', 'EPE/AP')),
        *((name, 'less') for name in ('EPE', 'face/NME', 'P-MPJPE', 'MPJPE_all')),
        *((name, 'less') for name in ('arm/EPE', 'val/loss', 'AP error', 'MRRPE')),
    ],
)
def test_the_best_follows_from_the_name_of_the_metric(metric, rule):
    assert SafeCheckpointHook(save_best=metric).rules == [rule]
    other = {'less': 'greater', 'greater': 'less'}[rule]
    assert SafeCheckpointHook(save_best=metric, rule=other).rules == [other]


def test_metrics_with_unknown_names_need_a_rule():
    with pytest.raises(ValueError, match='squared_distance'):
        SafeCheckpointHook(save_best='squared_distance')


@pytest.mark.parametrize(('score', 'best'), [('AP', 3), ('EPE', 2)])
def test_auto_takes_the_first_metric_by_its_rule(tmp_path, monkeypatch, score, best):
    def compute(self, results):
        return {score: self.SCORES[self.step - 1]}

    monkeypatch.setattr(Score, 'compute_metrics', compute)
    train(tmp_path, hook=dict(save_best='auto'))
    assert checkpoints(tmp_path)[0] == f'best_{score}_epoch_{best}.pth'


def test_files_are_written_atomically_unless_configured_otherwise():
    assert SafeCheckpointHook().backend_args == dict(backend='atomic')
    local = dict(backend='local')
    assert SafeCheckpointHook(backend_args=local).backend_args == local


@pytest.mark.parametrize(
    ('record', 'expected'),
    [
        (None, 'epoch_10.pth'),
        ('', 'epoch_10.pth'),
        ('\xff\0', 'epoch_10.pth'),  # of a disk that failed
        ('/gone/epoch_8.pth', 'epoch_10.pth'),
        ('/gone/epoch_9.pth', 'epoch_9.pth'),  # the folder was moved or copied
        ('{folder}/out/epoch_7.pth', 'out/epoch_7.pth'),  # out_dir of the hook
    ],
)
def test_the_last_checkpoint_is_recorded_or_has_the_top_number(
    tmp_path, record, expected
):
    assert last_checkpoint(str(tmp_path)) is None
    (tmp_path / 'out').mkdir()
    for name in ('epoch_9', 'epoch_10', 'best_AP_epoch_11', 'out/epoch_7'):
        (tmp_path / f'{name}.pth').touch()
    if record is not None:
        text = record.format(folder=tmp_path)
        (tmp_path / 'last_checkpoint').write_text(text, 'latin-1')
    assert last_checkpoint(str(tmp_path)) == str(tmp_path / expected)


def test_a_checkpoint_without_the_state_of_a_training_is_refused(trained, tmp_path):
    check_resumable(str(trained / 'epoch_4.pth'))
    best = torch.load(trained / 'best_AP_epoch_3.pth')
    published = dict(state_dict=best['state_dict'], meta=None)
    for content in (best, published, published | dict(meta=[1])):
        path = tmp_path / 'weights.pth'
        torch.save(content, path)
        with pytest.raises(ValueError, match=r'no.* optimizer.*load_from=.*weights'):
            check_resumable(str(path))


@pytest.mark.parametrize(
    ('changes', 'name'),
    [
        (dict(message_hub=[1]), 'message_hub'),
        (dict(message_hub=dict(runtime_info=3, log_scalars={})), 'runtime_info'),
        (dict(optimizer=5), 'optimizer'),
        (dict(param_schedulers='x'), 'param_schedulers'),
        (dict(meta=dict(epoch='a', iter=1)), 'epoch'),
    ],
)
def test_a_state_of_another_type_is_refused(trained, tmp_path, changes, name):
    content = torch.load(trained / 'epoch_4.pth') | changes
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=f'it has no {name}'):
        check_resumable(str(tmp_path / 'x.pth'))


def test_a_run_without_schedulers_is_resumed(trained, tmp_path):
    content = torch.load(trained / 'epoch_4.pth')
    del content['param_schedulers']
    torch.save(content, tmp_path / 'x.pth')
    check_resumable(str(tmp_path / 'x.pth'), scheduled=False)


def test_nothing_of_a_checkpoint_is_run_or_passed_on(trained, tmp_path):
    code = f'open({str(tmp_path / "ran")!r}, "w")\nmodel = dict()'
    checkpoint = torch.load(trained / 'epoch_3.pth')
    checkpoint['meta']['config'] = code
    checkpoint['message_hub']['runtime_info']['cfg'] = code
    torch.save(checkpoint, tmp_path / 'evil.pth')
    train(tmp_path / 'work', resume=str(tmp_path / 'evil.pth'))
    assert not (tmp_path / 'ran').exists()
    saved = torch.load(tmp_path / 'work' / 'epoch_4.pth')
    assert saved['meta']['epoch'] == 4
    assert str(tmp_path / 'ran') not in str(saved)


def test_before_torch_2_6_a_run_saves_plain_types(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, '__version__', TorchVersion('2.1.2'))
    train(tmp_path)
    with zipfile.ZipFile(tmp_path / 'epoch_3.pth') as archive:
        pickled = archive.read('archive/data.pkl')
    assert not re.findall(rb'c(?:numpy|mmengine|__builtin__)\S*\n|Counter', pickled)
    train(tmp_path / 'resumed', resume=str(tmp_path / 'epoch_3.pth'))
    resumed = torch.load(tmp_path / 'resumed' / 'epoch_4.pth')
    whole = torch.load(trained / 'epoch_4.pth')
    for part in ('state_dict', 'optimizer'):
        assert str(resumed[part]) == str(whole[part])


def test_a_folder_belongs_to_one_process_until_that_ends(tmp_path):
    held, ended = os.pipe(), os.pipe()
    other = os.fork()
    if not other:
        lock(str(tmp_path / 'work'))
        os.write(held[1], b'.')
        os.read(ended[0], 1)
        os._exit(0)
    os.read(held[0], 1)
    with pytest.raises(ValueError, match=rf'process {other} on .*--work-dir'):
        lock(str(tmp_path / 'work'), patience=0)
    lock(str(tmp_path / 'another'), patience=0)
    os.write(ended[1], b'.')
    os.waitpid(other, 0)
    lock(str(tmp_path / 'work'), patience=0)
    lock(str(tmp_path / 'work'), patience=0)  # this process's own
    assert f'process {os.getpid()} ' in (tmp_path / 'work' / '.lock').read_text()


@pytest.mark.parametrize('name', ['epoch_3.pth', 'iter_10.pth', 'best_AP_epoch_1.pth'])
def test_a_new_training_takes_no_folder_with_checkpoints(tmp_path, name):
    (tmp_path / 'pretrained.pth').touch()
    check_fresh(str(tmp_path))
    check_fresh(str(tmp_path / 'nowhere'))
    (tmp_path / name).touch()
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'last_checkpoint').write_text(f'{tmp_path}/{name}')  # out_dir
    for folder in (tmp_path, tmp_path / 'other'):
        with pytest.raises(ValueError, match=f'{name}.*--resume.*--work-dir'):
            check_fresh(str(folder))


@pytest.mark.parametrize(
    ('form', 'averaged'),
    [('bare', False)]
    + [(form, True) for form in ('bare', 'wrapped', 'other head', 'teacher')],
)
def test_what_fits_is_loaded_also_into_averages(tmp_path, form, averaged):
    weights = {'layer.weight': torch.full((1, 1), 7.0), 'layer.bias': torch.zeros(1)}
    weights = {
        'wrapped': {f'module.{name}': w for name, w in weights.items()},
        'other head': weights | {'layer.bias': torch.zeros(3)},
        'teacher': weights | {'teacher.bias': torch.zeros(3)},
    }.get(form, weights)
    torch.save(weights, tmp_path / 'weights.pth')
    hooks = [dict(type='EMAHook', momentum=1e-9)] if averaged else []
    train(tmp_path / 'work', load_from=tmp_path / 'weights.pth', hooks=hooks, lr=0.0)
    saved = torch.load(tmp_path / 'work' / 'epoch_4.pth')
    for part in ('state_dict', *(['ema_state_dict'] if averaged else [])):
        assert saved[part]['module.' * (part != 'state_dict') + 'layer.weight'] == 7


NAN = torch.full((1, 1), torch.nan)


EMA = [dict(type='EMAHook')]


def test_averages_are_resumed_by_a_config_that_averages(tmp_path):
    train(tmp_path / 'averaged', hooks=EMA)
    start = tmp_path / 'averaged' / 'epoch_3.pth'
    with pytest.raises(SystemExit, match='EMAHook'):
        train(tmp_path / 'plain', resume=start)
    assert train(tmp_path / 'same', resume=start, hooks=EMA)[-1] == 4


@pytest.mark.parametrize(
    ('weights', 'words'),
    [
        ({'net.weight': torch.zeros(1, 1)}, None),
        ({'net.weight': torch.zeros(2, 1)}, 'does not fit.* 0 of 1'),
        ({'weight': torch.zeros(2, 1), 'net.bias': torch.zeros(2)}, '0 of 1'),
        ({}, 'no state dict'),
        (None, 'not found'),
    ],
)
def test_pretrained_weights_fit(tmp_path, weights, words):
    path = tmp_path / 'weights.pth'
    if weights is not None:
        torch.save(weights, path)
    part = BaseModule(dict(type='Pretrained', checkpoint=str(path), prefix='net'))
    part.weight, part.bias = nn.Parameter(torch.ones(1, 1)), nn.Parameter(torch.ones(1))
    context = (
        pytest.raises((OSError, ValueError), match=words) if words else nullcontext()
    )
    with context:
        check_pretrained(SimpleNamespace(model=part))


@pytest.mark.parametrize(
    ('part', 'weights'),
    [
        ('state_dict', {'layer.weight': NAN, 'layer.bias': torch.zeros(1)}),
        ('state_dict', {'module.module.layer.weight': torch.ones(1, 1)}),
        ('state_dict', {'layer.weight': torch.ones(2, 1), 'layer.bias': torch.ones(1)}),
        ('ema_state_dict', {'module.layer.weight': NAN}),
    ],
)
def test_a_run_is_resumed_with_all_its_weights_only(trained, tmp_path, part, weights):
    checkpoint = torch.load(trained / 'epoch_3.pth') | {part: weights}
    torch.save(checkpoint, tmp_path / 'other.pth')
    with pytest.raises(SystemExit, match=r'other\.pth'):
        train(tmp_path / 'work', resume=str(tmp_path / 'other.pth'), hooks=EMA)


SGD = dict(type='SGD', lr=0.1, momentum=0.9)


@pytest.mark.parametrize(
    'optimizer',
    [
        dict(optimizer=dict(type='Adam', lr=0.1)),
        dict(optimizer=SGD, paramwise_cfg=dict(bias_lr_mult=2.0)),
    ],
)
def test_a_run_with_another_optimizer_is_not_resumed(trained, tmp_path, optimizer):
    start = trained / 'epoch_3.pth'
    with pytest.raises(SystemExit, match=r'epoch_3\.pth.*another optimizer'):
        train(tmp_path / 'work', resume=start, optimizer=optimizer)


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({}, ()),
        (dict(lr=0.5), ('0.5, is ignored', '0.1 of')),
        (
            dict(max_epochs=5, val_begin=9),
            ('after 20 iterations instead of 16', 'stays at'),
        ),
        (dict(max_epochs=3), ('after 12 iterations instead of 16', 'broken off')),
    ],
)
def test_what_the_config_cannot_change(
    trained, tmp_path, monkeypatch, changes, expected
):
    warnings = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, text: warnings.append(text))
    train(tmp_path, resume=str(trained / 'epoch_3.pth'), **changes)
    assert all(text in ' '.join(warnings) for text in expected)
    assert len(warnings) == bool(expected)
