"""tools/convert_checkpoint.py: what it says, writes and refuses."""

import json

import pytest
import torch
from mmpose.apis import init_model


@pytest.fixture
def convert(tool):
    """Runs the tool in this process."""
    return lambda *arguments: tool('convert_checkpoint.py', *arguments).main()


def test_there_loaded_and_back(convert, root, tmp_path, capsys):
    names = json.loads((root / 'tests/data/original_names.json').read_text())['coco']
    before = {name: torch.rand(shape) / 50 for name, shape in names}
    torch.save(before, tmp_path / 'model_best.pth')
    config, converted = root / 'configs/ldcrn_coco.py', tmp_path / 'new' / 'a.pth'
    convert(tmp_path / 'model_best.pth', converted)
    said = capsys.readouterr().out
    assert 'a bare state dict, 1894 tensors' in said
    assert 'configs/ldcrn_coco.py' in said
    model = init_model(config, str(converted), 'cpu')
    assert torch.equal(model.backbone.stem[0][0].weight, before['conv1.weight'])
    assert torch.equal(model.head.final_layer.weight, before['final_layer.weight'])
    assert model.dataset_meta['dataset_name'] == 'coco'
    convert(converted, tmp_path / 'b.pth', '--reverse')
    after = torch.load(tmp_path / 'b.pth', weights_only=True)
    assert all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(ValueError, match=r'python tools/convert_checkpoint\.py'):
        init_model(config, str(tmp_path / 'b.pth'), 'cpu')


def test_nothing_is_overwritten_by_accident(convert, tmp_path, capsys):
    (tmp_path / 'a.pth').write_bytes(b'')
    (tmp_path / 'b.pth').write_text('precious')
    for source, target, message in (
        ('a.pth', 'b.pth', '--overwrite'),
        ('a.pth', '.', 'folder'),
        ('none.pth', 'c.pth', 'file not found'),
    ):
        with pytest.raises(SystemExit):
            convert(tmp_path / source, tmp_path / target)
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r'error: .*a\.pth'):
        convert(tmp_path / 'a.pth', tmp_path / 'b.pth', '--overwrite')
    torch.save({'conv1.weight': torch.zeros(64, 3, 7, 7)}, tmp_path / 'resnet.pth')
    with pytest.raises(SystemExit, match=r'error: .*the original LDCRN'):
        convert(tmp_path / 'resnet.pth', tmp_path / 'b.pth', '--overwrite')
    assert (tmp_path / 'b.pth').read_text() == 'precious'
