"""tools/report.py on a real training."""

import re

import pytest


def test_a_page_of_a_training(tool, trained, tmp_path, capsys):
    out = tmp_path / 'new' / 'page.html'
    tool('report.py', trained, '--out', out, '--num', 2).main()
    assert capsys.readouterr().out.splitlines()[-1] == f'wrote {out}'
    html = out.read_text()
    assert re.search(r'Validation of best_coco_AP_epoch_\d.pth', html)
    for text in ('4 people', 'coco/AP', 'AP over thresholds', 'Worst', 'LDCRNHead'):
        assert text in html
    assert 'class="missing"' not in html
    assert html.count('data:image/jpeg') == 2 + 2 + 2
    assert set(re.findall('src="(.{10})', html)) == {'data:image'}


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('.', 'log not found'),
        ('. --out page.pdf', '.html'),
        ('. --out /dev/null/page.html', 'cannot write'),
        ('. --checkpoint gone.pth', 'gone.pth'),
        ('. --config gone.py', 'gone.py'),
    ],
)
def test_errors(tool, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        tool('report.py', *words.split()).main()
    assert message in f'{error.value}{capsys.readouterr().err}'
