"""The forms in which checkpoints come and go."""

import io
import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ldcrn_mm.checkpoint import (
    Weights,
    read_mmpose,
    read_original,
    write_mmpose,
    write_original,
)


def weights(value: float) -> OrderedDict[str, Tensor]:
    """A few tensors: reading does not ask whose they are."""
    shapes = {'conv1.weight': (2, 3, 1, 1), 'final_layer.weight': (17, 2, 1, 1)}
    return OrderedDict((name, torch.full(s, value)) for name, s in shapes.items())


@pytest.fixture
def training_checkpoint() -> dict:
    """As the original's training code saves it: two sets of weights, and more."""
    return dict(
        epoch=210,
        model='pose_hrnet',
        state_dict=OrderedDict((f'module.{n}', t) for n, t in weights(1.0).items()),
        best_state_dict=weights(2.0),
        perf=np.float64(0.75),
        optimizer=dict(
            state={0: dict(step=3, exp_avg=torch.zeros(2))},
            param_groups=[dict(lr=1e-3, betas=(0.9, 0.999), params=[0])],
        ),
    )


def is_full_of(state_dict: dict[str, Tensor], value: float) -> bool:
    return all((tensor == value).all() for tensor in state_dict.values())


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_bare_state_dict(tmp_path, prefix):
    original = weights(3.0)
    torch.save({f'{prefix}{n}': t for n, t in original.items()}, tmp_path / 'a.pth')
    read = read_original(tmp_path / 'a.pth')
    assert list(read.state_dict) == list(original)
    assert is_full_of(read.state_dict, 3)
    expected = 'a bare state dict; 2 tensors, 40 parameters, 17 joints'
    assert read.describe() == expected


def test_joints_are_counted_whatever_the_order_of_the_tensors():
    state = OrderedDict(reversed(weights(3.0).items()))
    for last in (torch.zeros(()), torch.zeros(256)):
        state['bn1.num_batches_tracked'] = last
        assert Weights(state, 'it').describe().endswith(', 17 joints')


def test_numbers_for_names_are_no_state_dict(tmp_path):
    torch.save({0: torch.zeros(1)}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='expected tensors by name, but found the k'):
        read_original(tmp_path / 'a.pth')


@pytest.mark.parametrize(('which', 'value'), [('best', 2), ('last', 1)])
def test_training_checkpoint(training_checkpoint, tmp_path, which, value):
    torch.save(training_checkpoint, tmp_path / 'a.pth')
    read = read_original(tmp_path / 'a.pth', which)
    assert is_full_of(read.state_dict, value)
    assert not any(name.startswith('module.') for name in read.state_dict)
    assert read.info == dict(epoch=210, perf=0.75)
    assert type(read.info['perf']) is float
    assert 'epoch 210, perf 0.75' in read.describe()


def test_best_weights_are_the_default(training_checkpoint, tmp_path):
    torch.save(training_checkpoint, tmp_path / 'a.pth')
    assert is_full_of(read_original(tmp_path / 'a.pth').state_dict, 2)


def test_file_of_an_old_pytorch_and_numpy(training_checkpoint, tmp_path):
    """Before PyTorch 1.6 no zip archive, before numpy 2 other module names."""
    buffer = io.BytesIO()
    torch.save(training_checkpoint, buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue()
    assert b'numpy._core.multiarray' in content
    old = content.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
    (tmp_path / 'a.pth').write_bytes(old)
    assert read_original(tmp_path / 'a.pth').info['perf'] == 0.75


def test_training_checkpoint_without_best(training_checkpoint, tmp_path):
    del training_checkpoint['best_state_dict']
    torch.save(training_checkpoint, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r"without 'best_state_dict'.*--which"):
        read_original(tmp_path / 'a.pth')
    assert is_full_of(read_original(tmp_path / 'a.pth', 'last').state_dict, 1)


@pytest.mark.parametrize('dataset', ['coco', 'mpii'])
def test_written_checkpoint_is_plain_complete_and_comes_back(root, tmp_path, dataset):
    names = json.loads((root / 'tests/data/original_names.json').read_text())
    original = {name: torch.full(shape, 4.0) for name, shape in names[dataset]}
    write_mmpose(Weights(original, 'test', dict(epoch=3)), tmp_path / 'a.pth')
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        content = torch.load(tmp_path / 'a.pth', weights_only=True)
    finally:
        torch.serialization.add_safe_globals(allowed)
    assert content['meta']['epoch'] == 3
    meta = content['meta']['dataset_meta']
    assert meta['dataset_name'] == dataset
    assert len(meta['flip_indices']) == len(meta['sigmas']) == meta['num_keypoints']
    write_original(read_mmpose(tmp_path / 'a.pth'), tmp_path / 'b.pth')
    assert [path.name for path in sorted(tmp_path.iterdir())] == ['a.pth', 'b.pth']
    back = torch.load(tmp_path / 'b.pth', weights_only=True)
    assert list(back) == list(original)
    assert is_full_of(back, 4)


def test_other_joints_have_no_data_set(root, tmp_path):
    names = json.loads((root / 'tests/data/original_names.json').read_text())
    original = {name: torch.zeros(shape) for name, shape in names['coco']}
    original['final_layer.weight'] = torch.zeros(14, 32, 1, 1)
    original['final_layer.bias'] = torch.zeros(14)
    meta = write_mmpose(Weights(original, 'test'), tmp_path / 'a.pth')
    assert 'dataset_meta' not in meta


def test_nothing_is_written_of_weights_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match='1892 tensors missing'):
        write_mmpose(Weights(weights(1.0), 'test'), tmp_path / 'a.pth')
    assert not list(tmp_path.iterdir())


class Evil:
    def __reduce__(self):
        return print, ('this must not run',)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([1, 2], 'holds a list, not a dict'),
        (dict(a=1, b=2), 'the keys a, b'),
        (dict(state_dict=dict(a=1), best_state_dict=3), 'but found int'),
        (dict(conv=Evil()), 'broken, or no checkpoint'),
    ],
)
def test_files_of_another_kind(tmp_path, content, message, capsys):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=message):
        read_original(tmp_path / 'a.pth')
    assert 'must not run' not in capsys.readouterr().out


def test_no_checkpoint_at_all(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r'not found.*a\.pth'):
        read_original(tmp_path / 'a.pth')
    for content in (b'', b'text', b'PK\x03\x04 broken'):
        (tmp_path / 'a.pth').write_bytes(content)
        with pytest.raises(ValueError, match='broken, or no checkpoint'):
            read_original(tmp_path / 'a.pth')


def test_direction_is_told(tmp_path):
    torch.save(dict(meta={}, state_dict=weights(7.0)), tmp_path / 'ours.pth')
    with pytest.raises(ValueError, match='--reverse'):
        read_original(tmp_path / 'ours.pth')
    torch.save(weights(7.0), tmp_path / 'original.pth')
    with pytest.raises(ValueError, match='no checkpoint of MMPose'):
        read_mmpose(tmp_path / 'original.pth')
