"""Runs that may be killed at any moment: their checkpoints, and how they resume."""

import errno
import os
import re
import socket
import time
from bisect import bisect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpose.registry import HOOKS

from ..checkpoint import find_checkpoint, load_weights, read_checkpoint
from ..checkpoint.files import plain, require_finite, starting_weights, tensors_in
from .launch import type_name
from .options import user_errors

RECORD = 'last_validation'  # beside MMEngine's last_checkpoint
KINDS = {'adam_lr', 'alpha', 'betas', 'momentum', 'nesterov', 'rho'}  # of optimizers
PARTS = dict(  # of the state of a training
    optimizer=dict, message_hub=dict, runtime_info=dict, log_scalars=dict,
    epoch=int, iter=int,
)  # fmt: skip
# What the last part of a metric's name says of it
ERRORS = re.compile(r'(EPE|NME|MPJ[PV]E|MRRPE|loss|error)[^/]*$', re.IGNORECASE)
SCORES = re.compile(r'(\bm?A[PR]\b|PCK|AUC|acc)[^/]*$', re.IGNORECASE)


def lock(work_dir: str, patience: float = 5) -> None:
    """Keeps other trainings out of a folder until this process ends, however it does.

    Where the file system knows no locks, there is none.

    Args:
        work_dir: gets a file ``.lock`` with the process and its host.
        patience: seconds to wait for a process that is about to end.

    Raises:
        ValueError: another process has the folder.
    """
    try:
        from fcntl import LOCK_EX, LOCK_NB, lockf
    except ImportError:  # Windows
        return
    os.makedirs(work_dir, exist_ok=True)
    file = os.open(Path(work_dir, '.lock'), os.O_RDWR | os.O_CREAT)
    end = time.monotonic() + patience
    while True:
        try:
            lockf(file, LOCK_EX | LOCK_NB)
            break
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return
            if time.monotonic() > end:
                raise ValueError(
                    f'{work_dir} is in use by another training '
                    f'({os.read(file, 300).decode()}). Choose another folder with '
                    '--work-dir, or end that training.'
                ) from error
            time.sleep(0.2)
    os.ftruncate(file, 0)
    os.write(file, f'process {os.getpid()} on {socket.gethostname()}'.encode())


def check_fresh(work_dir: str) -> None:
    """Refuses a folder with checkpoints, which a new training would replace.

    Raises:
        ValueError: names one of them, and says what to do.
    """
    found = [
        str(path)
        for path in sorted(Path(work_dir).glob('*.pth'))
        if re.match(r'(epoch|iter|best)_', path.name)
    ]
    if last := last_checkpoint(work_dir):  # also where the hook has an `out_dir`
        found.append(last)
    if found:
        raise ValueError(
            f'{work_dir} has checkpoints of an earlier training, such as {found[0]}. '
            'Continue it with --resume from its last epoch_N.pth, or choose another '
            'folder with --work-dir.'
        )


def last_checkpoint(work_dir: str) -> str | None:
    """Finds the checkpoint from which a run resumes.

    MMEngine's file ``last_checkpoint`` names it. A kill can leave that file empty,
    and a folder can be moved. Then it is the file of this name in ``work_dir``, or
    the one with the highest epoch or iteration.

    Returns:
        Its path, or ``None`` if there is none.
    """
    folder = Path(work_dir)
    record = folder / 'last_checkpoint'
    named = Path(record.read_text(errors='replace').strip() if record.is_file() else '')
    numbered = [
        path
        for path in folder.glob('*.pth')
        if re.fullmatch(r'(epoch|iter)_\d+', path.stem)
    ]
    numbered.sort(key=lambda path: int(path.stem.rpartition('_')[2]), reverse=True)
    for path in (folder / named.name, named, *numbered):
        if path.is_file() and path != folder:
            return str(path)
    return None


def check_resumable(source: str, scheduled: bool = True) -> None:
    """Refuses a checkpoint without the state of a training.

    MMEngine would restart the optimizer and the schedule without a word.

    Args:
        source: its path or address.
        scheduled: whether the config has schedulers, so that it must have theirs.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is broken, or has weights only.
    """
    parts = read_checkpoint(source)
    for name in ('meta', 'message_hub'):
        part = parts.get(name)
        parts = parts | part if isinstance(part, dict) else parts
    kinds = PARTS | (dict(param_schedulers=(dict, list)) if scheduled else {})
    missing = [n for n, kind in kinds.items() if not isinstance(parts.get(n), kind)]
    if missing:
        raise ValueError(
            f'cannot resume from `{source}`: it has no {", ".join(missing)}. '
            'Expected an epoch_N.pth of tools/train.py; best_*.pth and published '
            'files hold weights only. To start a new training from these weights, '
            f'leave --resume out and add --cfg-options load_from={source}'
        )


