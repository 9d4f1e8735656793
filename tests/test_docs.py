"""Pages: their links lead somewhere, and all are in the navigation."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpose.registry import MODELS

from ldcrn_mm.training import check

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / 'docs').glob('*.md'))
FILES = [*sorted(ROOT.glob('*.md')), *PAGES, *sorted(ROOT.glob('configs/**/*.md'))]
CODE = re.compile(r'```.*?```|`[^`\n]*`', re.DOTALL)


def anchors(file: Path) -> set[str]:
    """Of the headings, as GitHub and mkdocs make them."""
    text = re.sub(r'```.*?```', '', file.read_text(), flags=re.DOTALL)
    titles = re.findall(r'^#+ (.+)$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', t.lower()).replace(' ', '-') for t in titles}


@pytest.mark.parametrize('file', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(file):
    for link in re.findall(r'\]\(([^)\s]+)\)', CODE.sub('', file.read_text())):
        if '://' in link or link.startswith('mailto:'):
            continue
        path, _, anchor = link.partition('#')
        target = file.parent / path if path else file
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_navigation():
    nav = re.search(r'^nav:\n.*', (ROOT / 'mkdocs.yml').read_text(), re.M | re.S)[0]
    pages = re.findall(r'\w+\.md', str(yaml.safe_load(nav)))
    assert sorted(pages) == [page.name for page in PAGES]


def configs_of(page: str) -> list[str]:
    """The blocks that inherit a config, here one of the checkout."""
    text = (ROOT / page).read_text()
    text = text.replace("'configs/", f"'{ROOT}/configs/")
    text = text.replace('ldcrn_mm::ldcrn/', f'{ROOT}/configs/ldcrn/')
    blocks = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    return [block for block in blocks if re.search('^_base_ = ', block, re.MULTILINE)]


@pytest.mark.parametrize(
    ('page', 'splits'),
    [
        ('README.md', ['train', 'val', 'test']),
        ('docs/train.md', ['train', 'val', 'test']),
        ('docs/extend.md', ['train', 'val', 'test']),
        ('docs/data.md', ['test']),
    ],
)
def test_configs_in_the_pages_have_no_problem(page, splits):
    configs = configs_of(page)
    assert configs
    for code in configs:
        assert not check.config_problems(Config.fromstring(code, '.py'), splits)


@pytest.mark.parametrize(
    ('title', 'shape'),
    [('Another head', (1, 17, 384)), ('Another backbone', (1, 17, 64, 48))],
)
def test_configs_of_the_page_on_extending(title, shape):
    page = (ROOT / 'docs' / 'extend.md').read_text()
    code = re.search(rf'## {title}\n.*?```python\n(.*?)```', page, re.DOTALL)[1]
    cfg = Config.fromstring(code.replace('configs/', f'{ROOT}/configs/'), '.py')
    with DefaultScope.overwrite_default_scope('mmpose'), torch.no_grad():
        found = MODELS.build(cfg.model).eval()(torch.zeros(1, 3, 256, 192), None)
    assert (found if torch.is_tensor(found) else found[0]).shape == shape


def test_the_notebook_ran_from_top_to_bottom():
    file = ROOT / 'docs' / 'tutorial.ipynb'
    cells = json.loads(file.read_text())['cells']
    code = [cell for cell in cells if cell['cell_type'] == 'code']
    assert [cell['execution_count'] for cell in code] == [*range(1, len(code) + 1)]
    kinds = {output['output_type'] for cell in code for output in cell['outputs']}
    assert kinds == {'stream', 'execute_result'}
    assert file.stat().st_size < 200_000
