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


def refused(publish, capsys, *arguments: object) -> str:
    """The message with which the program ends."""
    with pytest.raises(SystemExit) as caught:
        publish(*arguments)
    code = caught.value.code
    return capsys.readouterr().err if code == 2 else code


@pytest.fixture
def checkpoint(tiny_config, tmp_path) -> Path:
    """Small enough to publish often: no training."""
    path = tmp_path / 'epoch_3.pth'
    model = init_model(tiny_config, device='cpu')
    torch.save(dict(meta=dict(epoch=3), state_dict=model.state_dict()), path)
    return path


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / 'out'


def test_a_training_is_published_and_found_by_what_was_printed(
    run_tool, tiny_config, trained, tmp_path, monkeypatch
):
    out = tmp_path / 'out'
    options = ['--config', tiny_config, '--log', trained, '--dtype', 'fp16']
    done = run_tool(
        'publish_model.py', trained / 'epoch_3.pth', out, *options, cwd=tmp_path
    )

    path, card = (
        Path(line.removeprefix('wrote '))
        for line in done.stdout.splitlines()
        if line.startswith('wrote ')
    )
    (entry,) = yaml.safe_load(done.stdout.partition(':\n\n')[2])
    assert sorted(out.iterdir()) == sorted([path, card])
    assert 'after epoch 3: this file' in card.read_text()
    assert entry['Name'] == 'tiny'
    assert set(entry['Results'][0]['Metrics']) >= {'AP', 'AP@0.5', 'AR'}
    monkeypatch.setattr(zoo, 'WEIGHTS', out)
    model = init_model(tiny_config, entry['Weights'], 'cpu')
    average = torch.load(trained / 'epoch_3.pth', weights_only=True)['state_dict']
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, average[name], rtol=1e-3, atol=1e-6)


def test_options_reach_the_library(publish, checkpoint, tiny_config, out):
    content = torch.load(checkpoint, weights_only=True)
    model = {f'module.{n}': t + 1 for n, t in content['state_dict'].items()}
    torch.save(dict(content, ema_state_dict=model), checkpoint)

    publish(checkpoint, out / 'model.pth', '--weights', 'model', '--dtype', 'fp16')

    (path,) = out.glob('model-*.pth')
    state = torch.load(path, weights_only=True)['state_dict']
    name = 'backbone.stem.0.0.weight'
    assert torch.equal(state[name], model[f'module.{name}'].half())


def test_an_existing_file_is_kept_and_the_message_says_so(
    publish, checkpoint, out, capsys
):
    publish(checkpoint, out)
    (card,) = out.glob('*.md')
    card.write_text('mine')

    message = refused(publish, capsys, checkpoint, out)

    assert message.startswith('error: ')
    assert 'exists with other content' in message
    assert card.read_text() == 'mine'


def test_other_files_are_refused_in_words(publish, checkpoint, root, out, capsys):
    config = root / 'configs' / 'ldcrn_mpii.py'
    message = refused(publish, capsys, checkpoint, out, '--config', config)
    assert 'is no checkpoint of the model in the config' in message
    message = refused(publish, capsys, checkpoint, out, '--log', 'nowhere.json')
    assert message == 'error: log not found: nowhere.json'
    torch.save(dict(best_state_dict={}, epoch=3), checkpoint)
    message = refused(publish, capsys, checkpoint, out)
    assert 'has no weights' in message
    message = refused(publish, capsys, checkpoint, out, '--log', root / 'configs')
    assert message.startswith('error: No log of a training in')  # before it reads IN
    assert not out.exists()


def test_missing_files_are_named_at_once(publish, checkpoint, out, capsys):
    message = refused(publish, capsys, 'nowhere.pth', out)
    assert 'checkpoint file not found: nowhere.pth' in message
    message = refused(publish, capsys, checkpoint, out, '--config', 'nowhere.py')
    assert 'config file not found: nowhere.py' in message
