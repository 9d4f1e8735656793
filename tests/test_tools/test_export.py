"""tools/export.py: as users call it, once in a process of its own."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS

from ldcrn_mm.deploy import open_runtime

PIPELINES = """
val_dataloader['dataset']['pipeline'] = val_pipeline
test_dataloader['dataset']['pipeline'] = val_pipeline
"""


@pytest.fixture(scope='module')
def config(tiny_config, small_images, tmp_path_factory):
    file = tmp_path_factory.mktemp('config') / 'small.py'
    file.write_text(tiny_config.read_text() + small_images + PIPELINES)
    return file


@pytest.fixture(scope='module')
def checkpoint(config, tmp_path_factory):
    """Random weights of a size under which everything shows."""
    init_default_scope('mmpose')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    for parameter in model.parameters():
        if parameter.dim() == 4:
            torch.nn.init.kaiming_normal_(parameter)
    file = tmp_path_factory.mktemp('checkpoint') / 'small.pth'
    torch.save(dict(state_dict=model.state_dict()), file)
    return file


@pytest.fixture(scope='module')
def exported(run_tool, config, checkpoint, mini_coco, tmp_path_factory):
    """What a user's call printed, and the file."""
    folder = tmp_path_factory.mktemp('exported')
    done = run_tool(
        'export.py',
        *[config, checkpoint, '--format', 'onnx', '--images', mini_coco / 'images'],
        cwd=folder,
    )
    return done.stdout, folder / 'outputs/export/small.onnx'


def test_the_file_is_written_and_checked_on_the_pictures(exported):
    printed, file = exported

    assert open_runtime(file).input_size == (48, 64)
    assert 'small.onnx: heatmaps, fp32' in printed
    assert 'against PyTorch on 4 pictures of' in printed
    assert '0 of 68 keypoints moved' in printed
    assert printed.endswith('done\n')


def test_the_exported_file_is_tested_like_the_checkpoint(
    run_tool, config, checkpoint, exported, tmp_path
):
    found = {}
    for weights in (checkpoint, exported[1]):
        out = tmp_path / weights.name
        run_tool(
            'test.py',
            *[config, weights, '--work-dir', tmp_path, '--dump', f'{out}.pkl'],
            *['--out', f'{out}.json'],
        )
        people = load(f'{out}.pkl')
        keypoints = [person['pred_instances']['keypoints'] for person in people]
        metrics = json.loads((tmp_path / f'{weights.name}.json').read_text())
        found[weights.suffix] = (np.concatenate(keypoints), metrics)

    np.testing.assert_allclose(found['.onnx'][0], found['.pth'][0], atol=1e-3)
    assert found['.onnx'][1] == found['.pth'][1]


@pytest.fixture
def run(tool, config, checkpoint, tmp_path, capsys):
    """Calls the tool's main; gives what it printed."""

    def call(*arguments, out='x.onnx'):
        module = tool(
            'export.py', config, checkpoint, '--out', tmp_path / out, *arguments
        )
        module.main()
        return capsys.readouterr().out

    return call


def ended(run, capsys, *arguments, **kwargs):
    """The message with which the program ends."""
    with pytest.raises(SystemExit) as caught:
        run(*arguments, **kwargs)
    code = caught.value.code
    return capsys.readouterr().err if code == 2 else str(code)


