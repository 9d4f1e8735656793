"""Checkpoints for inference: what is in them, and what is refused."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.logging import HistoryBuffer
from mmpose.apis import inference_topdown, init_model
from torch import nn

from ldcrn_mm.checkpoint.publish import Published, publish

BARE = """
import sys, torch
content = torch.load(sys.argv[1], weights_only=True)
assert not {'mmengine', 'numpy.core', 'mmpose', 'ldcrn_mm'} & set(sys.modules)
print(sorted(content), content['meta']['dataset_meta']['dataset_name'])
"""
NUMBER = torch.ones(1)


@pytest.fixture(scope='module')
def config(root, tiny_model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('config') / 'configs' / 'tiny' / 'td-hm_tiny.py'
    path.parent.mkdir(parents=True)
    path.write_text(f"_base_ = '{root}/configs/ldcrn_coco.py'\n{tiny_model}")
    return path


@pytest.fixture(scope='module')
def network(config) -> nn.Module:
    torch.manual_seed(0)
    return init_model(config, device='cpu')


@pytest.fixture
def training(network) -> dict:
    """All that MMEngine's Runner saves; its meta has numpy's arrays."""
    return dict(
        meta=dict(
            epoch=3,
            iter=np.int64(30),
            seed=5,
            cfg="model = dict(type='A')\nwork_dir = '/home/me/run'\nlog_level = 1\n",
            time='20260102_030405',
            experiment_name='td-hm_named_20260102_030405',
            dataset_meta=network.dataset_meta,
        ),
        state_dict={n: t.clone() for n, t in network.state_dict().items()},
        message_hub=dict(log_scalars=dict(loss=HistoryBuffer([1.0], [1]))),
        optimizer=dict(state={0: torch.zeros(3)}, param_groups=[dict(lr=0.1)]),
    )


@pytest.fixture
def published(training, tmp_path) -> Callable[..., Published]:
    """Publishes that checkpoint, or another, from a file."""

    def call(content: dict = training, **options: object) -> Published:
        torch.save(content, tmp_path / 'training.pth')
        options.setdefault('target', tmp_path / 'out')
        return publish(tmp_path / 'training.pth', **options)

    return call


def state_of(result: Published) -> dict[str, torch.Tensor]:
    return torch.load(result.checkpoint, weights_only=True)['state_dict']


def meta_of(result: Published) -> dict:
    return torch.load(result.checkpoint, weights_only=True)['meta']


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (96, 64, 3), dtype=np.uint8)


def keypoints(model: nn.Module) -> np.ndarray:
    return inference_topdown(model, picture())[0].pred_instances.keypoints


def test_bare_pytorch_reads_it_in_a_process_of_its_own(published, tmp_path):
    def read(path: Path) -> subprocess.CompletedProcess:
        command = [sys.executable, '-c', BARE, str(path)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    done = read(published().checkpoint)
    assert done.stdout == "['meta', 'state_dict'] coco\n", done.stderr
    assert read(tmp_path / 'training.pth').returncode != 0


def test_weights_are_those_of_the_training(published, network):
    state = state_of(published())
    expected = network.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_mmpose_predicts_with_it_as_with_the_training_checkpoint(
    published, network, config
):
    model = init_model(config, str(published().checkpoint), 'cpu')
    assert type(model.dataset_meta['sigmas']) is list
    assert model.dataset_meta['sigmas'] == network.dataset_meta['sigmas'].tolist()
    np.testing.assert_array_equal(keypoints(model), keypoints(network))


def test_meta_says_where_it_is_from_and_nothing_of_the_machine(published):
    meta = meta_of(published())
    assert (meta['epoch'], meta['iter'], meta['seed']) == (3, 30, 5)
    assert (meta['weights'], meta['dtype']) == ('model', 'fp32')
    assert meta['cfg'] == "model = dict(type='A')\nlog_level = 1\n"
    assert meta['versions']['torch'] == torch.__version__
    assert 'time' not in meta


def test_a_config_that_is_given_is_the_one_that_is_kept(published, training, config):
    del training['meta']['dataset_meta']
    meta = meta_of(published(config=config))
    kept = Config.fromstring(meta['cfg'], '.py')
    assert kept.model.backbone == Config.fromfile(config).model.backbone
    assert meta['dataset_meta']['num_keypoints'] == 17


def test_name_ends_in_the_hash_of_the_file(published):
    path = published().checkpoint
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f'td-hm_named-{digest[:8]}.pth'
    assert torch.hub.HASH_REGEX.search(path.name)[1] == digest[:8]
    assert f'`{digest}`' in path.with_suffix('.md').read_text()


def test_the_same_again_is_the_same_file(published, tmp_path):
    first, second = published(), published(target=tmp_path / 'other')
    assert first.checkpoint.name == second.checkpoint.name
    assert first.checkpoint.read_bytes() == second.checkpoint.read_bytes()
    assert published() == first
    assert len(list((tmp_path / 'out').iterdir())) == 2


@pytest.mark.parametrize(
    ('target', 'options', 'expected'),
    [
        ('out', dict(config=True), 'out/td-hm_tiny-'),
        ('out/mine.pth', dict(config=True), 'out/mine-'),
        ('out', dict(experiment_name=None), 'out/training-'),
    ],
)
def test_named_as_asked_or_as_the_config(
    published, training, config, tmp_path, target, options, expected
):
    training['meta'].update({k: v for k, v in options.items() if k != 'config'})
    given = config if 'config' in options else None
    path = published(target=tmp_path / target, config=given).checkpoint
    assert str(path).startswith(str(tmp_path / expected))


def test_half_precision_loads_into_any_model(published, network, config):
    whole, half = published(), published(dtype='fp16')
    state, expected = state_of(half), network.state_dict()
    for name, tensor in expected.items():
        if tensor.dim() > 1:
            assert state[name].dtype == torch.float16
            assert torch.equal(state[name], tensor.half())
        else:
            assert state[name].dtype == tensor.dtype
            assert torch.equal(state[name], tensor)
    model = init_model(config, str(half.checkpoint), 'cpu')
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    weight = model.head.final_layer.weight
    assert torch.equal(weight, expected['head.final_layer.weight'].half().float())
    sizes = [path.stat().st_size for path in (whole.checkpoint, half.checkpoint)]
    matrices = sum(t.numel() for t in expected.values() if t.dim() > 1)
    assert sizes[0] - sizes[1] == pytest.approx(2 * matrices, rel=0.2)
    assert meta_of(half)['dtype'] == 'fp16'


class TestAverages:
    @pytest.fixture
    def averaged(self, training, network) -> dict:
        """As MMEngine's own hook leaves it, half of the model being averaged in."""
        model = init_model(network.cfg, device='cpu')
        for tensor in model.parameters():
            tensor.data.zero_()
        hook = EMAHook(momentum=0.5)
        runner = SimpleNamespace(model=model, iter=0, epoch=0)
        hook.before_run(runner)
        hook.after_train_iter(runner, 0)  # the first copies
        model.load_state_dict(network.state_dict())
        hook.after_train_iter(runner, 1)
        training['state_dict'] = model.state_dict()
        hook.before_save_checkpoint(runner, training)
        return training

    @pytest.mark.parametrize(
        ('options', 'which', 'share'),
        [({}, 'ema', 0.5), (dict(weights='ema'), 'ema', 0.5),
         (dict(weights='model'), 'model', 1.0)],
    )  # fmt: skip
    def test_are_published_unless_the_model_is_asked_for(
        self, averaged, published, network, config, options, which, share
    ):
        result = published(averaged, config=config, **options)
        state = state_of(result)
        for name, tensor in network.named_parameters():
            torch.testing.assert_close(state[name], share * tensor.detach())
        assert set(state) == set(network.state_dict())
        assert meta_of(result)['weights'] == which

    def test_stay_averages_where_they_are_published_again(self, averaged, published):
        first = published(averaged)
        again = publish(first.checkpoint, first.checkpoint.parent, dtype='fp16')
        assert meta_of(again)['weights'] == 'ema'

    def test_are_what_the_log_has_values_of(self, averaged, published, tmp_path):
        entries = [dict(loss=1, lr=0.1, epoch=3, step=9), dict(AP=0.625, step=3)]
        log = tmp_path / 'scalars.json'
        log.write_text('\n'.join(map(json.dumps, entries)))
        card = published(averaged, log=log).card.read_text()
        assert 'after epoch 3: this file' in card
        assert '0.6250' in card
        card = published(averaged, log=log, weights='model').card.read_text()
        assert 'None of these numbers is of this file' in card

    def test_cannot_be_had_where_there_are_none(self, published):
        with pytest.raises(ValueError, match='no averaged weights'):
            published(weights='ema')


