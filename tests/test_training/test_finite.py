"""Runs end where numbers do, and leave finite checkpoints behind."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample
from torch import nn

from ldcrn_mm.training import FiniteHook, SafeCheckpointHook

NAN, INF = float('nan'), float('inf')


def sample(points=0.0, truth=0.0):
    found = PoseDataSample(metainfo=dict(img_path='cam/7.jpg', id=3))
    for name, value in (('pred_instances', points), ('gt_instances', truth)):
        instances = InstanceData(keypoints=np.full((1, 17, 2), value))
        setattr(found, name, instances)
    return found


def run_of(scaler, buffer=0.0):
    model = nn.Module()
    model.register_buffer('running_mean', torch.tensor([buffer]))
    wrapper = SimpleNamespace(**({'loss_scaler': None} if scaler else {}))
    return SimpleNamespace(epoch=1, iter=41, optim_wrapper=wrapper, model=model)


def train(losses, scaler=False, buffer=0.0):
    """Number of iterations until the end, and what is said there."""
    hook, runner = FiniteHook(), run_of(scaler, buffer)
    batch = dict(data_samples=[sample(), sample()])
    for i, loss in enumerate(losses):
        try:
            hook.after_train_iter(runner, i, batch, dict(loss=torch.tensor(loss)))
        except FloatingPointError as error:
            return i, str(error)
    return len(losses), ''


@pytest.mark.parametrize(
    ('losses', 'scaler', 'end'),
    [
        ([1.0, 2.0], False, 2),
        ([1.0, NAN, 1.0], False, 1),
        ([-INF], False, 0),
        ([1.0, INF, 1.0, NAN, 1.0], True, 5),  # single steps that float16 leaves out
        ([1.0, INF, NAN, 1.0], True, 2),
    ],
)
def test_the_first_loss_that_is_not_finite_ends_the_run(losses, scaler, end):
    found, words = train(losses, scaler)
    assert found == end
    for word in ('epoch 2', 'iteration 42', 'cam/7.jpg') if end < len(losses) else ():
        assert word in words


def test_no_step_is_left_out_with_ruined_statistics():
    assert train([NAN], scaler=True, buffer=NAN)[0] == 0


@pytest.mark.parametrize('bad', [dict(points=NAN), dict(truth=INF)])
@pytest.mark.parametrize('step', ['after_val_iter', 'after_test_iter'])
def test_keypoints_that_are_not_finite_are_not_evaluated(step, bad):
    check = getattr(FiniteHook(), step)
    check(None, 0, None, [sample(), PoseDataSample()])
    with pytest.raises(FloatingPointError, match=r'cam/7\.jpg'):
        check(None, 0, None, [sample(), sample(**bad)])


@pytest.mark.parametrize('part', ['state_dict', 'ema_state_dict'])
def test_weights_that_are_not_finite_are_not_saved(part):
    hook, runner = SafeCheckpointHook(), SimpleNamespace(epoch=1, iter=2)
    good = dict(state_dict=dict(a=torch.ones(2)), ema_state_dict=dict(a=torch.ones(2)))
    hook.before_save_checkpoint(runner, good)
    hook.before_save_checkpoint(runner, dict(state_dict={}))
    with pytest.raises(FloatingPointError, match=part):
        hook.before_save_checkpoint(runner, good | {part: dict(a=torch.tensor(NAN))})
