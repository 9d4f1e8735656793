"""tools/prepare_data.py: what it finds, makes and asks for."""

import json

import pytest

from ldcrn_mm import paper_data


def test_missing_files_are_named_with_a_source(tool, tmp_path, capsys):
    (tmp_path / 'images' / 'val2017').mkdir(parents=True)
    with pytest.raises(SystemExit, match='1'):
        tool('prepare_data.py', 'coco', tmp_path).main()
    printed = capsys.readouterr().out
    assert f'{tmp_path}/val2017 -> {tmp_path}/images/val2017' in printed
    assert f'missing: {tmp_path}/train2017\n    train2017.zip from http' in printed
    assert (tmp_path / 'val2017').is_dir()


def test_mpiis_own_file_is_converted(
    tool, tmp_path, tmp_path_factory, capsys, monkeypatch
):
    people = [
        paper_data.MpiiPerson(
            place=(0, 0),
            video=1,
            train=name != 'c.jpg',
            single=True,
            head=[[1, 2], [3, 4]],
            annotation=dict(image=name, center=[1, 2], joints_vis=[1]),
        )
        for name in ('a.jpg', 'b.jpg', 'c.jpg')
    ]
    monkeypatch.setattr(paper_data, 'read_mpii', lambda path: people)
    (tmp_path / 'images').mkdir()
    elsewhere = tmp_path_factory.mktemp('elsewhere')
    (elsewhere / 'mpii_human_pose_v1_u12_1.mat').touch()
    (tmp_path / 'inner').symlink_to(elsewhere)
    (tmp_path / 'names.txt').write_text('b.jpg')
    names = ['--val-images', tmp_path / 'names.txt']
    for _ in range(2):  # the second time there is nothing to do
        tool('prepare_data.py', 'mpii', tmp_path, *names).main()
        assert f'{tmp_path} is complete.' in capsys.readouterr().out
    val = json.loads((tmp_path / 'annotations' / 'mpii_val.json').read_text())
    assert [one['image'] for one in val] == ['b.jpg']


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('coco gone', 'missing: gone/train2017'),
        ('mpii . --val-images gone.txt', 'gone.txt'),
        ('lsp .', 'lsp'),
    ],
)
def test_exceptions(tool, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        tool('prepare_data.py', *words.split()).main()
    captured = capsys.readouterr()
    assert message in f'{error.value}{captured.out}{captured.err}'
