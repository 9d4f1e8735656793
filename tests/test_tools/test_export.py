"""tools/export.py, and the script that it writes."""

import contextlib
import io
import json
import runpy
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import init_default_scope
from mmpose.datasets.transforms import LoadImage
from mmpose.models import PoseDataPreprocessor
from mmpose.registry import MODELS

from ldcrn_mm import checkpoint as checkpoints
from ldcrn_mm.deploy import export, open_runtime
from ldcrn_mm.deploy.form import DeployDCRM
from ldcrn_mm.inference import TopdownInferencer

from ..test_models.networks import randomise

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
    init_default_scope('mmpose')
    model = randomise(MODELS.build(Config.fromfile(config).model))
    file = tmp_path_factory.mktemp('checkpoint') / 'small.pth'
    torch.save(dict(state_dict=model.state_dict()), file)
    return file


@pytest.fixture(scope='module')
def exported(call_tool, config, checkpoint, mini_coco, tmp_path_factory):
    """What a user's call printed, and the file."""
    folder, printed = tmp_path_factory.mktemp('exported'), io.StringIO()
    words = [config, checkpoint, '--format', 'onnx', '--images', mini_coco / 'images']
    with contextlib.redirect_stdout(printed):
        call_tool('export.py', *words, cwd=folder)
    return printed.getvalue(), folder / 'outputs/export/small.onnx'


def test_the_file_is_written_and_checked_on_the_pictures(exported):
    printed, file = exported
    assert open_runtime(file).input_size == (48, 64)
    assert 'small.onnx: heatmaps, fp32' in printed
    assert 'against PyTorch on 4 pictures of' in printed
    assert '0 of 68 keypoints moved' in printed
    assert printed.endswith('done\n')


def test_the_file_is_tested_like_its_source(
    tool, config, checkpoint, exported, tmp_path
):
    found = {}
    for weights in (checkpoint, exported[1]):
        out = tmp_path / weights.name
        tool(
            'test.py',
            *[config, weights, '--work-dir', out, '--dump', f'{out}.pkl'],
            *['--out', f'{out}.json'],
        ).main()
        people = load(f'{out}.pkl')
        keypoints = [person['pred_instances']['keypoints'] for person in people]
        metrics = json.loads((tmp_path / f'{weights.name}.json').read_text())
        found[weights.suffix] = (np.concatenate(keypoints), metrics)
    np.testing.assert_allclose(found['.onnx'][0], found['.pth'][0], atol=1e-3)
    assert found['.onnx'][1] == found['.pth'][1]


BOXES = [[5, 4, 50, 60], [-3, 10, 30, 40], [20, 20, 63, 33]]


@pytest.mark.parametrize(
    ('flip', 'dark', 'python'),
    [(False, False, True), (True, False, False), (True, True, False)],
)
def test_the_script_is_the_inferencer(
    config, checkpoint, exported, mini_coco, flip, dark, python
):
    cfg = Config.fromfile(config)
    cfg.model.test_cfg = dict(flip_test=flip, shift_heatmap=True, output_heatmaps=False)
    cfg.model.head.decoder.update(unbiased=dark, blur_kernel_size=5)
    # MMPose's inference API does not look at the validation.
    cfg.val_dataloader = None
    if python:  # a type may be a class, and a preprocessor without mean
        cfg.model.data_preprocessor = dict(type=PoseDataPreprocessor)
        cfg.test_dataloader.dataset.pipeline[0].type = LoadImage
    inferencer = TopdownInferencer(cfg, checkpoint, device='cpu')
    script = export.write_predictor(cfg, inferencer.model, exported[1])
    names = runpy.run_path(str(script))
    predict = names['Predictor'](flip_test=flip)
    for picture in sorted((mini_coco / 'images').iterdir()):
        for boxes in (BOXES, None):
            found = predict(cv2.imread(str(picture)), boxes)
            ((people,),) = (
                one['predictions'] for one in inferencer(str(picture), bboxes=boxes)
            )
            for person, keypoints, scores in zip(people, *found, strict=True):
                expected = person['keypoints'], person['keypoint_scores']
                np.testing.assert_allclose(keypoints, expected[0], atol=1e-3)
                np.testing.assert_allclose(scores, expected[1], atol=1e-3)
    assert [len(each) for each in predict(cv2.imread(str(picture)), [])] == [0, 0]
    assert names['SETTINGS']['keypoints'][:2] == ['nose', 'left_eye']


