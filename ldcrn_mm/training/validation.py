"""The validation that a killed run still has to do."""

from mmengine.runner import EpochBasedTrainLoop, Runner

VALIDATED = 'validated'  # in the message hub, and so in checkpoints


def note_validation(runner: Runner) -> None:
    """Remembers, in the checkpoints to come, what was validated last."""
    runner.message_hub.update_info(VALIDATED, _done(runner))


def validation_is_missing(runner: Runner) -> bool:
    """Whether a resumed run was killed before the validation that was due.

    A checkpoint is written before the validation, and again after one with the
    best result. So a validation without it, of which the checkpoint does not
    know, counts as missing.
    """
    if runner.val_loop is None:
        return False
    loop, done = runner.train_loop, _done(runner)
    if not done or done < loop.val_begin:
        return False
    loop._decide_current_val_interval()
    if done % loop.val_interval and done != _length(runner):
        return False
    return runner.message_hub.runtime_info.get(VALIDATED) != done


def _counts_epochs(runner: Runner) -> bool:
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


def _done(runner: Runner) -> int:
    return runner.epoch if _counts_epochs(runner) else runner.iter


def _length(runner: Runner) -> int:
    return runner.max_epochs if _counts_epochs(runner) else runner.max_iters
