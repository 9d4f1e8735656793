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
    assert not [name for name in command.installed_tools() if 'rtmdet' in name]


def test_an_unknown_tool_is_refused_with_what_comes_close(call):
    with pytest.raises(SystemExit, match=r"'get_flop' is neither .* get_flops"):
        call('get_flop')


def test_a_name_like_none_other_is_refused_without_a_guess(call):
    with pytest.raises(SystemExit, match=r'installs\. `python -m ldcrn_mm --help`'):
        call('qqqqqq')


@pytest.mark.parametrize(('arguments', 'status'), [((), 2), (('--help',), 0)])
def test_help_lists_the_tools(call, capsys, arguments, status):
    with pytest.raises(SystemExit) as stopped:
        call(*arguments)

    assert stopped.value.code == status
    tools = capsys.readouterr().out.partition('Tools: ')[2].strip().split(', ')
    assert {'train', 'test', 'demo', 'get_flops', 'print_config'} < {*tools}
