"""Runs that end where a loss or a prediction is no longer a number."""

import logging
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import Tensor


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stops a run at the first loss or keypoint that is NaN or infinite.

    Where a loss scale (float16) skips the step, one such loss is left out. The second
    in a row ends the run, as do running statistics that are not finite.
    (MMDetection's ``CheckInvalidLossHook`` needs MMDetection, looks at every 50th loss
    and names nothing.)

    Raises:
        FloatingPointError: names the epoch, the iteration and the pictures.
    """

    priority = 'HIGHEST'  # before averages of weights and of losses

    def __init__(self) -> None:
        self.skipped = False

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Tensor] | None = None,
    ) -> None:
        """Checks the loss in all processes."""
        loss = (outputs or {}).get('loss')
        if loss is None:
            return
        own = not loss.isfinite().all()
        if not _anywhere(own, loss.device):
            self.skipped = False
            return
        where = f'the loss is not finite in epoch {runner.epoch + 1}, iteration '
        where += str(runner.iter + 1)
        if not _anywhere(not self._skips(runner), loss.device):
            self.skipped = True
            print_log(f'{where}: this step is left out.', 'current', logging.WARNING)
            return
        batches = all_gather_object(_pictures(data_batch) if own else [])
        raise FloatingPointError(
            f'{where}. Pictures of the batch: {", ".join(chain(*batches))}. Lower '
            'the learning rate, or look for wrong annotations with '
            '`tools/check_data.py CONFIG --show FILE.jpg`.'
        )

    def _skips(self, runner: Runner) -> bool:
        """Whether the optimizer left the step out, and the model is unharmed."""
        return (
            hasattr(runner.optim_wrapper, 'loss_scaler')
            and not self.skipped
            and all(buffer.isfinite().all() for buffer in runner.model.buffers())
        )

    def _after_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any, outputs: Any, mode: str
    ) -> None:
        """Checks the keypoints while validating and testing."""
        _require_keypoints(outputs)


def _anywhere(here: bool, device: torch.device) -> bool:
    """Whether it is so in any of the processes."""
    flag = torch.tensor(float(here), device=device)
    all_reduce(flag, 'max')
    return bool(flag)


def _require_keypoints(samples: Sequence) -> None:
    for sample in samples:
        for name in ('gt_instances', 'pred_instances'):
            points = sample.get(name, {}).get('keypoints')
            if points is not None and not torch.as_tensor(points).isfinite().all():
                raise FloatingPointError(
                    f'{name}.keypoints are not finite for {_name(sample)}. Expected '
                    'numbers: look at the boxes, the annotations and the weights.'
                )


def _pictures(batch: Any) -> list[str]:
    samples = batch.get('data_samples', ()) if isinstance(batch, dict) else ()
    return [_name(sample) for sample in samples]


def _name(sample: Any) -> str:
    return f'{sample.get("img_path")} (annotation {sample.get("id")})'
