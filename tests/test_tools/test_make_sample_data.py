"""tools/make_sample_data.py, as a user calls it."""

import pytest


@pytest.fixture
def run(tool):
    """Runs the tool in this process."""

    def call(*arguments):
        tool('make_sample_data.py', *arguments).main()

    return call


@pytest.mark.parametrize(
    ('format', 'folders'), [('coco', ['coco']), ('both', ['coco', 'mpii'])]
)
def test_it_writes_what_is_asked_for(run, tmp_path, capsys, format, folders):
    run(tmp_path / 'new', '--format', format, '--num-train', 2, '--num-val', 1)
    assert 'wrote 2 + 1 pictures' in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / 'new').iterdir()) == folders
    assert len(list((tmp_path / 'new/coco/train2017').glob('*.jpg'))) == 2
    assert len(list((tmp_path / 'new/coco/val2017').glob('*.jpg'))) == 1


def test_the_seed_decides(run, tmp_path):
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        run(tmp_path / name, '--num-train', 1, '--num-val', 1, '--seed', seed)
    first, again, other = (
        (tmp_path / name / 'mpii/images/000000000001.jpg').read_bytes()
        for name in 'abc'
    )
    assert first == again != other


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        (['--num-train', '1'], 'mpii exists'),
        (['--num-val', '0'], 'num_val'),
        (['--seed', '-1'], 'seed'),
        (['--format', 'voc'], 'voc'),
    ],
)
def test_mistakes_are_told_without_a_traceback(run, tmp_path, capsys, arguments, named):
    (tmp_path / 'mpii').mkdir()
    with pytest.raises(SystemExit) as exit_:
        run(tmp_path, *arguments)
    assert exit_.value.code == 2
    assert named in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['mpii']
