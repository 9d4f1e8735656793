import json
import re
from pickle import UnpicklingError

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PURE_PYTHON = """
from mmengine.optim import OptimWrapper
from mmengine.visualization import LocalVisBackend
from mmpose.engine.hooks import PoseVisualizationHook
from torch.optim import Adam

optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=Adam, lr=1e-3))
visualizer = dict(vis_backends=[dict(type=LocalVisBackend)])
model = dict(type='TopdownPoseEstimator')
default_hooks = dict(visualization=dict(type=PoseVisualizationHook))
train_dataloader = dict(dataset=dict())
"""


def log_of(work_dir):
    """What the newest run of a folder logged, a dict a line."""
    newest = max(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in newest.read_text().splitlines()]


def test_training_leaves_checkpoints_a_log_pictures_and_its_config(trained):
    names = {path.name for path in trained.glob('*.pth')}
    assert names == {'best_coco_AP_epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'}
    steps = [line for line in log_of(trained) if 'loss' in line]
    assert len(steps) == 6
    assert all(0 < line['loss'] < 1 for line in steps)
    assert [line['lr'] for line in steps] == [1e-2] * 4 + [5e-3] * 2
    validations = [line for line in log_of(trained) if 'coco/AP' in line]
    assert [line['step'] for line in validations] == [1, 2, 3]
    (folder,) = trained.glob('*/pictures')
    assert len(list(folder.glob('val_img_*.png'))) == 6  # two batches, three times
    cfg = Config.fromfile(trained / 'tiny.py')
    assert cfg.test_dataloader.dataset.bbox_file.endswith('boxes.json')
    assert cfg.train_dataloader.dataset.pipeline[4].scale_sigma == 0


def test_a_checkpoint_is_read_without_trusting_it(trained):
    checkpoint = torch.load(trained / 'epoch_3.pth', weights_only=True)
    parts = {'meta', 'state_dict', 'message_hub', 'optimizer', 'param_schedulers'}
    assert parts | {'ema_state_dict'} <= {*checkpoint}
    assert checkpoint['meta']['epoch'] == 3
    assert checkpoint['meta']['dataset_meta']['dataset_name'] == 'coco'


def test_precision_layout_rate_and_curves(tool, tiny_config, tmp_path, capfd):
    tool(
        'train.py',
        *[tiny_config, '--work-dir', tmp_path, '--amp', '--channels-last'],
        *['--auto-scale-lr', '--cfg-options', 'train_cfg.max_epochs=1'],
        'visualizer.vis_backends.0.type=TensorboardVisBackend',
    ).main()
    printed = capfd.readouterr().out
    assert 'BFloat16OptimWrapper' in printed
    assert 'ChannelsLastHook' in printed
    (events,) = tmp_path.glob('*/vis_data/events.out.tfevents.*')
    curves = EventAccumulator(str(events.parent)).Reload()
    assert len(curves.Scalars('loss')) == 2
    assert curves.Scalars('lr')[0].value == pytest.approx(1e-2 * 2 / 128)
    assert 'coco/AP' in curves.Tags()['scalars']


