"""Checkpoints that survive a process killed at any moment."""

import os
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from ..checkpoint.files import AtomicLocalBackend  # noqa: F401  registers it
from .validation import note_validation, validation_is_missing


class DeferredRemoval:
    """A file backend that removes files only when it is told to.

    Args:
        backend: does everything else.
    """

    def __init__(self, backend: LocalBackend) -> None:
        self.backend = backend
        self.outdated: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, filepath: str) -> None:
        """Notes a file for :meth:`flush`."""
        self.outdated.append(filepath)

    def flush(self, keep: set[str]) -> None:
        """Removes the noted files that are still there, but those to keep."""
        for path in set(self.outdated) - keep:
            if self.backend.isfile(path):
                self.backend.remove(path)
        self.outdated.clear()


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's hook, for runs that may be killed at any moment.

    Files are written by :class:`AtomicLocalBackend`, and one that is replaced
    (the oldest of ``max_keep_ckpts``, the best so far) is removed after the
    new one is there: MMEngine removes it before. What killed runs left half
    written in the folder is removed before training. Where the kill fell into a
    validation, the resumed run makes up for it: MMEngine goes on with the next
    epoch, and never looks at the last one's weights. A run that is resumed into
    another folder leaves alone what is in the first.

    Args:
        backend_args: where checkpoints are stored.
        **kwargs: as for ``CheckpointHook``.
    """

    def __init__(self, backend_args: dict | None = None, **kwargs: Any) -> None:
        super().__init__(backend_args=backend_args or dict(backend='atomic'), **kwargs)

    def before_train(self, runner: Runner) -> None:
        """Finds the folder, as MMEngine does, tidies it, validates what was left."""
        super().before_train(runner)
        if is_main_process() and isinstance(self.file_backend, LocalBackend):
            for leftover in Path(self.out_dir).glob('*.pth.*.partial'):
                leftover.unlink(missing_ok=True)
        self.file_backend = DeferredRemoval(self.file_backend)
        self._forget_best_elsewhere()
        if validation_is_missing(runner):
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Saves the best, as MMEngine does."""
        note_validation(runner)
        super().after_val_epoch(runner, metrics)

    def _forget_best_elsewhere(self) -> None:
        """Looks for the best checkpoints in this run's folder alone.

        A checkpoint names them by the folder of the run that wrote it.
        """
        if getattr(self, 'best_ckpt_path', None):
            self.best_ckpt_path = self._here(self.best_ckpt_path)
        for metric, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            self.best_ckpt_path_dict[metric] = path and self._here(path)

    def _here(self, path: str) -> str | None:
        here = self.file_backend.join_path(self.out_dir, os.path.basename(path))
        return here if self.file_backend.exists(here) else None

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        self._remove_outdated()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        super()._save_best_checkpoint(runner, metrics)
        self._remove_outdated()

    def _remove_outdated(self) -> None:
        best = getattr(self, 'best_ckpt_path', None)
        bests = getattr(self, 'best_ckpt_path_dict', {})
        self.file_backend.flush(keep={self.last_ckpt, best, *bests.values()})
