"""tools/convert_checkpoint.py: what it says, writes and refuses."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.apis import inference_topdown, init_model
from mmpose.visualization import PoseLocalVisualizer


@pytest.fixture
def convert(root, monkeypatch) -> Callable[..., None]:
    """Runs the tool in this process."""
    tool = root / 'tools' / 'convert_checkpoint.py'

    def run(*arguments: object) -> None:
        monkeypatch.setattr('sys.argv', [str(tool), *map(str, arguments)])
        runpy.run_path(str(tool), run_name='__main__')

    return run


@pytest.fixture(scope='module', params=['coco', 'mpii'])
def original(request, root, tmp_path_factory) -> tuple[str, Path]:
    """Data set and file of a network of small random weights."""
    names = json.loads((root / 'tests/data/original_names.json').read_text())
    torch.manual_seed(0)
    state_dict = {n: torch.rand(shape) / 50 for n, shape in names[request.param]}
    path = tmp_path_factory.mktemp('original') / 'model_best.pth'
    torch.save(state_dict, path)
    return request.param, path


def test_converted_checkpoint_is_loaded_and_knows_its_skeleton(
    convert, original, root, tmp_path, capsys
):
    dataset, path = original
    converted = tmp_path / 'new' / 'converted.pth'
    convert(path, converted)
    said = capsys.readouterr().out
    assert 'a bare state dict; 1894 tensors' in said
    assert f'configs/ldcrn_{dataset}.py' in said
    model = init_model(root / f'configs/ldcrn_{dataset}.py', str(converted), 'cpu')
    weights = torch.load(path, weights_only=True)
    assert torch.equal(model.backbone.stem[0][0].weight, weights['conv1.weight'])
    assert torch.equal(model.head.final_layer.weight, weights['final_layer.weight'])
    assert model.dataset_meta['dataset_name'] == dataset
    picture = np.random.RandomState(0).randint(0, 255, (96, 64, 3), np.uint8)
    (result,) = inference_topdown(model, picture)
    visualizer = PoseLocalVisualizer(kpt_color='red')
    visualizer.set_dataset_meta(model.dataset_meta)
    visualizer.add_datasample('a', picture, result, draw_gt=False, kpt_thr=-1)
    assert (visualizer.get_image() != picture).any()


def test_there_and_back_is_the_same(convert, original, tmp_path, capsys):
    _, path = original
    convert(path, tmp_path / 'a.pth')
    convert(tmp_path / 'a.pth', tmp_path / 'b.pth', '--reverse')
    assert "the original's names" in capsys.readouterr().out
    before, after = (
        torch.load(p, weights_only=True) for p in (path, tmp_path / 'b.pth')
    )
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_unconverted_checkpoint_is_refused_with_the_command(original, root):
    dataset, path = original
    config = Config.fromfile(root / f'configs/ldcrn_{dataset}.py')
    with pytest.raises(ValueError, match=r'python tools/convert_checkpoint\.py'):
        init_model(config, str(path), 'cpu')


def test_nothing_is_overwritten_unasked(convert, tmp_path, capsys):
    (tmp_path / 'a.pth').write_bytes(b'')
    (tmp_path / 'b.pth').write_text('precious')
    for target, message in ((tmp_path / 'b.pth', '--overwrite'), (tmp_path, 'folder')):
        with pytest.raises(SystemExit):
            convert(tmp_path / 'a.pth', target)
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match='broken, or no checkpoint'):
        convert(tmp_path / 'a.pth', tmp_path / 'b.pth', '--overwrite')
    assert (tmp_path / 'b.pth').read_text() == 'precious'


def test_other_weights_are_refused_in_words(convert, tmp_path):
    torch.save({'conv1.weight': torch.zeros(64, 3, 7, 7)}, tmp_path / 'resnet.pth')
    with pytest.raises(SystemExit, match='error: These weights are not those'):
        convert(tmp_path / 'resnet.pth', tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


def test_missing_file(convert, tmp_path, capsys):
    with pytest.raises(SystemExit):
        convert(tmp_path / 'none.pth', tmp_path / 'out.pth')
    assert 'file not found' in capsys.readouterr().err


@pytest.mark.slow
def test_tool_that_tests_takes_the_converted_one_only(
    convert, original, root, run_tool, sample_data, tmp_path
):
    dataset, path = original
    if dataset != 'coco':
        pytest.skip('there are no head boxes with the photographs of MPII')
    convert(path, tmp_path / 'converted.pth')
    annotations = sample_data / 'coco/annotations/person_keypoints_val2017.json'
    options = [
        root / 'configs/ldcrn_coco.py',
        '--gt-boxes',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        f'test_dataloader.dataset.data_root={sample_data}/coco',
        f'test_evaluator.ann_file={annotations}',
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
    ]
    done = run_tool('test.py', options[0], tmp_path / 'converted.pth', *options[1:])
    assert 'coco/AP' in done.stdout + done.stderr
    done = run_tool('test.py', options[0], path, *options[1:], status=1)
    assert 'python tools/convert_checkpoint.py' in done.stderr