@pytest.fixture
def one_thread():
    """As in the processes of other tests: sums in another order differ in last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures('one_thread')
def test_a_resumed_run_goes_on(tool, tiny_config, trained, not_random, tmp_path):
    options = ['--resume', trained / 'epoch_2.pth', '--no-validate']
    options += ['--work-dir', tmp_path / 'work', '--cfg-options', *not_random]
    tool('train.py', tiny_config, *options).main()
    found, expected = (
        torch.load(folder / 'epoch_3.pth') for folder in (tmp_path / 'work', trained)
    )
    for key in ('state_dict', 'ema_state_dict'):
        torch.testing.assert_close(found[key], expected[key], rtol=0, atol=0)


def test_a_download_cannot_run_code(tool, tiny_config, tmp_path, monkeypatch):
    torch.save(re.compile('x'), tmp_path / 'code.pth')

    def train(runner):  # loads as MMEngine does with downloads
        torch.load(tmp_path / 'code.pth', weights_only=False)

    monkeypatch.setattr(Runner, 'train', train)
    with pytest.raises(UnpicklingError, match='compile'):
        tool('train.py', tiny_config, '--work-dir', tmp_path).main()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--resume', 'nowhere.pth'], 'checkpoint file not found: nowhere.pth'),
        (['--resume', ''], 'expects the name of a checkpoint'),
        (['--work-dir', '{trained}'], 'earlier training.*--resume'),
        (['--work-dir', '{trained}/epoch_3.pth'], 'exists.*epoch_3'),
        (['--resume', 'ldcrn_mm://ldcrn'], 'no .*optimizer.*load_from=ldcrn_mm'),
        (['--cfg-options', 'load_from=x/epoch_3.pth'], 'file not found: x/epoch_3.pth'),
        (['--cfg-options', 'load_from=ldcrn_mm://nobody'], "'nobody'"),
        (['--cfg-options', 'files.data_root=data/mine'], 'changes nothing'),
        (['--cfg-options', 'train_dataloader.num_workers=two'], "number .*'two'"),
        (
            ['--cfg-options', 'train_dataloader.dataset.data_root=nowhere'],
            'files are missing:\n  nowhere/annotations.json',
        ),
    ],
)
def test_errors_have_one_line(tool, tiny_config, trained, capsys, arguments, words):
    arguments = [word.format(trained=trained) for word in arguments]
    with pytest.raises(SystemExit) as ended:
        tool('train.py', tiny_config, *arguments).main()
    code = ended.value.code
    message = capsys.readouterr().err if code == 2 else code
    assert 'train.py: error: ' in message
    assert re.search(words, message)


@pytest.mark.parametrize(
    'setting',
    [
        'model.data_preprocessor.std=[0,0,0]',
        'optim_wrapper.optimizer.lr=1e30',  # the weights are NaN, the loss never was
    ],
)
def test_a_run_that_diverges_saves_nothing(tool, tiny_config, tmp_path, setting):
    options = ['--work-dir', tmp_path, '--cfg-options', setting]
    with pytest.raises(SystemExit, match=r'epoch \d, iteration \d'):
        tool('train.py', tiny_config, *options).main()
    for path in tmp_path.glob('*.pth'):
        checkpoint = torch.load(path)
        for part in ('state_dict', 'ema_state_dict'):
            assert all(x.isfinite().all() for x in checkpoint[part].values())


def test_weights_that_do_not_fit_are_refused(tool, tiny_config, trained, tmp_path):
    content = torch.load(trained / 'epoch_3.pth')['state_dict']
    path = tmp_path / 'epoch_3.pth'
    torch.save({f'module.module.{n}': w for n, w in content.items()}, path)
    words = ['--work-dir', tmp_path / 'work', '--cfg-options', f'load_from={path}']
    with pytest.raises(SystemExit, match=f'error: .*{path}.*backbone'):
        tool('train.py', tiny_config, *words).main()


@pytest.fixture
def built(tool, tiny_config, tmp_path):
    """The config of a command line."""

    def build(*arguments, config=tiny_config):
        module = tool('train.py', config, '--work-dir', tmp_path, *arguments)
        return module.build_config(module.parse_args())

    return build


def test_settings_are_overridden_before_options_look_at_them(built):
    cfg = built('--amp', '--cfg-options', 'optim_wrapper.type=AmpOptimWrapper')
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'


def test_without_validation_its_files_may_be_missing(built):
    cfg = built('--no-validate', '--cfg-options', 'val_dataloader.dataset.data_root=a')
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None


def test_options_work_with_pure_python_configs(built, tmp_path):
    (tmp_path / 'pure.py').write_text(PURE_PYTHON)
    cfg = built('--amp', '--show-dir', 'pictures', config=tmp_path / 'pure.py')
    assert cfg.optim_wrapper.type == 'BFloat16OptimWrapper'
    assert cfg.visualizer.vis_backends[0].img_save_dir == '../pictures'
    cfg.dump(tmp_path / 'dumped.py')


@pytest.mark.parametrize('options', [[], ['--resume']])
def test_a_run_starts_anew_if_there_is_no_checkpoint(built, options):
    cfg = built(*options)
    assert (cfg.resume, cfg.load_from) == (False, None)


def test_a_run_of_which_only_the_best_is_left_starts_not_anew(built, tmp_path):
    (tmp_path / 'best_coco_AP_epoch_1.pth').touch()
    assert not built('--resume', '--work-dir', tmp_path).resume  # killed in epoch 2
    (tmp_path / 'last_checkpoint').write_text(f'{tmp_path}/epoch_9.pth')
    with pytest.raises(ValueError, match=r'best_coco_AP_epoch_1.*epoch_N'):
        built('--resume', '--work-dir', tmp_path)


@pytest.mark.parametrize('name', ['', 'epoch_2.pth'])
def test_a_run_goes_on_from_the_last_checkpoint_or_a_named_one(built, trained, name):
    named = [trained / name] if name else []
    cfg = built('--work-dir', trained, '--resume', *named)
    assert (cfg.resume, cfg.load_from) == (True, str(trained / (name or 'epoch_3.pth')))