class CheckpointCheckHook(Hook):
    """Checks what MMEngine has read before it loads it, and removes code from it.

    MMEngine only warns about weights that do not fit. A run that is resumed needs all
    weights, and a new one those of the backbone. The others start anew, also in
    averages of weights.

    ``Runner.resume`` runs ``meta['config']`` as Python. MMPose's inferencers run the
    message hub's ``cfg``, which a resumed run would save again.

    Raises:
        SystemExit: weights do not fit the model, or are not finite.
    """

    priority = 'HIGHEST'  # before averages are taken from it

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Called before anything is loaded or resumed."""
        (checkpoint.get('meta') or {}).pop('config', None)
        hub = checkpoint.get('message_hub') or {}
        hub.get('runtime_info', {}).pop('cfg', None)
        with user_errors():
            if runner._resume:
                load_weights(runner.model, checkpoint, runner._load_from)
                if averages := checkpoint.get('ema_state_dict'):
                    if not any(isinstance(hook, EMAHook) for hook in runner.hooks):
                        raise ValueError(
                            f'`{runner._load_from}` has averages for an EMAHook, which '
                            'the config lacks. Resume with it, or use load_from.'
                        )
                    averages = tensors_in(averages, 'ema_state_dict')
                    require_finite(averages, runner._load_from)
                _check_optimizer(runner, checkpoint)
                _compare_lengths(runner, hub)
                return
            weights, new = starting_weights(runner.model, checkpoint, runner._load_from)
        checkpoint['state_dict'] = weights
        if new:
            runner.logger.warning(
                f'{len(new)} weights are not loaded from {runner._load_from} and start '
                f'anew, such as {new[0]}.'
            )


def check_pretrained(runner: Runner) -> None:
    """Refuses files of an ``init_cfg`` that do not fit, where MMEngine only warns."""
    for module in runner.model.modules():
        parts = getattr(module, 'init_cfg', None) or []
        for part in parts if isinstance(parts, list) else [parts]:
            if type_name(part) not in ('Pretrained', 'PretrainedInit'):
                continue
            source = find_checkpoint(part['checkpoint'])
            if '://' not in source:  # else MMEngine downloads it, in one process
                state = read_checkpoint(source)
                state = tensors_in(state.get('state_dict', state), source)
                start = f'{part["prefix"].rstrip(".")}.' if part.get('prefix') else ''
                state = {n.removeprefix(start): value for n, value in state.items()}
                starting_weights(module, state, source)


def _check_optimizer(runner: Runner, checkpoint: dict[str, Any]) -> None:
    """Refuses the state of another optimizer, and warns of another learning rate."""
    states = runner.optim_wrapper.state_dict(), checkpoint['optimizer']
    if 'param_groups' not in states[0]:
        return  # several optimizers
    both = [state.get('param_groups') for state in states]
    try:
        kinds = [
            [(len(group['params']), KINDS & group.keys()) for group in groups]
            for groups in both
        ]
        same = kinds[0] == kinds[1]
    except (AttributeError, LookupError, TypeError):
        same = False
    if not same:
        raise ValueError(
            f'`{runner._load_from}` has the state of another optimizer than the '
            "config's, or of other groups of weights. Resume with the config of that "
            'training, or start anew with load_from.'
        )
    new, old = ([group.get('initial_lr', group['lr']) for group in x] for x in both)
    if new != old:
        runner.logger.warning(
            f'The learning rate of the config, {new[0]:g}, is ignored: the run goes on '
            f'with {old[0]:g} of the checkpoint. For another rate, start anew with '
            'load_from.'
        )


def _compare_lengths(runner: Runner, hub: Mapping[str, Any]) -> None:
    """Warns of a schedule that was made for another number of iterations.

    Other epochs, batches, processes or pictures change it.
    """
    old, new = hub.get('runtime_info', {}).get('max_iters'), runner.max_iters
    if old not in (None, new):
        end = 'is broken off' if new < old else 'then stays at its last value'
        runner.logger.warning(
            f'The run ends after {new} iterations instead of {old}. Its learning rate '
            f'keeps the schedule of the checkpoint, which {end}. For another schedule, '
            'start anew with load_from.'
        )


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's hook for runs that may be killed at any moment.

    * Files appear whole or not at all (backend ``atomic``).
    * The last best checkpoint is removed after the new one is written, and only
      from this run's folder. MMEngine removes it first, wherever it is.
    * ``max_keep_ckpts=1`` keeps two, since MMEngine removes the oldest before it
      writes the new one.
    * A resumed run does the validation that a kill cut short. The file
      ``last_validation`` in the work dir has the epoch or iteration of the last one.
    * Weights, or averages of weights, that are not finite are never written.
    * Without a ``rule``, the best is the lowest value of EPE, NME, MPJPE and losses,
      and the highest of AP, AR, PCK, AUC and accuracies.

    All arguments are those of ``CheckpointHook``.
    """

    def __init__(
        self,
        max_keep_ckpts: int = -1,
        save_best: str | list[str] | None = None,
        backend_args: dict | None = None,
        **kwargs: Any,
    ) -> None:
        metrics = [save_best] if isinstance(save_best, str) else save_best or []
        super().__init__(
            max_keep_ckpts=2 if max_keep_ckpts == 1 else max_keep_ckpts,
            save_best=save_best,
            backend_args=backend_args or dict(backend='atomic'),
            **(rule_keys(metrics) | kwargs),
        )

    def before_train(self, runner: Runner) -> None:
        """Tidies the folder and does the validation that is missing."""
        super().before_train(runner)
        for leftover in Path(self.out_dir).glob('*.pth.*.partial'):
            leftover.unlink(missing_ok=True)
        info = runner.message_hub.runtime_info
        # So that MMEngine saves it again if the validation finds it the best
        self.last_ckpt = info.get('last_ckpt')
        missing = [validation_is_missing(runner)]
        broadcast_object_list(missing)  # as the first process writes the record
        if missing[0]:
            runner.val_loop.run()
        note_validation(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Saves the best checkpoint, then removes the one that it replaces."""
        if self.save_best == ['auto']:
            vars(self).update(rule_keys(metrics))
        info = runner.message_hub.runtime_info
        before = self._best_paths(info)
        # MMEngine does not remove what it does not know
        self._set_best_paths(dict.fromkeys(before))
        super().after_val_epoch(runner, metrics)
        after = self._best_paths(info)
        self._set_best_paths(after)
        for name in _names(before) - _names(after):
            path = self.file_backend.join_path(self.out_dir, name)
            if is_main_process() and self.file_backend.isfile(path):
                self.file_backend.remove(path)
        note_validation(runner)

    def before_save_checkpoint(
        self, runner: Runner, checkpoint: dict[str, Any]
    ) -> None:
        """Refuses weights that are not finite, also those that ``EMAHook`` adds.

        Writes plain types where ``weights_only`` knows no others.
        """
        for part in ('state_dict', 'ema_state_dict'):
            try:
                require_finite(checkpoint.get(part) or {}, part)
            except ValueError as error:
                raise FloatingPointError(
                    f'no checkpoint is written after epoch {runner.epoch}, iteration '
                    f'{runner.iter}: {error}'
                ) from error
        if torch.__version__ >= (2, 6):
            return
        hub = checkpoint.get('message_hub') or {}
        logs = hub.get('log_scalars', {})
        logs.update({name: log.data for name, log in logs.items()})
        for part in {'meta', 'message_hub', 'param_schedulers'} & checkpoint.keys():
            checkpoint[part] = plain(checkpoint[part])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Takes the history of the logs from plain types."""
        logs = (checkpoint.get('message_hub') or {}).get('log_scalars', {})
        plain_logs = {name: log for name, log in logs.items() if isinstance(log, list)}
        logs.update({name: HistoryBuffer(*log) for name, log in plain_logs.items()})

    def _best_paths(self, info: dict[str, Any]) -> dict[str, str | None]:
        """Where the best checkpoints by each metric are, as the message hub has it."""
        metrics = self.key_indicators if self.save_best else []
        keys = [f'best_ckpt_{metric}' for metric in metrics]
        if len(keys) == 1:
            keys = ['best_ckpt']
        return {metric: info.get(key) for metric, key in zip(metrics, keys)}

    def _set_best_paths(self, paths: dict[str, str | None]) -> None:
        if len(paths) == 1:
            (self.best_ckpt_path,) = paths.values()
        else:
            self.best_ckpt_path_dict = paths


def _names(paths: dict[str, str | None]) -> set[str]:
    return {os.path.basename(path) for path in paths.values() if path}


def rule_keys(metrics: Iterable[str]) -> dict[str, list[str]]:
    """Sorts metrics into the ``greater_keys`` and ``less_keys`` of MMEngine's hook.

    Metrics with unknown names are in neither. MMEngine then asks for a rule.
    """
    less = [name for name in metrics if ERRORS.search(name)]
    greater = [name for name in metrics if SCORES.search(name) and name not in less]
    return dict(greater_keys=greater, less_keys=less)


def note_validation(runner: Runner) -> None:
    """Records that no validation is missing up to the current step."""
    if is_main_process():
        Path(runner.work_dir, RECORD).write_text(str(_steps(runner)[0]))


def validation_is_missing(runner: Runner) -> bool:
    """Whether the current step ends with a validation that was not finished."""
    loop = runner.train_loop
    done, end = _steps(runner)
    if runner.val_loop is None or not done or done < loop.val_begin:
        return False
    interval = loop.dynamic_intervals[bisect(loop.dynamic_milestones, done + 1) - 1]
    if done % interval and done != end:
        return False
    record = Path(runner.work_dir, RECORD)
    return not (record.is_file() and record.read_text() == str(done))


def _steps(runner: Runner) -> tuple[int, int]:
    """Number of epochs or iterations, as the loop counts: done, and in all."""
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return runner.epoch, runner.max_epochs
    return runner.iter, runner.max_iters
