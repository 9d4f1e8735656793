"""The checkpoint from which a killed run goes on."""

import logging
import re
from pathlib import Path

from mmengine.logging import print_log
from mmengine.runner import find_latest_checkpoint

from ldcrn_mm.checkpoint import read_checkpoint


def last_checkpoint(work_dir: str) -> str | None:
    """The checkpoint from which a run in ``work_dir`` goes on.

    MMEngine's file ``last_checkpoint`` names it, with the folder that it was
    written to. Where that file is missing, cut short (it is not written
    atomically) or names one that is gone, it is the checkpoint with the highest
    number in the folder.

    Returns:
        Its path, ``None`` where there is none.
    """
    folder = Path(work_dir)
    record = folder / 'last_checkpoint'
    # MMEngine warns where there is none, also before a first training.
    named = find_latest_checkpoint(work_dir) if record.is_file() else None
    if named:
        for path in (folder / Path(named).name, Path(named)):
            if path.is_file():
                return str(path)
    numbered = {
        int(path.stem.rpartition('_')[2]): path
        for path in folder.glob('*.pth')
        if re.fullmatch(r'(epoch|iter)_\d+', path.stem)
    }
    if not numbered:
        return None
    found = str(numbered[max(numbered)])
    print_log(
        f'{record} names no file that is there: going on from {found}',
        logger='current',
        level=logging.WARNING,
    )
    return found


def check_resumable(source: str) -> None:
    """Refuses a checkpoint that does not say where its training was.

    Args:
        source: path or address of a checkpoint.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it is broken, or holds weights only.
    """
    meta = read_checkpoint(source).get('meta') or {}
    if not {'epoch', 'iter'} <= set(meta):
        raise ValueError(
            f'cannot resume from `{source}`: it holds weights, but not the epoch and '
            'the iteration of a training. Resume from an epoch_N.pth of '
            'tools/train.py; to start a new training from these weights, leave '
            f'--resume out and add --cfg-options load_from={source}'
        )
