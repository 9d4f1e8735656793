"""What a measurement was taken on, and whether the machine was busy with else."""

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

import ldcrn_mm

LIBRARIES = (
    'torch',
    'torchvision',
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'mmdet',
    'mmpose',
    'numpy',
    'opencv-python',
    'onnx',
    'onnxruntime',
    'onnxruntime-gpu',
    'openvino',
    'nncf',
)
# Somebody else wants a third of a core, or the quartiles are a tenth apart.
BUSY_LOAD, BUSY_SPREAD = 0.3, 0.1


def describe(device: str) -> dict:
    """The machine: processor, cores, GPU.

    Args:
        device: of PyTorch.

    Raises:
        ValueError: where PyTorch has no such device here.
    """
    _require(device)
    usable = getattr(os, 'sched_getaffinity', lambda _: range(os.cpu_count() or 1))(0)
    description = dict(
        platform=platform.platform(),
        cpu=cpu_model(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        cores=os.cpu_count(),
        usable_cores=len(usable),
    )
    if torch.device(device).type == 'cuda':
        description['gpu'] = torch.cuda.get_device_name(device)
    return description


def _require(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # without CUDA: either of them
        reason = str(error).splitlines()[0]
        raise ValueError(f'PyTorch has no device `{device}` here: {reason}') from error


def cpu_model() -> str:
    """The processor's name, as the system calls it."""
    try:
        text = Path('/proc/cpuinfo').read_text()
    except OSError:
        return platform.processor()
    found = re.search(r'^model name\s*:\s*(.+)$', text, re.MULTILINE)
    return found[1] if found else platform.processor()


def versions() -> dict[str, str]:
    """Of Python, this package and the libraries that are installed."""
    found = dict(python=platform.python_version(), ldcrn_mm=ldcrn_mm.__version__)
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Of this package's checkout, with ``+changes`` where it has some.

    ``None`` where it is installed otherwise, or there is no git.
    """
    root = Path(ldcrn_mm.__file__).resolve().parent.parent
    if not (root / '.git').exists():
        return None
    try:
        head = _git(root, 'rev-parse', 'HEAD')
        changed = _git(root, 'status', '--porcelain', '--untracked-files=no')
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + '+changes' * bool(changed)


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ['git', '-C', str(root), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def load_average() -> float | None:
    """Processes that wanted to run, on average over the last minute."""
    return os.getloadavg()[0] if hasattr(os, 'getloadavg') else None


def doubts(
    before: float | None, after: float | None, threads: int, spread: float | None
) -> list[str]:
    """Why a measurement may not be worth much.

    Args:
        before: load average before it.
        after: and after it, its own threads included.
        threads: how many these are.
        spread: of the reference; see :class:`~.statistics.Summary`.
    """
    found = []
    if before is not None and before > BUSY_LOAD:
        found.append(
            f'The machine was busy before: load average {before:.2f}. (A benchmark '
            'within the last minutes does that too.)'
        )
    if after is not None and after > threads + BUSY_LOAD:
        found.append(
            f'The machine was busy meanwhile: load average {after:.2f}, with '
            f'{threads} thread{"s" * (threads > 1)} of the benchmark.'
        )
    if spread is not None and spread > BUSY_SPREAD:
        found.append(
            f'The quartiles of the first contender are {spread:.0%} of its median '
            'apart: heed the ratios, not the times.'
        )
    return found


def command() -> str:
    """The command line, without the folder of the program."""
    return ' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])
