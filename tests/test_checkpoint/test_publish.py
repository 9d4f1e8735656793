"""Publishing: what the file holds, what is printed, and what is refused."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.logging import HistoryBuffer
from mmpose.apis import init_model
from torch import nn

from ldcrn_mm.checkpoint.publish import Published, publish

NUMBER = torch.ones(1)
CODE = "model = __import__('os').system('touch ran')"


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
            cfg=CODE,
            config=CODE,
            time='20260102_030405',
            experiment_name='td-hm_named_20260102_030405',
            dataset_meta=network.dataset_meta,
        ),
        state_dict={n: t.clone() for n, t in network.state_dict().items()},
        message_hub=dict(
            log_scalars=dict(loss=HistoryBuffer([1.0], [1])),
            runtime_info=dict(cfg=CODE),
        ),
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


def content_of(result: Published) -> dict:
    return torch.load(result.path, weights_only=True)


def test_bare_pytorch_reads_it(published, load_bare):
    content = load_bare(published().path)
    assert sorted(content) == ['meta', 'state_dict']
    assert content['meta']['dataset_meta']['dataset_name'] == 'coco'


def test_weights_are_those_of_the_training(published, network, config):
    model = init_model(config, str(published().path), 'cpu')
    expected = network.state_dict()
    assert list(content_of(published())['state_dict']) == list(expected)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name])
    assert model.dataset_meta['sigmas'] == network.dataset_meta['sigmas'].tolist()


def test_meta_has_no_config_and_nothing_of_the_machine(published, training, config):
    meta = content_of(published())['meta']
    assert (meta['epoch'], meta['iter'], meta['seed']) == (3, 30, 5)
    assert (meta['weights'], meta['dtype']) == ('model', 'fp32')
    assert meta['versions']['torch'] == torch.__version__
    assert not {'cfg', 'config', 'time', 'experiment_name'} & set(meta)
    assert b'touch' not in published().path.read_bytes()
    del training['meta']
    meta = content_of(published(config=config))['meta']
    assert meta['dataset_meta']['num_keypoints'] == 17


def test_name_ends_in_the_hash_and_the_same_again_is_the_same(published, tmp_path):
    first, second = published(), published(target=tmp_path / 'other')
    digest = hashlib.sha256(first.path.read_bytes()).hexdigest()
    assert first.path.name == second.path.name == f'td-hm_named-{digest[:8]}.pth'
    assert first.path.read_bytes() == second.path.read_bytes()
    assert published() == first
    assert list((tmp_path / 'out').iterdir()) == [first.path]


def test_name_is_the_one_given_or_the_configs(published, training, config, tmp_path):
    del training['meta']['experiment_name']
    assert published().path.name.startswith('training-')
    assert published(config=config).path.name.startswith('td-hm_tiny-')
    given = published(target=tmp_path / 'new' / 'my.pth', config=config).path
    assert str(given).startswith(f'{tmp_path}/new/my-')


def test_half_precision_keeps_vectors_and_loads_anywhere(published, network, config):
    whole, half = published(), published(dtype='fp16')
    state = content_of(half)['state_dict']
    for name, tensor in network.state_dict().items():
        expected = tensor.half() if tensor.dim() > 1 else tensor
        assert state[name].dtype == expected.dtype
        assert torch.equal(state[name], expected)
    model = init_model(config, str(half.path), 'cpu')
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert half.path.stat().st_size < whole.path.stat().st_size
    assert content_of(half)['meta']['dtype'] == 'fp16'


@pytest.fixture
def averaged(training, network) -> dict:
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
    ('weights', 'which', 'share'),
    [(None, 'ema', 0.5), ('ema', 'ema', 0.5), ('model', 'model', 1.0)],
)
def test_averages_are_published_unless_the_model_is_asked_for(
    averaged, published, network, config, weights, which, share
):
    result = published(
        averaged, config=config, weights=weights, validations={3: {'coco/AP': 0.625}}
    )
    content = content_of(result)
    for name, tensor in network.named_parameters():
        torch.testing.assert_close(content['state_dict'][name], share * tensor.detach())
    assert set(content['state_dict']) == set(network.state_dict())
    assert content['meta']['weights'] == which
    # The training validated its averages.
    assert ('0.6250' in result.card) == (which == 'ema')
    assert bool(yaml.safe_load(result.metafile)[0]['Results']) == (which == 'ema')
    again = publish(result.path, result.path.parent, dtype='fp16')
    assert content_of(again)['meta']['weights'] == which


def test_teacher_and_prefix_are_left_out(published, training, config):
    expected = list(training['state_dict'])
    state = {f'module.{name}': t for name, t in training['state_dict'].items()}
    training['state_dict'] = state | {'module.teacher.weight': NUMBER}
    assert list(content_of(published(config=config))['state_dict']) == expected


def test_a_tensor_takes_no_more_of_the_file_than_it_needs(published, training):
    large = torch.arange(100_000.0)
    training['state_dict'] = {'a.weight': large[:3], 'b.weight': large[3:6]}
    result = published()
    assert result.path.stat().st_size < 50_000
    assert content_of(result)['state_dict']['b.weight'].tolist() == [3, 4, 5]


def test_card_and_metafile_entry(published, training, config, tmp_path, monkeypatch):
    metrics = {3: {'coco/AP': 0.52, 'coco/AP .5': 0.8}, 4: {'coco/AP': 0.9}}
    result = published(config=config, validations=metrics, dtype='fp16')
    (entry,) = yaml.safe_load(result.metafile)
    network = init_model(config, device='cpu')
    data = 'data/coco/annotations/person_keypoints_{}2017.json'
    assert entry == {
        'Name': 'td-hm_tiny',
        'Config': 'configs/tiny/td-hm_tiny.py',
        'In Collection': 'LDCRN',
        'Metadata': {
            'Training Data': data.format('train'),
            'Parameters': sum(p.numel() for p in network.parameters()),
            'Epochs': 3,
        },
        'Results': [
            {
                'Dataset': data.format('val'),
                'Metrics': {'AP': 0.52, 'AP@0.5': 0.8},
                'Task': 'Body 2D Keypoint',
            }
        ],
        'Weights': f'ldcrn_mm://{result.path.name}',
    }
    digest = hashlib.sha256(result.path.read_bytes()).hexdigest()
    for word in ('td-hm_tiny', result.path.name, digest, entry['Config'], 'AP 0.5200',
                 'AP@0.5 0.8000', data.format('train'), 'Licence'):  # fmt: skip
        assert word in result.card
    combined = Config.fromfile(config)
    part = combined.train_dataloader.dataset
    both = dict(type='CombinedDataset', datasets=[part, dict(ann_file='mine.json')])
    combined.train_dataloader.dataset = dict(type='RepeatDataset', dataset=both)
    combined.dump(tmp_path / 'combined.py')
    result = published(config=tmp_path / 'combined.py')
    assert f"'Training Data': '{data.format('train')}, mine.json'" in str(
        yaml.safe_load(result.metafile)
    )
    other = published(config=config, validations={4: {'coco/AP': 0.9}})
    assert 'Validation, before any rounding to fp16: unknown' in other.card
    assert yaml.safe_load(other.metafile)[0]['Results'] is None
    monkeypatch.chdir(config.parents[2])  # as from a checkout
    near = published(config=config.relative_to(Path.cwd()))
    assert yaml.safe_load(near.metafile)[0]['Config'] == entry['Config']


@pytest.mark.parametrize(
    ('content', 'options', 'message'),
    [
        (dict(meta={}, optimizer={}), {}, 'the keys meta, optimizer'),
        (dict(meta={}, state_dict={}), {}, 'holds no state dict'),
        ({}, {}, 'no keys'),
        (dict(meta={}, state_dict=dict(a=1)), {}, 'holds no state dict'),
        (dict(state_dict={'module.layer1.0.denselayer1.bn1.bias': NUMBER}), {},
         r'original LDCRN code.*\n.*tools/convert_checkpoint\.py'),
        (dict(meta=dict(seed=HistoryBuffer([1.0], [1])), state_dict=dict(a=NUMBER)), {},
         'holds a HistoryBuffer'),
        (dict(state_dict=dict(a=NUMBER, b=NUMBER / 0)), {}, 'such as b: .*diverged'),
        (dict(state_dict=dict(a=NUMBER * torch.nan)), {}, 'such as a: .*diverged'),
        (dict(state_dict=dict(a=torch.full((1, 1), 1e6))), dict(dtype='fp16'),
         'a: they are too large for fp16'),
        (dict(state_dict=dict(a=NUMBER)), dict(weights='ema'), 'no averaged weights'),
        (dict(state_dict=dict(a=NUMBER)), dict(target='a.b.pth'), 'a.b has a dot'),
    ],
)  # fmt: skip
def test_other_files_are_refused(published, tmp_path, content, options, message):
    with pytest.raises(ValueError, match=message):
        published(content, **options)
    assert [path.name for path in tmp_path.iterdir()] == ['training.pth']


@pytest.mark.parametrize(
    ('name', 'tensor', 'message'),
    [
        ('extra.weight', NUMBER, r'1 unknown .*extra\.weight'),
        ('head.final_layer.bias', torch.zeros(16), r'1 of .* shape .*\(16,\) instead'),
    ],
)
def test_weights_of_another_model_are_refused(
    published, training, config, tmp_path, name, tensor, message
):
    training['state_dict'][name] = tensor
    with pytest.raises(ValueError, match=message):
        published(config=config)
    assert not (tmp_path / 'out').exists()


def test_another_file_is_not_overwritten(published):
    path = published().path
    path.write_text('something else')
    with pytest.raises(FileExistsError, match=path.name):
        published()
    assert path.read_text() == 'something else'
