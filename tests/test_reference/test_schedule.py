"""The learning rate of every one of the 400 epochs."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn

# The paper: 1e-3, divided by ten after 300 and 360 of 400 epochs
STATED = np.repeat([1e-3, 1e-4, 1e-5], [300, 60, 40])


class Line(BaseModel):
    """The smallest thing that a runner trains."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: list[Tensor], mode: str) -> dict[str, Tensor]:
        return dict(loss=self.weight * len(inputs))


class Recorder(Hook):
    """Learning rate with which each epoch trains."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        (rate,) = runner.optim_wrapper.get_lr()['lr']
        self.rates.append(rate)


def learning_rates(cfg: Config, work_dir: str) -> np.ndarray:
    recorder = Recorder()
    unused = ('checkpoint', 'logger', 'timer', 'sampler_seed', 'runtime_info')
    runner = Runner(
        Line(),
        work_dir,
        train_dataloader=dict(
            dataset=[dict(inputs=torch.ones(1))],
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=1,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=cfg.train_cfg.max_epochs),
        optim_wrapper=cfg.optim_wrapper,
        param_scheduler=cfg.param_scheduler,
        default_hooks=dict.fromkeys(unused),
        custom_hooks=[recorder],
        log_level='ERROR',
        experiment_name='schedule',
    )
    runner.train()
    return np.array(recorder.rates)


@pytest.mark.parametrize('dataset', ['coco', 'mpii'])
def test_schedule(cfg, tmp_path, agreement):
    rates = learning_rates(cfg, str(tmp_path))
    assert len(rates) == len(STATED)
    off = (np.abs(rates - STATED) / STATED).max()
    agreement('schedule', 'learning rate of 400 epochs', off, 1e-9, 'relative')


def test_original_drops_an_epoch_early_on_pytorch_of_its_day(agreement):
    """It steps the scheduler at the start of an epoch, as PyTorch 1.0 wanted it."""
    optimizer = torch.optim.Adam([torch.zeros(1)], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [300, 360], 0.1)
    original = []
    for _ in range(400):
        optimizer.step()
        scheduler.step()
        original.append(optimizer.param_groups[0]['lr'])
    (differing,) = np.nonzero(~np.isclose(original, STATED, rtol=1e-9, atol=0))
    assert differing.tolist() == [299, 359]  # the 300th and the 360th
    agreement('schedule', 'epochs with another rate', len(differing), 2, '(known)')
