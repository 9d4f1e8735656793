"""Files of plain types, whole or not at all."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from ldcrn_mm.checkpoint.writing import plain, to_bytes, write_whole


def test_numpy_becomes_lists_and_numbers():
    meta = OrderedDict(
        sigmas=np.array([0.5, 1], np.float32),
        colors=[np.array([[1, 2]], np.uint8), (3, np.int64(4))],
        names={np.int64(0): np.str_('nose')},
        flag=np.bool_(True),
        nothing=None,
    )
    result = plain(meta)
    assert result == dict(
        sigmas=[0.5, 1.0],
        colors=[[[1, 2]], [3, 4]],
        names={0: 'nose'},
        flag=True,
        nothing=None,
    )
    types = [type(result), *map(type, result['sigmas']), type(result['colors'][1])]
    types += [type(x) for x in (*result['names'], *result['names'].values())]
    assert types == [dict, float, float, list, int, str]
    assert type(result['flag']) is bool


@pytest.mark.parametrize('value', [object(), {1, 2}, Path('a'), torch.__version__])
def test_what_bare_pytorch_would_not_read_is_refused(value):
    with pytest.raises(TypeError, match=f'holds a {type(value).__name__}'):
        plain(dict(a=[value]))


def test_the_same_content_is_the_same_file():
    def content():
        return dict(meta=dict(epoch=3), state_dict=dict(weight=torch.arange(4.0)))

    assert to_bytes(content()) == to_bytes(content())
    assert to_bytes(content()) != to_bytes(dict(content(), meta=dict(epoch=4)))


def test_a_folder_is_made_and_nothing_else_left_in_it(tmp_path):
    write_whole(b'content', tmp_path / 'new' / 'file')
    assert (tmp_path / 'new' / 'file').read_bytes() == b'content'
    assert len(list((tmp_path / 'new').iterdir())) == 1


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / 'file').write_bytes(b'old')

    def full(descriptor):
        raise OSError('no space left')

    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(OSError, match='no space'):
        write_whole(b'content', tmp_path / 'file')
    assert (tmp_path / 'file').read_bytes() == b'old'
    assert len(list(tmp_path.iterdir())) == 1
