"""Checkpoints that survive a process killed at any moment."""

import logging
import os
import re
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import Runner, find_latest_checkpoint
from mmpose.registry import HOOKS


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """The local file system, with files that appear whole or not at all.

    MMEngine writes a checkpoint straight to its name, so a run that is killed
    meanwhile leaves a broken file under it.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes beside ``filepath``, flushes to disk, then renames."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f'{path.name}.{os.getpid()}.partial')
        try:
            with partial.open('wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


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
    written in the folder is removed before training.

    Args:
        backend_args: where checkpoints are stored.
        **kwargs: as for ``CheckpointHook``.
    """

    def __init__(self, backend_args: dict | None = None, **kwargs: Any) -> None:
        super().__init__(backend_args=backend_args or dict(backend='atomic'), **kwargs)

    def before_train(self, runner: Runner) -> None:
        """Finds the folder, as MMEngine does, and tidies it."""
        super().before_train(runner)
        if is_main_process() and isinstance(self.file_backend, LocalBackend):
            for leftover in Path(self.out_dir).glob('*.pth.*.partial'):
                leftover.unlink(missing_ok=True)
        self.file_backend = DeferredRemoval(self.file_backend)

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


def last_checkpoint(work_dir: str) -> str | None:
    """The checkpoint from which a run in ``work_dir`` goes on.

    MMEngine's file ``last_checkpoint`` names it. Where that file is cut short
    (it is not written atomically) or names a file that is gone (the folder was
    moved), it is the checkpoint with the highest number in the folder.

    Returns:
        Its path, ``None`` where there is none.
    """
    named = find_latest_checkpoint(work_dir)
    if named is None or Path(named).is_file():
        return named
    numbered = {
        int(path.stem.rpartition('_')[2]): path
        for path in Path(work_dir).glob('*.pth')
        if re.fullmatch(r'(epoch|iter)_\d+', path.stem)
    }
    if not numbered:
        return None
    found = str(numbered[max(numbered)])
    print_log(
        f'{work_dir}/last_checkpoint names {named!r}, which is no file: going on '
        f'from {found}',
        logger='current',
        level=logging.WARNING,
    )
    return found
