"""Published checkpoints by name, through everything that loads checkpoints."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmpose.apis import MMPoseInferencer, init_model

from ldcrn_mm.checkpoint import locate, read_checkpoint, zoo
from ldcrn_mm.inference import TopdownInferencer

FILE = 'tiny-01234567.pth'
METAFILE = f"""
Models:
- {{Name: td-hm_Tiny, Alias: [tiny, small], Config: tiny.py, Weights: ldcrn_mm://{FILE}}}
- {{Name: untrained, Config: tiny.py, Weights: null}}
- {{Name: listed, Config: tiny.py, Weights: [https://host/listed.pth]}}
- {{Name: circle, Config: tiny.py, Weights: 'ldcrn_mm://circle'}}
"""


@pytest.fixture
def repository(tmp_path, monkeypatch, root, tiny_model) -> Path:
    """A checkout with a metafile of its own and a folder of weights."""
    package = tmp_path / 'ldcrn_mm'
    (package / 'weights').mkdir(parents=True)
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'model-index.yml').write_text('Import: [configs/metafile.yml]\n')
    (tmp_path / 'configs' / 'metafile.yml').write_text(METAFILE)
    config = f"_base_ = '{root}/configs/ldcrn_coco.py'\n{tiny_model}"
    (tmp_path / 'tiny.py').write_text(config)
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    monkeypatch.setattr(zoo, 'WEIGHTS', package / 'weights')
    monkeypatch.setattr(sys.modules['ldcrn_mm'], '__path__', [str(package)])
    return tmp_path


@pytest.fixture
def weight(repository) -> torch.Tensor:
    """The weight of the last layer in the published file."""
    torch.manual_seed(5)
    model = init_model(Config.fromfile(repository / 'tiny.py'), device='cpu')
    meta = dict(dataset_meta=model.dataset_meta)
    content = dict(state_dict=model.state_dict(), meta=meta)
    torch.save(content, zoo.WEIGHTS / FILE)
    return model.head.final_layer.weight.detach()


def test_names_aliases_and_files_are_located(repository, weight):
    for name in ('tiny', 'TINY', 'small', 'td-hm_tiny', FILE):
        assert locate(f'ldcrn_mm://{name}') == str(zoo.WEIGHTS / FILE)
    assert locate('ldcrn_mm://listed') == 'https://host/listed.pth'
    for other in ('a.pth', '/a/tiny', 'https://host/a.pth', 'tiny'):
        assert locate(other) == other
    assert all(map(zoo.knows, ('tiny', 'SMALL', 'td-hm_tiny', 'untrained')))
    assert not any(map(zoo.knows, ('huge', 'tiny.py', str(repository / 'tiny'))))


@pytest.mark.parametrize(
    ('name', 'error', 'message'),
    [
        ('huge', ValueError, r"called 'huge'.*small, td-hm_tiny, tiny"),
        ('untrained', ValueError, 'untrained have not been published yet'),
        ('circle', FileNotFoundError, f'No file circle .*There are: {FILE}'),
        ('other.pth', FileNotFoundError, f'No file other.pth .*There are: {FILE}'),
        (f'../weights/{FILE}', FileNotFoundError, f'There are: {FILE}'),
    ],
)
def test_other_names_are_answered_with_the_known_ones(weight, name, error, message):
    with pytest.raises(error, match=message):
        locate(f'ldcrn_mm://{name}')


def test_a_name_leads_to_config_and_weights(repository, weight):
    config, published = str(repository / 'tiny.py'), str(zoo.WEIGHTS / FILE)
    assert zoo.find('TINY') == (config, published)
    assert zoo.find('untrained', 'mine.pth') == (config, 'mine.pth')
    for name, weights in (('untrained', None), ('huge', 'mine.pth')):
        with pytest.raises(ValueError, match=name):
            zoo.find(name, weights)


def test_mmengine_loads_by_name(weight, repository):
    for read in (CheckpointLoader.load_checkpoint, read_checkpoint):
        state = read('ldcrn_mm://tiny')['state_dict']
        assert torch.equal(state['head.final_layer.weight'], weight)
    config = Config.fromfile(repository / 'tiny.py')
    config.model.head.init_cfg = dict(
        type='Pretrained', checkpoint='ldcrn_mm://tiny', prefix='head.'
    )
    last = init_model(config, device='cpu').head.final_layer
    assert not torch.equal(last.weight, weight)
    model = init_model(repository / 'tiny.py', 'ldcrn_mm://tiny', 'cpu')
    assert torch.equal(model.head.final_layer.weight, weight)
    model.head.final_layer.weight.data.zero_()
    load_checkpoint(model, 'ldcrn_mm://small')
    assert torch.equal(model.head.final_layer.weight, weight)


@pytest.mark.parametrize(
    ('kind', 'model', 'weights'),
    [
        (MMPoseInferencer, 'tiny', None),
        (TopdownInferencer, 'SMALL', None),
        (TopdownInferencer, 'untrained', 'ldcrn_mm://small'),
    ],
)
def test_inferencers_take_names(weight, kind, model, weights):
    options = dict(scope='ldcrn_mm', det_model='whole_image', device='cpu')
    inferencer = kind(model, weights, **options)
    model = getattr(inferencer, 'inferencer', inferencer).model
    assert torch.equal(model.head.final_layer.weight, weight)