def test_the_script_needs_little(exported, mini_coco):
    script = exported[1].with_name('predict_small.py')
    absent = '; '.join(
        f'sys.modules[{n!r}] = None' for n in ('torch', 'mmcv', 'mmpose')
    )
    boxes = ['--boxes', '-5,-4.5,50,60', '5,4,50,60']
    words = [script, mini_coco / 'images/1.png', *boxes, '--flip-test']
    code = f'import sys, runpy; {absent}; sys.argv = {[*map(str, words)]}; '
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    printed = subprocess.run(
        [sys.executable, '-c', code], check=True, capture_output=True, text=True
    ).stdout
    person, _ = json.loads(printed)
    assert len(person) == 17
    assert len(person['nose']) == 3


def test_the_script_explains(exported, mini_coco, monkeypatch, capsys):
    script = str(exported[1].with_name('predict_small.py'))
    words = [script, str(mini_coco / 'images/1.png')]
    for more, name in (
        (['--model', 'none.onnx'], 'none.onnx'),
        (['--boxes', '0,0,9'], 'X1,Y1'),
        (['--boxes', '5,4,50,60', '0,0,.5,.5'], '[0.0, 0.0, 0.5, 0.5]'),
        (['--boxes', '50,4,5,60'], '[50.0, 4.0, 5.0, 60.0]'),
        (['--boxes', '900,0,990,9'], '[900.0, 0.0, 990.0, 9.0]'),
        (['--boxes', '0,0,inf,9'], 'inf'),
        (['--boxes', '0,0,nan,9'], 'nan'),
    ):
        monkeypatch.setattr(sys, 'argv', [*words, *more])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(script, run_name='__main__')
        assert name in str(ended.value) + capsys.readouterr().err
    predict = runpy.run_path(script)['Predictor']()
    for image in np.zeros((9, 9, 3)), np.zeros((9, 9), np.uint8):
        with pytest.raises(ValueError, match='uint8'):
            predict(image)
    assert len(predict(np.zeros((1, 1, 3), np.uint8))[0]) == 1


@pytest.mark.parametrize(
    ('change', 'name'),
    [
        ({'model.head.decoder.type': 'UDPHeatmap'}, 'UDPHeatmap'),
        ({'test_dataloader.dataset.pipeline.2.use_udp': True}, 'use_udp'),
        ({'model.test_cfg.flip_mode': 'udp_combined'}, 'udp_combined'),
        ({'model.head.out_channels': 5}, 'out_channels is 5'),
    ],
)
def test_no_script_where_it_would_be_wrong(config, tmp_path, change, name):
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(change)
    init_default_scope('mmpose')
    with pytest.raises(ValueError, match=name):
        export.write_predictor(cfg, MODELS.build(cfg.model), tmp_path / 'x.onnx')
    assert not list(tmp_path.iterdir())


@pytest.fixture
def run(tool, config, checkpoint, tmp_path, capsys):
    """Calls the tool's main; gives what it printed."""

    def call(*arguments, out='x.onnx'):
        words = ['--out', tmp_path / out, *arguments]
        tool('export.py', config, checkpoint, *words).main()
        return capsys.readouterr().out

    return call


def ended(run, capsys, *arguments, **kwargs):
    """The message with which the program ends."""
    with pytest.raises(SystemExit) as caught:
        run(*arguments, **kwargs)
    code = caught.value.code
    return capsys.readouterr().err if code == 2 else str(code)


@pytest.fixture
def written(monkeypatch, exported):
    """The networks that would be exported. The file is always the same."""
    networks = []

    def export_network(model, path, size, **options):
        networks.append(model)
        path.write_bytes(exported[1].read_bytes())

    monkeypatch.setattr(export, 'export_network', export_network)
    return networks


