"""Temporary environments, and what is built and installed into them, all offline."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOT_SOURCES = (
    '.*', '__pycache__', '*.egg-info', 'build', 'checkpoints', 'data', 'dist',
    'outputs', 'work_dirs',
)  # fmt: skip


def run(*command: object, cwd: Path) -> str:
    """Runs a command that has to succeed, and returns what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_sources(root: Path, folder: Path) -> Path:
    """The files of the checkout, where building leaves no traces in it.

    ``data`` is left out at the top alone: folders of that name further down belong
    to the tests.
    """
    ignore = shutil.ignore_patterns(*NOT_SOURCES)

    def ignored(path: str, names: list[str]) -> set[str]:
        return ignore(path, names) - (set() if Path(path) == root else {'data'})

    return Path(shutil.copytree(root, folder, ignore=ignored))


def build(
    kind: str, sources: Path, folder: Path, python: str | Path = sys.executable
) -> Path:
    """Calls what ``pip`` and ``build`` call, without their network."""
    hook = f'setuptools.build_meta.build_{kind}'
    code = f'import setuptools.build_meta; print({hook}({str(folder)!r}))'
    return folder / run(python, '-c', code, cwd=sources).splitlines()[-1]


def pip(env: Path, *arguments: object) -> None:
    """Installs into another environment."""
    python = env / 'bin' / 'python'
    offline = ['--no-index', '--no-deps', '--no-build-isolation', '--quiet']
    call = [sys.executable, '-m', 'pip', '--python', python, 'install', *offline]
    run(*call, *arguments, cwd=env)


def site_packages(env: Path) -> Path:
    return next(env.glob('lib/python3*/site-packages'))


def make_env(folder: Path, *, with_host: bool) -> Path:
    """An environment that sees this one's packages, or only what builds."""
    run(sys.executable, '-m', 'venv', '--without-pip', folder, cwd=folder.parent)
    ours = Path(pytest.__file__).parent.parent
    theirs = site_packages(folder)
    if with_host:
        (theirs / 'host.pth').write_text(f'{ours}\n')
        return folder
    for pattern in (
        '_distutils_hack',
        'setuptools',
        'setuptools-*',
        'wheel',
        'wheel-*',
    ):
        for package in ours.glob(pattern):
            (theirs / package.name).symlink_to(package)
    return folder
