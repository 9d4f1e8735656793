"""tools/publish_model.py: from a training to what others load."""

from pathlib import Path

import pytest
import torch
import yaml
from mmpose.apis import init_model

from ldcrn_mm.checkpoint import zoo


@pytest.fixture
def publish(tool, capsys):
    """Runs the tool in this process; returns what it printed."""

    def call(*arguments: object) -> str:
        tool('publish_model.py', *arguments).main()
        return capsys.readouterr().out

    return call


@pytest.fixture
def checkpoint(tiny_config, tmp_path) -> Path:
    """Small enough to publish often: no training."""
    path = tmp_path / 'epoch_3.pth'
    model = init_model(tiny_config, device='cpu')
    torch.save(dict(meta=dict(epoch=3), state_dict=model.state_dict()), path)
    return path


def test_a_training_is_published(publish, tiny_config, trained, tmp_path, monkeypatch):
    options = ['--config', tiny_config, '--log', trained, '--dtype', 'fp16']
    printed = publish(trained / 'epoch_3.pth', tmp_path, *options)
    (path,) = tmp_path.iterdir()
    assert f'wrote {path}\n' in printed
    (entry,) = yaml.safe_load('- Name:' + printed.partition('- Name:')[2])
    assert entry['Name'] == 'tiny'
    metrics = entry['Results'][0]['Metrics']
    assert set(metrics) == {'AP', 'AP@0.5', 'AP@0.75', 'AP (M)', 'AP (L)', 'AR',
                            'AR@0.5', 'AR@0.75', 'AR (M)', 'AR (L)'}  # fmt: skip
    assert f'AP {metrics["AP"]:.4f}, ' in printed
    monkeypatch.setattr(zoo, 'WEIGHTS', tmp_path)
    model = init_model(tiny_config, entry['Weights'], 'cpu')
    average = torch.load(trained / 'epoch_3.pth', weights_only=True)['state_dict']
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, average[name], rtol=1e-3, atol=1e-6)


def test_options_reach_the_library(publish, checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    model = {f'module.{n}': t + 1 for n, t in content['state_dict'].items()}
    torch.save(dict(content, ema_state_dict=model), checkpoint)
    publish(checkpoint, tmp_path / 'my.pth', '--weights', 'model', '--dtype', 'fp16')
    (path,) = tmp_path.glob('my-*.pth')
    state = torch.load(path, weights_only=True)['state_dict']
    name = 'backbone.stem.0.0.weight'
    assert torch.equal(state[name], model[f'module.{name}'].half())


def test_errors_are_one_line(publish, checkpoint, root, tmp_path, capsys):
    out = tmp_path / 'out'
    mpii = root / 'configs' / 'ldcrn_mpii.py'
    for arguments, message in (
        (['nowhere.pth', out], 'checkpoint file not found: nowhere.pth'),
        ([checkpoint, out, '--config', 'nowhere.py'], 'file not found: nowhere.py'),
        ([checkpoint, out, '--config', mpii], 'is no checkpoint of the model'),
        ([checkpoint, out, '--log', 'nowhere.json'], 'log not found: nowhere.json'),
        ([checkpoint, checkpoint / 'out'], 'Not a directory'),
    ):
        with pytest.raises(SystemExit) as caught:
            publish(*arguments)
        code = caught.value.code
        assert message in (capsys.readouterr().err if code == 2 else code)
    assert not out.exists()
