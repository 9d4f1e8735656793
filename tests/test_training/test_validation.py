"""A training of MMEngine's runner, killed at a point and resumed."""

from typing import ClassVar

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from ldcrn_mm.training import SafeCheckpointHook  # noqa: F401  registers it
from ldcrn_mm.training.resume import last_checkpoint


class Killed(BaseException):
    """In place of SIGKILL: nothing of the program should catch it."""


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x, mode):
        return dict(loss=self.layer(x).sum()) if mode == 'loss' else [self.layer(x)]


class Score(BaseMetric):
    """Worse with every validation, so that only the first is the best."""

    scores: ClassVar[list[int]] = []

    def process(self, batch, samples):
        self.results.append(0)

    def compute_metrics(self, results):
        self.scores.append(-len(self.scores))
        return dict(AP=self.scores[-1])


class Watch(Hook):
    """Notes the validations that were finished, and dies in one."""

    def __init__(self, unit, dies_at=None):
        self.unit, self.dies_at = unit, dies_at
        self.finished = []

    def before_val(self, runner):
        if getattr(runner, self.unit) == self.dies_at:
            raise Killed

    def after_val(self, runner):
        self.finished.append(getattr(runner, self.unit))


def train(folder, watch, loop, resume=None):
    """Three steps an epoch; those that ``loop`` says."""
    data = dict(batch_size=1, sampler=dict(type='DefaultSampler'))
    by_epoch = loop.get('by_epoch', True)
    Runner(
        Model(),
        str(folder),
        train_dataloader=dict(dataset=torch.ones(3, 1), **data),
        val_dataloader=dict(dataset=torch.ones(1, 1), **data),
        train_cfg=loop,
        val_cfg=dict(),
        val_evaluator=Evaluator(Score()),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(
            checkpoint=dict(
                type='SafeCheckpointHook',
                interval=1,
                by_epoch=by_epoch,
                save_best='AP',
                rule='greater',
            ),
            logger=None,
        ),
        custom_hooks=[watch],
        default_scope='mmpose',  # lasts beyond this
        load_from=resume,
        resume=resume is not None,
        experiment_name=f'{folder.name}{id(watch)}',
    ).train()


LOOPS = {
    'epoch': dict(by_epoch=True, max_epochs=5, val_interval=2),
    'iter': dict(by_epoch=False, max_iters=5, val_interval=2),
}


@pytest.fixture(params=sorted(LOOPS))
def unit(request, monkeypatch):
    monkeypatch.setattr(Score, 'scores', [])
    return request.param


@pytest.mark.parametrize(
    ('dies_at', 'before', 'after'),
    [(2, [], [2, 4, 5]), (4, [2], [4, 5]), (5, [2, 4], [5])],
)
def test_the_validation_that_was_killed_is_made_up_for(
    unit, dies_at, before, after, tmp_path
):
    first, second = Watch(unit, dies_at), Watch(unit)
    with pytest.raises(Killed):
        train(tmp_path, first, LOOPS[unit])
    assert first.finished == before

    train(tmp_path, second, LOOPS[unit], last_checkpoint(str(tmp_path)))

    assert second.finished == after


def test_a_validation_with_the_best_result_is_not_repeated(unit, tmp_path):
    train(tmp_path, Watch(unit), LOOPS[unit])
    watch = Watch(unit)

    train(tmp_path, watch, LOOPS[unit], str(tmp_path / f'{unit}_2.pth'))

    assert watch.finished == [4, 5]


def test_none_is_due_where_the_training_starts_or_between_two(unit, tmp_path):
    first, second = Watch(unit), Watch(unit)
    train(tmp_path, first, LOOPS[unit])

    train(tmp_path, second, LOOPS[unit], str(tmp_path / f'{unit}_3.pth'))

    assert (first.finished, second.finished) == ([2, 4, 5], [4, 5])


def test_none_is_due_before_validations_begin(unit, tmp_path):
    watch = Watch(unit)
    train(tmp_path, Watch(unit), LOOPS[unit])
    later = dict(LOOPS[unit], val_begin=4)

    train(tmp_path, watch, later, str(tmp_path / f'{unit}_3.pth'))

    assert watch.finished == [4, 5]
