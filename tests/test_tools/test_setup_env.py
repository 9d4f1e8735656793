"""tools/setup_env.sh, with a real shell and a fake Python that notes its calls."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

COMMANDS = 'awk bash cat cksum cp df dirname grep head mkdir sed'
PINS = '# comment\n\ntorch==2.14.1\nmmpose==1.3.2\nnumpy==2.3.5\n'
# An environment is a folder with this program and the files `version` and `torch`.
PYTHON = """#!/bin/bash
here=$(dirname "$(dirname "$0")")
case "$*" in
  *'print(sys.prefix)') echo "$here" ;;
  *'print(sys.version_info[1])')
    [[ $(cat "$here/version") -ge 10 ]] && cat "$here/version" ;;
  *'print("==" + '*) cat "$here/torch" ;;
  '-m venv --clear '*)
    mkdir -p "$4/bin"
    cp "$0" "$4/bin/python3"
    cp "$here/version" "$4"
    echo "VIRTUAL_ENV=$4" >"$4/bin/activate" ;;
  '-m pip install setuptools'*) ;;
  '-m pip install '*) echo "${*:4}" >>"$CALLS"; [[ $* != *"${BAD:-nothing}"* ]] ;;
  *'import ldcrn_mm'*) [[ ${BAD:-} != import ]] ;;
esac
"""
UV = """#!/bin/bash
[[ $5 == setuptools* ]] || echo "uv ${*:5}" >>"$CALLS"
[[ ! ${BAD_UV:-} ]]
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def make_env(folder: Path, name: str, version: int, torch: str = '') -> Path:
    write(folder / 'version', f'{version}\n')
    if torch:
        write(folder / 'torch', torch)
    return write(folder / 'bin' / name, PYTHON)


@dataclass
class Checkout:
    root: Path
    machine: Path

    @property
    def venv(self) -> Path:
        return self.root / '.venv'

    def run(self, *arguments: str, status: int = 0, first: str = '', **environ: str):
        """Returns what was printed and the calls of pip. ``first`` leads PATH."""
        calls = self.machine / 'calls'
        calls.write_text('')
        done = subprocess.run(
            ['bash', self.root / 'tools' / 'setup_env.sh', *arguments],
            env={'PATH': f'{first}:{self.machine}/bin', 'CALLS': str(calls)} | environ,
            cwd='/',
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr, calls.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path, root: Path) -> Checkout:
    """A new checkout on a machine with Python 3.12 and little more."""
    made = Checkout(tmp_path / 'checkout', tmp_path / 'machine')
    (made.root / 'tools').mkdir(parents=True)
    shutil.copy(root / 'tools' / 'setup_env.sh', made.root / 'tools')
    write(made.root / 'tools' / 'pins.txt', PINS)
    write(made.root / 'setup.py', '')
    make_env(made.machine, 'python3.12', 12)
    for name in COMMANDS.split():
        (made.machine / 'bin' / name).symlink_to(shutil.which(name))
    return made


def lock(checkout: Checkout) -> list[str]:
    pins = f'--constraint {checkout.root}/tools/pins.txt'
    first = f'--no-build-isolation {pins} --editable {checkout.root}[dev,runtimes]'
    return [first, '--no-deps mmpose==1.3.2']


def test_the_lock_is_installed_once_and_again_for_new_pins_or_another_place(checkout):
    assert checkout.run()[1] == lock(checkout)
    assert checkout.run() == ('', [])
    assert checkout.run('--print-python')[0] == f'{checkout.venv}/bin/python3\n'
    write(checkout.venv / 'kept', '')
    with (checkout.root / 'tools' / 'pins.txt').open('a') as pins:
        pins.write('six==1.17.0\n')
    assert checkout.run()[1] == lock(checkout)
    assert (checkout.venv / 'kept').exists()
    root = checkout.root.rename(checkout.root.with_name('b'))
    moved = Checkout(root, checkout.machine)
    assert moved.run()[1] == lock(moved)


def test_python_3_10_gets_what_fits_the_bounds(checkout):
    python = make_env(checkout.machine / 'other', 'mine', 10)
    calls = checkout.run(PYTHON=str(python))[1]
    bounds = f'--no-build-isolation torch --editable {checkout.root}[dev,runtimes]'
    assert calls[0] == bounds
    assert checkout.run() == ('', [])
    newer = checkout.run(PYTHON=f'{checkout.machine}/bin/python3.12')[1]
    assert newer == lock(checkout)  # into an environment of that version


def test_the_active_environment_keeps_its_torch(checkout):
    python = make_env(checkout.machine / 'theirs', 'python3', 11, '==2.1.2+cu118')
    active = dict(first=str(python.parent))
    calls = checkout.run('--active', **active)[1]
    expected = f'--no-build-isolation torch==2.1.2+cu118 --editable {checkout.root}'
    assert calls[0] == expected
    assert not checkout.venv.exists()
    printed, calls = checkout.run('--print-python', **active)
    assert (printed, calls) == (f'{python}\n', [])
    assert checkout.run()[1] == lock(checkout)  # while it is not active


def test_uv_is_used_and_pip_where_it_fails(checkout):
    write(checkout.machine / 'bin' / 'uv', UV)
    assert checkout.run(BAD_UV='1')[1][:2] == [
        f'uv {lock(checkout)[0]}',
        lock(checkout)[0],
    ]
    checkout.root.joinpath('setup.py').write_text('changed')
    assert checkout.run()[1] == [f'uv {call}' for call in lock(checkout)]


@pytest.mark.parametrize(
    ('bad', 'message'), [('mmpose==', 'pip failed'), ('import', 'the import fails')]
)
def test_what_failed_is_done_again(checkout, bad, message):
    assert message in checkout.run(status=1, BAD=bad)[0]
    assert checkout.run()[1] == lock(checkout)


@pytest.mark.parametrize(
    ('arguments', 'environ', 'message'),
    [
        ([], dict(PYTHON='/no/python'), 'no Python from 3.10 on'),
        (['--active'], {}, 'no Python from 3.10 on is active'),
        (['--cuda'], {}, 'unknown argument --cuda'),
    ],
)
def test_errors_say_what_is_wrong(checkout, arguments, environ, message):
    printed, calls = checkout.run(*arguments, status=1, **environ)
    assert message in printed
    assert calls == []


def test_an_older_python_is_passed_over(checkout):
    old = make_env(checkout.machine / 'old', 'python3.11', 9)
    checkout.run(first=str(old.parent))
    assert (checkout.venv / 'version').read_text() == '12\n'


def test_help_is_the_comment_at_the_top(checkout):
    usage = checkout.run('--help')[0]
    assert '--print-python' in usage
    assert 'set -euo' not in usage
