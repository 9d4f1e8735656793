"""Each tool says how it is used, and imports this package first."""

import ast
from pathlib import Path

import pytest

TOOLS = sorted((Path(__file__).parents[2] / 'tools').glob('*.py'))


@pytest.mark.parametrize('path', TOOLS, ids=lambda path: path.stem)
def test_it_says_how_it_is_used(tool, path, capsys):
    module = tool(path.name, '--help')

    with pytest.raises(SystemExit) as end:
        module.main()

    assert end.value.code == 0
    assert f'usage: {path.name}' in capsys.readouterr().out


@pytest.mark.parametrize('path', TOOLS, ids=lambda path: path.stem)
def test_it_imports_nothing_of_mmpose_before_this_package(path):
    """It mends what MMPose cannot be imported without."""
    names = [
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.parse(path.read_text(encoding='utf-8')).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    tops = [name.partition('.')[0] for name in names if name != 'mmpose.registry']
    before = tops[: tops.index('ldcrn_mm')]

    assert not {*before} & {'mmcv', 'mmdet', 'mmpose', 'xtcocotools'}
