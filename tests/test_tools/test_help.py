"""Each tool in a process of its own, in which nothing has been imported before it."""

from pathlib import Path

import pytest

TOOLS = sorted((Path(__file__).parents[2] / 'tools').glob('*.py'))


@pytest.mark.parametrize('tool', TOOLS, ids=lambda tool: tool.stem)
def test_it_starts_and_says_how_it_is_used(run_tool, tool):
    """mmpose cannot be imported before ldcrn_mm, on mmcv-lite."""
    assert f'usage: {tool.name}' in run_tool(tool.name, '--help').stdout
