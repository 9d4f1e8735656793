"""tools/run_tests.sh, with a fake environment: what it calls, and how it ends."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

PYTEST = '-m pytest -n logical --maxprocesses 4 --dist loadfile'
# Notes its arguments; fails as $FAILING says, for example "ruff:3 pytest:1".
PYTHON = """#!/bin/bash
echo "$OMP_NUM_THREADS: $*" >>"$CALLS"
for failing in $FAILING; do
  if [[ " $* " == *" ${failing%:*} "* ]]; then exit "${failing#*:}"; fi
done
"""
SETUP = """#!/bin/bash
[[ $* == --print-python ]] || exit 9
echo "${PYTHON_OF_ENVIRONMENT-$(dirname "$0")/bin/python}"
exit "${SETUP_STATUS-0}"
"""


@dataclass
class Runner:
    root: Path

    def __call__(self, *arguments: str, **environ: str) -> tuple[int, list[str]]:
        calls = self.root / 'calls.txt'
        calls.unlink(missing_ok=True)
        result = subprocess.run(
            ['bash', str(self.root / 'tools' / 'run_tests.sh'), *arguments],
            env={'PATH': '/usr/bin:/bin', 'CALLS': str(calls)} | environ,
            cwd='/',
            capture_output=True,
            timeout=60,
        )
        lines = calls.read_text().splitlines() if calls.exists() else []
        return result.returncode, lines


@pytest.fixture
def run_tests(tmp_path: Path, root: Path) -> Runner:
    tools = tmp_path / 'tools'
    (tools / 'bin').mkdir(parents=True)
    shutil.copy(root / 'tools' / 'run_tests.sh', tools)
    (tools / 'setup_env.sh').write_text(SETUP)
    (tools / 'bin' / 'python').write_text(PYTHON)
    (tools / 'bin' / 'python').chmod(0o755)
    return Runner(tmp_path)


def test_runs_style_spelling_and_tests(run_tests: Runner) -> None:
    status, calls = run_tests(OMP_NUM_THREADS='7')
    assert status == 0
    assert calls == [
        '7: -m ruff check .',
        '7: -m ruff format --check .',
        '7: -m codespell_lib',
        f'7: {PYTEST}',
    ]


def test_passes_its_arguments_to_pytest(run_tests: Runner) -> None:
    _, calls = run_tests('-m', 'slow', '-k', 'head or neck', OMP_NUM_THREADS='1')
    assert calls[-1] == f'1: {PYTEST} -m slow -k head or neck'


def test_bounds_the_threads(run_tests: Runner) -> None:
    _, calls = run_tests()
    assert calls[-1].split(':')[0] in '1234'


@pytest.mark.parametrize(
    ('failing', 'status'),
    [('ruff:3', 3), ('pytest:5', 5), ('codespell_lib:65 pytest:1', 65)],
)
def test_runs_everything_and_ends_as_the_first_failure(
    run_tests: Runner, failing: str, status: int
) -> None:
    ended, calls = run_tests(FAILING=failing)
    assert ended == status
    assert len(calls) == 4


def test_stops_where_the_environment_cannot_be_made(run_tests: Runner) -> None:
    assert run_tests(SETUP_STATUS='1') == (1, [])


@pytest.mark.parametrize('with_photographs', [True, False])
def test_ci_names_the_photographs_beside_the_checkout(
    tmp_path: Path, root: Path, with_photographs: bool
) -> None:
    checkout = tmp_path / 'checkout'
    (checkout / '.ci').mkdir(parents=True)
    (checkout / 'tools').mkdir()
    shutil.copy(root / '.ci' / 'run', checkout / '.ci')
    script = 'echo "$PWD ${LDCRN_SAMPLE_DATA-unset}"; exit 7\n'
    (checkout / 'tools' / 'run_tests.sh').write_text(script)
    data = tmp_path / 'shared' / 'data'
    if with_photographs:
        data.mkdir(parents=True)
    done = subprocess.run(
        [checkout / '.ci' / 'run'],
        env={'PATH': '/usr/bin:/bin'},
        cwd='/',
        capture_output=True,
        text=True,
    )
    assert done.returncode == 7
    assert done.stdout == f'{checkout} {data if with_photographs else "unset"}\n'
