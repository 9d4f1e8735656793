"""tools/check_data.py, as a user calls it."""

import cv2
import pytest


@pytest.mark.parametrize(
    ('settings', 'status', 'words'),
    [
        ([], 0, ['train_dataloader.dataset: 4 images', '4 people']),
        (['train_cfg.val_interval=0'], 1, ['PROBLEM train_cfg.val_interval']),
    ],
)
def test_problems_are_named(tool, tiny_config, capsys, settings, status, words):
    options = ['--cfg-options', 'resume=False', *settings]
    with pytest.raises(SystemExit) as ended:
        tool('check_data.py', tiny_config, *options).main()
    assert ended.value.code == status
    printed = capsys.readouterr().out
    for word in words:
        assert word in printed


def test_it_draws_twenty_people(tool, tiny_config, tmp_path):
    path = tmp_path / 'people.png'
    with pytest.raises(SystemExit) as ended:
        tool('check_data.py', tiny_config, '--show', path).main()
    assert ended.value.code == 0
    picture = cv2.imread(str(path))
    assert picture.shape == (4 * 256, 5 * 192, 3)
    for colour in ([0, 0, 255], [0, 255, 0]):
        assert (picture == colour).all(2).sum() > 500
