"""Each tool says how it is used, and imports this package first."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = sorted((ROOT / 'tools').glob('*.py'))
FILES = [
    file for where in ('', 'docs/', 'configs/**/') for file in ROOT.glob(f'{where}*.md')
]
PAGES = ''.join(file.read_text() for file in FILES).replace('\\\n', ' ')


@pytest.mark.parametrize('path', TOOLS, ids=lambda path: path.stem)
def test_it_has_a_help_with_the_options_of_the_pages(tool, path, capsys):
    module = tool(path.name, '--help')
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert f'usage: {path.name}' in text
    call = rf'^(?:ldcrn {path.stem}|python tools/{path.name}) ([^#\n]*)'
    told = re.findall(r'--[\w-]+', ' '.join(re.findall(call, PAGES, re.MULTILINE)))
    assert {*told} <= {*re.findall(r'--[\w-]+', text)}


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