@pytest.mark.slow
def test_every_option_reaches_the_file(run, tmp_path):
    printed = run(
        *['--format', 'openvino', '--precision', 'bf16', '--decode'],
        *['--size', '80x64', '--opset', '19'],
        out='x.xml',
    )

    runtime = open_runtime(tmp_path / 'x.xml')
    assert runtime.input_size == (64, 80)
    assert (runtime.decoded, runtime.precision) == (True, 'bf16')
    assert 'keypoints and scores, bf16, of 80x64 images' in printed
    assert 'on 4 images of noise' in printed


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'out'), [('onnx', 'x.onnx'), ('openvino', 'x.xml')])
def test_int8_is_calibrated_and_evaluated_on_the_data_of_the_config(
    run, tmp_path, kind, out
):
    printed = run(
        *['--format', kind, '--precision', 'int8', '--evaluate'],
        *['--calibration-size', '3', '--tolerance', '0.02'],
        out=out,
    )

    assert open_runtime(tmp_path / out).precision == 'int8'
    assert 'on 3 people' in printed
    assert 'against PyTorch on 3 people of train_dataloader' in printed
    assert 'convolutions stay in floating point' in printed
    assert 'coco/AP: ' in printed
    assert ' before, ' in printed


def test_a_file_that_disagrees_is_kept_and_the_exit_status_says_so(
    run, capsys, monkeypatch, tmp_path, exported
):
    def export_another(model, path, size, **options):
        path.write_bytes(exported[1].read_bytes())

    def break_weights(cfg, checkpoint):
        model = load_estimator(cfg, checkpoint)
        model.head.final_layer.weight.data *= 1.01
        return model

    from ldcrn_mm.deploy import export_onnx, trained

    load_estimator = trained.load_estimator
    monkeypatch.setattr(export_onnx, 'export_onnx', export_another)
    monkeypatch.setattr(trained, 'load_estimator', break_weights)

    message = ended(run, capsys, '--format', 'onnx')

    assert 'does not agree with the model. It was not deleted.' in message
    assert (tmp_path / 'x.onnx').is_file()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ('--format onnx --precision bf16', 'bf16 is not for --format onnx'),
        ('--format openvino', 'must end in .xml'),
        ('--format onnx --size 192', "as in 256x192, got '192'"),
        ('--format onnx --opset 9', 'opset from 18 to'),
        ('--format onnx --size 44x64', 'multiples of 8'),
        ('--format onnx --images nowhere', 'nowhere'),
        ('--format onnx --evaluate --size 64x64', 'without --size'),
        ('--format onnx --precision int8 --calibration-size 0', 'at least 1, not 0'),
        ('--format onnx --cfg-options model=dict(a=1)', 'cannot hold a dict'),
        ('--format onnx --cfg-options model.type.x=1', 'model.type.x=1 does not fit'),
        (
            '--format onnx --precision int8 --cfg-options '
            'train_dataloader.dataset.ann_file=nowhere.json',
            'nowhere.json',
        ),
    ],
)
def test_wrong_usage_is_explained(run, capsys, options, message):
    assert message in ended(run, capsys, *options.split())


def test_an_existing_file_is_replaced_only_on_request(run, capsys, tmp_path):
    (tmp_path / 'x.onnx').write_text('precious')

    message = ended(run, capsys, '--format', 'onnx')

    assert 'x.onnx exists; replace it with --overwrite' in message
    assert (tmp_path / 'x.onnx').read_text() == 'precious'


def test_the_weights_beside_an_xml_file_are_replaced_only_on_request(
    run, capsys, tmp_path
):
    (tmp_path / 'x.bin').write_text('precious')

    message = ended(run, capsys, '--format', 'openvino', out='x.xml')

    assert 'x.bin exists; replace it with --overwrite' in message
    assert (tmp_path / 'x.bin').read_text() == 'precious'


def test_a_folder_is_not_replaced(run, capsys, tmp_path):
    (tmp_path / 'x.onnx').mkdir()

    message = ended(run, capsys, '--format', 'onnx', '--overwrite')

    assert 'x.onnx is a folder' in message


def test_a_missing_config_or_checkpoint_is_named(tool, config, checkpoint, capsys):
    for words in (('nowhere.py', checkpoint), (config, 'nowhere.pth')):
        module = tool('export.py', *words, '--format', 'onnx')
        with pytest.raises(SystemExit, match='2'):
            module.main()
        assert f'not found: nowhere.{"py" if words[0] != config else "pth"}' in (
            capsys.readouterr().err
        )