def test_int8_calibrated_on_own_pictures(run, written, capsys, monkeypatch, mini_coco):
    calibration = []

    def export_network(*arguments, fake=export.export_network, **options):
        calibration.append(options['calibration'])
        fake(*arguments, **options)

    monkeypatch.setattr(export, 'export_network', export_network)
    without = ['--cfg-options', 'train_dataloader.dataset.data_root=gone']
    words = ['--format', 'onnx', '--precision', 'int8', *without]
    assert '--images FOLDER' in ended(run, capsys, *words)
    run(*words, '--images', mini_coco / 'images', '--calibration-size', '3')
    assert len(calibration[0]) == 3


@pytest.mark.slow
def test_every_option_reaches_the_file(run, tmp_path):
    printed = run(
        *['--format', 'openvino', '--precision', 'bf16', '--decode', '--no-deploy'],
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
def test_int8_is_calibrated_on_the_data_of_the_config(run, tmp_path, kind, out):
    words = ['--precision', 'int8', '--calibration-size', '3', '--size', '80x64']
    printed = run('--format', kind, *words, out=out)
    assert open_runtime(tmp_path / out).precision == 'int8'
    assert 'against PyTorch on 3 people of train_dataloader' in printed


@pytest.mark.parametrize(('options', 'deploy'), [([], True), (['--no-deploy'], False)])
def test_the_deploy_form_is_exported_unless_unwanted(run, written, options, deploy):
    run('--format', 'onnx', *options)
    assert any(isinstance(m, DeployDCRM) for m in written[0].modules()) is deploy


def test_a_file_that_disagrees_is_kept(run, capsys, monkeypatch, tmp_path, written):
    def other_weights(model, *arguments):
        load_weights(model, *arguments)
        model.head.final_layer.weight.data *= 1.01

    load_weights = checkpoints.load_weights
    monkeypatch.setattr(checkpoints, 'load_weights', other_weights)
    message = ended(run, capsys, '--format', 'onnx')
    assert 'does not agree with the model. It was not deleted.' in message
    assert (tmp_path / 'x.onnx').is_file()


@pytest.mark.parametrize(
    ('options', 'name'),
    [
        ('openvino', 'must end in .xml'),
        ('onnx --size 192', "as in 256x192, got '192'"),
        ('onnx --opset 9', 'opset'),
        ('onnx --precision int8 --calibration-size 0', '--calibration-size'),
        ('onnx --cfg-options model.type.x=1', 'model.type.x=1'),
        (
            'onnx --precision int8 --cfg-options '
            'train_dataloader.dataset.ann_file=nowhere.json',
            'nowhere.json',
        ),
    ],
)
def test_wrong_usage_is_explained(run, capsys, options, name):
    assert name in ended(run, capsys, '--format', *options.split())


@pytest.mark.parametrize(
    ('kind', 'out', 'existing'),
    [
        ('onnx', 'x.onnx', 'x.onnx'),
        ('openvino', 'x.xml', 'x.xml'),
        ('openvino', 'x.xml', 'x.bin'),
        ('onnx', 'x.onnx', 'predict_x.py'),
    ],
)
def test_existing_files_stay(run, capsys, tmp_path, kind, out, existing):
    file = tmp_path / existing
    file.write_text('precious')
    message = ended(run, capsys, '--format', kind, out=out)
    assert f'{existing} exists' in message
    assert '--overwrite' in message
    assert file.read_text() == 'precious'
    file.unlink()
    file.mkdir()
    message = ended(run, capsys, '--format', kind, '--overwrite', out=out)
    assert f'folder {file}' in message

    (tmp_path / 'file').touch()
    message = ended(run, capsys, '--format', kind, out=f'file/{out}')
    assert f'cannot write {tmp_path / "file"}' in message


def test_overwrite(run, written, tmp_path):
    (tmp_path / 'x.onnx').write_text('not precious')
    assert run('--format', 'onnx', '--overwrite').endswith('done\n')


@pytest.mark.parametrize('missing', ['nowhere.py', 'nowhere.pth'])
def test_a_missing_config_or_checkpoint_is_named(tool, config, capsys, missing):
    words = [missing if missing.endswith('.py') else config, 'nowhere.pth']
    with pytest.raises(SystemExit, match='2'):
        tool('export.py', *words, '--format', 'onnx').main()
    assert missing in capsys.readouterr().err
