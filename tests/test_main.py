import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import ldcrn_mm.__main__ as command

MMPOSE = Path(find_spec('mmpose').origin).parent
SCRIPT = """
import sys
assert 'ldcrn_mm' in sys.modules
print(__name__, sys.argv, sys.path[0])
"""


@pytest.fixture
def call(monkeypatch):
    """Calls it with a command line."""
    # Both are set by what runs: restored afterwards.
    monkeypatch.setattr(sys, 'path', [*sys.path])

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['-m', *map(str, arguments)])
        command.main()

    return run


def test_a_script_runs_as_python_would_run_it(call, tmp_path, capsys):
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    call(script, '--flag', 'value')
    seen = ['__main__', [str(script), '--flag', 'value'], str(tmp_path)]
    assert capsys.readouterr().out.strip() == ' '.join(map(str, seen))


def test_tools_of_this_package_come_first(root):
    assert command.find_tool('train').resolve() == root / 'tools' / 'train.py'


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        ('get_flops', 'tools/analysis_tools/get_flops.py'),
        ('browse_dataset', 'tools/misc/browse_dataset.py'),
        ('inferencer_demo', 'demo/inferencer_demo.py'),
    ],
)
def test_tools_of_mmpose_are_found_by_name(name, path):
    assert command.find_tool(name) == MMPOSE / '.mim' / path


def test_configs_that_lie_beside_the_demos_are_no_tools():
    assert not [name for name in command.tools_of('mmpose') if 'rtmdet' in name]


@pytest.mark.parametrize('name', ['train', 'get_flops', 'numpy'])
def test_nothing_in_the_current_folder_is_taken_for_a_tool(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text('raise SystemExit("ran")')
    monkeypatch.chdir(tmp_path)
    if name == 'numpy':
        with pytest.raises(SystemExit, match=r"'numpy' is no tool"):
            command.find_tool(name)
    else:
        assert tmp_path not in command.find_tool(name).parents
    assert command.find_tool(f'./{name}') == Path(name)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('get_flop', r"'get_flop' is no tool .* get_flops"),
        ('qqqqqq', r'mmpose\. `ldcrn --help`'),
        ('tools/none', 'no file tools/none'),
        ('none.py', r'no file none\.py'),
    ],
)
def test_an_unknown_tool_is_refused_with_what_comes_close(call, name, message):
    with pytest.raises(SystemExit, match=message):
        call(name)


@pytest.mark.parametrize(('arguments', 'status'), [((), 2), (('--help',), 0)])
def test_help_lists_our_tools_first(call, capsys, arguments, status):
    with pytest.raises(SystemExit) as stopped:
        call(*arguments)
    assert stopped.value.code == status
    ours, theirs = capsys.readouterr().out.splitlines()[-2:]
    assert {'train', 'test', 'demo'} < {*ours.partition(': ')[2].split(', ')}
    assert {'get_flops', 'print_config'} < {*theirs.partition(': ')[2].split(', ')}


def test_help_of_the_command_imports_nothing_heavy(root):
    code = (
        'import runpy, sys; sys.argv[1:] = ["--help"]\n'
        'try: runpy.run_path("tools/ldcrn")\n'
        'except SystemExit: print({"torch", "mmpose"} & {*sys.modules})'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=root, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == 'set()', done.stderr
