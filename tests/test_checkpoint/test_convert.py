"""Checkpoints of the original code: the forms they have, and their names."""

import io
import json
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor

from ldcrn_mm.checkpoint import (
    Weights,
    mmpose_name,
    read_mmpose,
    read_original,
    to_original,
    write_mmpose,
    write_original,
)


def original(root, dataset: str = 'coco') -> dict[str, Tensor]:
    """A state dict of the original, each tensor with a value of its own."""
    shapes = json.loads((root / 'tests/data/original_names.json').read_text())[dataset]
    return {
        name: torch.full(shape, i, dtype=torch.float32)
        for i, (name, shape) in enumerate(shapes)
    }


def few(value: float, prefix: str = '') -> OrderedDict[str, Tensor]:
    """A few tensors: reading does not check whose they are."""
    names = ('conv1.weight', 'final_layer.weight')
    return OrderedDict(
        (f'{prefix}{name}', torch.full((17, 2), value)) for name in names
    )


@pytest.fixture
def training_checkpoint() -> dict:
    """As the original's training code saves it: two sets of weights, and more."""
    return dict(
        epoch=210,
        model='pose_hrnet',
        state_dict=few(1.0, 'module.'),
        best_state_dict=few(2.0),
        perf=np.float64(0.75),
        optimizer=dict(state={0: dict(step=3, exp_avg=torch.zeros(2))}),
    )


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_bare_state_dict_is_read(tmp_path, prefix):
    torch.save(few(3.0, prefix), tmp_path / 'a.pth')
    read = read_original(tmp_path / 'a.pth')
    assert list(read.state_dict) == list(few(3.0))
    assert read.describe() == 'a bare state dict, 2 tensors'


@pytest.mark.parametrize(('which', 'value'), [('best', 2), ('last', 1), (None, 2)])
def test_training_checkpoint_is_read(training_checkpoint, tmp_path, which, value):
    torch.save(training_checkpoint, tmp_path / 'a.pth')
    read = read_original(tmp_path / 'a.pth', *([which] if which else []))
    assert list(read.state_dict) == list(few(value))
    assert all((tensor == value).all() for tensor in read.state_dict.values())
    assert repr(read.info) == "{'epoch': 210, 'perf': 0.75}"
    assert 'epoch 210, perf 0.75' in read.describe()


def test_file_of_an_old_pytorch_and_numpy_is_read(training_checkpoint, tmp_path):
    """Before PyTorch 1.6 no zip archive, before numpy 2 other module names."""
    buffer = io.BytesIO()
    torch.save(training_checkpoint, buffer, _use_new_zipfile_serialization=False)
    old = buffer.getvalue().replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
    (tmp_path / 'a.pth').write_bytes(old)
    assert read_original(tmp_path / 'a.pth').info['perf'] == 0.75


@pytest.mark.parametrize(
    ('read', 'content', 'message'),
    [
        (read_original, dict(meta={}, state_dict=few(7.0)), '--reverse'),
        (read_mmpose, few(7.0), 'conv1.weight, final_layer.weight'),
        (read_original, dict(state_dict=few(1.0)), "'best_state_dict'.*--which"),
        (read_original, dict(state_dict={}, best_state_dict=3), 'found int'),
        (read_original, dict(a=1, b=2), 'the keys a, b'),
        (read_original, {0: torch.zeros(1)}, 'tensors by name'),
    ],
)
def test_other_files_are_refused(tmp_path, read, content, message):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=message):
        read(tmp_path / 'a.pth')


@pytest.mark.parametrize('dataset', ['coco', 'mpii'])
def test_there_and_back_through_files(root, tmp_path, load_bare, dataset):
    before = original(root, dataset)
    write_mmpose(Weights(before, 'test', dict(epoch=3)), tmp_path / 'a.pth')
    content = load_bare(tmp_path / 'a.pth')
    assert content['meta']['epoch'] == 3
    meta = content['meta']['dataset_meta']
    assert meta['dataset_name'] == dataset
    assert len(meta['flip_indices']) == len(meta['sigmas']) == meta['num_keypoints']
    for name, tensor in before.items():
        assert torch.equal(content['state_dict'][mmpose_name(name)], tensor)
    write_original(read_mmpose(tmp_path / 'a.pth'), tmp_path / 'b.pth')
    back = torch.load(tmp_path / 'b.pth', weights_only=True)
    assert list(back) == list(before)
    assert all(torch.equal(back[name], before[name]) for name in before)
    with pytest.raises(ValueError, match=r'1 unknown .*backbone\.more'):
        to_original(content['state_dict'] | {'backbone.more': torch.zeros(1)})


def test_other_numbers_of_joints_have_no_data_set(root, tmp_path):
    state = original(root)
    state['final_layer.weight'] = torch.zeros(14, 32, 1, 1)
    state['final_layer.bias'] = torch.zeros(14)
    assert 'dataset_meta' not in write_mmpose(Weights(state, 'test'), tmp_path / 'a')


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('final_layer.weight', None, r'1 missing .*head\.final_layer\.weight'),
        ('layer1.3.bn.weight', None, r'1 missing .*backbone\.layer1\.3'),
        ('fc.bias', torch.zeros(32), r'1 unknown .*fc\.bias'),
        ('conv1.weight', torch.zeros(64, 3, 7, 7), r'\(64, 3, 7, 7\) instead of'),
        ('conv1.weight', torch.full((64, 3, 3, 3), torch.nan), r'stem\.0\.0\.weight'),
    ],
)
def test_weights_of_another_network_are_refused(root, tmp_path, name, value, message):
    state = original(root)
    if value is None:
        del state[name]
    else:
        state[name] = value
    with pytest.raises(ValueError, match=message):
        write_mmpose(Weights(state, 'test'), tmp_path / 'a.pth')
    assert not list(tmp_path.iterdir())
