"""Peak memory of the process that asks, above that of the loaded program."""

import re
import sys
from contextlib import suppress
from pathlib import Path

import torch

STATUS, CLEAR = Path('/proc/self/status'), Path('/proc/self/clear_refs')


class PeakMemory:
    """What the process, or the GPU, has held at most since this was created.

    Of a CPU it is resident memory beyond what was resident at the start, so
    that the libraries do not count; of a GPU, the tensors.

    Args:
        device: where the tensors are, such as ``'cpu'`` or ``'cuda:0'``.
    """

    def __init__(self, device: str = 'cpu') -> None:
        self._device = torch.device(device)
        if self._device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(self._device)
        _forget_peak()
        self._start = resident_bytes()

    def bytes(self) -> int:
        """The peak so far."""
        if self._device.type == 'cuda':
            return torch.cuda.max_memory_allocated(self._device)
        return max(peak_bytes() - self._start, 0)


def resident_bytes() -> int:
    """What this process holds in memory (on other systems than Linux, its peak)."""
    return _status('VmRSS') or _peak_of_usage()


def peak_bytes() -> int:
    """What this process has held in memory at most.

    Linux's ``getrusage`` would not do: a process starts with the peak of the
    one that started it.
    """
    return _status('VmHWM') or _peak_of_usage()


def _forget_peak() -> None:
    """Lets Linux's peak start again from what is resident, where it may."""
    with suppress(OSError):
        CLEAR.write_text('5')


def _status(field: str) -> int | None:
    try:
        found = re.search(rf'^{field}:\s+(\d+) kB$', STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _peak_of_usage() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024