def test_a_teacher_is_left_out(published, training, config):
    training['state_dict']['teacher.backbone.weight'] = torch.zeros(3)
    names = set(state_of(published(config=config)))
    assert names == set(training['state_dict']) - {'teacher.backbone.weight'}


def test_prefix_of_wrapped_models_is_taken_off(published, training, config):
    expected = list(training['state_dict'])
    wrapped = {f'module.{n}': t for n, t in training['state_dict'].items()}
    training['state_dict'] = wrapped
    assert list(state_of(published(config=config))) == expected


def test_a_tensor_takes_no_more_of_the_file_than_it_needs(published, training):
    large = torch.arange(100_000.0)
    training['state_dict'] = {'a.weight': large[:3], 'b.weight': large[3:6]}
    path = published().checkpoint
    assert path.stat().st_size < 50_000
    assert state_of(published())['b.weight'].tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (dict(meta={}, optimizer={}), 'has no weights.*the keys meta, optimizer'),
        (dict(meta={}, state_dict={}), 'has no weights'),
        (dict(meta={}, state_dict=dict(a=1)), 'holds no state dict'),
        (dict(state_dict={'module.layer1.0.denselayer1.bn1.bias': NUMBER}),
         r'original LDCRN code.*\n.*tools/convert_checkpoint\.py'),
        ({'layer1.0.denselayer1.bn1.bias': NUMBER},
         r'original LDCRN code.*\n.*tools/convert_checkpoint\.py'),
        (dict(meta=dict(seed=HistoryBuffer([1.0], [1])), state_dict=dict(a=NUMBER)),
         'holds a HistoryBuffer'),
    ],
)  # fmt: skip
def test_other_files_are_refused(published, tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        published(content)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_refused(published, training, tmp_path, value):
    training['state_dict']['head.final_layer.bias'][3] = value
    with pytest.raises(ValueError, match=r'head\.final_layer\.bias .*the training div'):
        published()
    assert not (tmp_path / 'out').exists()


def test_weights_beyond_half_precision_are_refused(published):
    content = dict(meta={}, state_dict=dict(a=torch.full((1, 1), 1e6)))
    with pytest.raises(ValueError, match='too large for fp16'):
        published(content, dtype='fp16')
    assert state_of(published(content))['a'] == 1e6


def test_weights_of_another_model_are_refused(published, training, config, tmp_path):
    training['state_dict']['extra.weight'] = torch.zeros(3)
    with pytest.raises(ValueError, match=r'1 weights .*extra\.weight\) belong to no'):
        published(config=config)
    training['state_dict'] = {'head.final_layer.bias': torch.zeros(16)}
    with pytest.raises(ValueError, match=r'1 of another shape .*\(16,\) instead'):
        published(config=config)
    assert not (tmp_path / 'out').exists()


def test_other_files_are_not_overwritten(published):
    first = published()
    first.card.write_text('what somebody added')
    with pytest.raises(FileExistsError, match='exists with other content'):
        published()
    assert first.card.read_text() == 'what somebody added'
    first.card.unlink()
    first.checkpoint.write_text('something else')
    with pytest.raises(FileExistsError, match=first.checkpoint.name):
        published()
    assert not first.card.exists()


def test_a_dot_in_the_name_is_refused(published, tmp_path):
    with pytest.raises(ValueError, match=r'ldcrn-1\.0 has a dot'):
        published(target=tmp_path / 'out' / 'ldcrn-1.0.pth')


def test_config_is_named_from_its_folder_configs_on(published, config):
    assert 'Config: configs/tiny/td-hm_tiny.py\n' in published(config=config).metafile
