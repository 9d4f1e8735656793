"""tools/run_tests.sh, with a fake environment: what it calls, and how it ends."""

import shutil
import subprocess

import pytest

STYLE = ['-m ruff check .', '-m ruff format --check .', '-m codespell_lib']
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
echo "$(dirname "$0")/bin/python"
exit "${SETUP_STATUS-0}"
"""


def execute(*command, **environ):
    """The exit status and what was printed, from another folder."""
    environ = {'PATH': '/usr/bin:/bin'} | environ
    done = subprocess.run(command, env=environ, cwd='/', capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.fixture
def run_tests(tmp_path, root):
    """Its exit status, the threads, and the calls of Python."""
    tools, calls = tmp_path / 'tools', tmp_path / 'calls.txt'
    (tools / 'bin').mkdir(parents=True)
    shutil.copy(root / 'tools' / 'run_tests.sh', tools)
    (tools / 'setup_env.sh').write_text(SETUP)
    (tools / 'bin' / 'python').write_text(PYTHON)
    (tools / 'bin' / 'python').chmod(0o755)

    def run(*arguments, **environ):
        calls.write_text('')
        script = str(tools / 'run_tests.sh')
        status, _ = execute('bash', script, *arguments, CALLS=str(calls), **environ)
        lines = [line.split(': ') for line in calls.read_text().splitlines()]
        return status, {threads for threads, _ in lines}, [call for _, call in lines]

    return run


def test_style_spelling_and_tests_with_the_arguments_of_pytest(run_tests):
    assert run_tests(OMP_NUM_THREADS='7') == (0, {'7'}, [*STYLE, PYTEST])
    _, threads, calls = run_tests('-m', 'slow', '-k', 'head or neck')
    assert calls[-1] == f'{PYTEST} -m slow -k head or neck'
    assert threads < {*'1234'}


@pytest.mark.parametrize(
    ('failing', 'status'),
    [('ruff:3', 3), ('pytest:5', 5), ('codespell_lib:65 pytest:1', 65)],
)
def test_everything_runs_and_it_ends_as_the_first_failure(run_tests, failing, status):
    ended, _, calls = run_tests(FAILING=failing)
    assert (ended, len(calls)) == (status, 4)


def test_it_stops_where_the_environment_cannot_be_made(run_tests):
    assert run_tests(SETUP_STATUS='1') == (1, set(), [])


@pytest.mark.parametrize('with_photographs', [True, False])
def test_ci_names_the_photographs_beside_the_checkout(tmp_path, root, with_photographs):
    checkout, data = tmp_path / 'checkout', tmp_path / 'shared' / 'data'
    (checkout / 'tools').mkdir(parents=True)
    shutil.copytree(root / '.ci', checkout / '.ci')
    script = 'echo "$PWD ${LDCRN_SAMPLE_DATA-unset}"; exit 7\n'
    (checkout / 'tools' / 'run_tests.sh').write_text(script)
    if with_photographs:
        data.mkdir(parents=True)
    told = f'{checkout} {data if with_photographs else "unset"}\n'
    assert execute(checkout / '.ci' / 'run') == (7, told)
