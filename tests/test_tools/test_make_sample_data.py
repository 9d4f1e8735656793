"""tools/make_sample_data.py, as a user calls it."""

import pytest

from ldcrn_mm.sample_data import make_sample_data


@pytest.mark.parametrize(
    ('format', 'folders'), [('coco', ['coco']), ('both', ['coco', 'mpii'])]
)
def test_it_writes_what_is_asked_for(tool, tmp_path, capsys, format, folders):
    options = ['--format', format, '--num-train', 2, '--num-val', 1, '--seed', 3]
    tool('make_sample_data.py', tmp_path / 'new', *options).main()
    assert 'wrote 2 + 1 pictures' in capsys.readouterr().out
    make_sample_data(tmp_path / 'same', folders, num_train=2, num_val=1, seed=3)
    found, expected = (
        {file.relative_to(top): file.read_bytes() for file in top.rglob('*.*')}
        for top in (tmp_path / 'new', tmp_path / 'same')
    )
    assert found == expected


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [(['--num-train', '1'], 'mpii exists'), (['--format', 'voc'], 'voc')],
)
def test_mistakes_are_told_without_a_traceback(
    tool, tmp_path, capsys, arguments, named
):
    (tmp_path / 'mpii').mkdir()
    with pytest.raises(SystemExit, match='2'):
        tool('make_sample_data.py', tmp_path, *arguments).main()
    assert named in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['mpii']
