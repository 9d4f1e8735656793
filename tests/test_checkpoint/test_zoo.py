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

METAFILE = """
Models:
- {{Name: td-hm_Tiny, Alias: [tiny, small], Config: tiny.py, Weights: {weights}}}
- {{Name: untrained, Config: tiny.py, Weights: null}}
- {{Name: listed, Config: tiny.py, Weights: [https://host/listed.pth]}}
- {{Name: relative, Config: tiny.py, Weights: relative.pth.tar}}
- {{Name: circle, Config: tiny.py, Weights: 'ldcrn_mm://circle'}}
"""
FILE = 'tiny-01234567.pth'


@pytest.fixture
def repository(tmp_path, monkeypatch, root, tiny_model) -> Path:
    """A checkout with a metafile of its own and a folder of weights."""
    package = tmp_path / 'ldcrn_mm'
    (package / 'weights').mkdir(parents=True)
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'model-index.yml').write_text('Import: [configs/metafile.yml]\n')
    metafile = METAFILE.format(weights=f'ldcrn_mm://{FILE}')
    (tmp_path / 'configs' / 'metafile.yml').write_text(metafile)
    config = f"_base_ = '{root}/configs/ldcrn_coco.py'\n{tiny_model}"
    (tmp_path / 'tiny.py').write_text(config)
    monkeypatch.setattr(zoo, 'WEIGHTS', package / 'weights')
    monkeypatch.setattr(sys.modules['ldcrn_mm'], '__path__', [str(package)])
    return tmp_path


@pytest.fixture
def weight(repository) -> torch.Tensor:
    """What the last layer has in the published file."""
    torch.manual_seed(5)
    model = init_model(Config.fromfile(repository / 'tiny.py'), device='cpu')
    meta = dict(dataset_meta=model.dataset_meta)
    content = dict(state_dict=model.state_dict(), meta=meta)
    torch.save(content, repository / 'ldcrn_mm' / 'weights' / FILE)
    return model.head.final_layer.weight.detach()


@pytest.mark.parametrize('name', ['tiny', 'TINY', 'small', 'td-hm_tiny', FILE])
def test_name_alias_and_file_lead_to_the_file(repository, weight, name):
    assert locate(f'ldcrn_mm://{name}') == str(repository / 'ldcrn_mm/weights' / FILE)


def test_a_published_address_on_the_web_is_passed_on(repository):
    assert locate('ldcrn_mm://listed') == 'https://host/listed.pth'


@pytest.mark.parametrize('other', ['a.pth', '/a/tiny', 'https://host/a.pth', 'tiny'])
def test_what_is_no_name_stays_as_it_is(other):
    assert locate(other) == other


def test_unknown_names_are_answered_with_the_known(repository):
    with pytest.raises(ValueError, match=r"called 'huge'.*small, td-hm_tiny, tiny"):
        locate('ldcrn_mm://huge')


def test_what_is_not_published_says_so(repository):
    with pytest.raises(ValueError, match='untrained have not been published yet'):
        locate('ldcrn_mm://untrained')


@pytest.mark.parametrize('name', ['relative', 'circle'])
def test_weights_that_lead_nowhere_are_errors_of_the_metafile(repository, name):
    with pytest.raises(ValueError, match=rf'has `Weights: .* for {name}'):
        locate(f'ldcrn_mm://{name}')


@pytest.mark.parametrize('name', ['other.pth', '../weights/tiny-01234567.pth'])
def test_files_that_are_not_there_are_answered_with_those_that_are(weight, name):
    with pytest.raises(FileNotFoundError, match=f'There are: {FILE}'):
        locate(f'ldcrn_mm://{name}')


def test_every_model_of_our_own_metafile_is_found_or_not_published_yet(root):
    assert Path(zoo.WEIGHTS) == root / 'ldcrn_mm' / 'weights'
    for name, model in zoo._models().items():
        assert Path(model.config).is_file()
        if model.weights is None:
            with pytest.raises(ValueError, match='not been published yet'):
                locate(f'ldcrn_mm://{name}')
        else:
            found = locate(f'ldcrn_mm://{name}')
            assert found.startswith('https://') or Path(found).is_file()


@pytest.mark.parametrize('name', ['tiny', 'TINY', 'td-hm_tiny'])
def test_a_name_leads_to_its_config_too(repository, weight, name):
    assert zoo.find(name) == (
        str(repository / 'tiny.py'),
        str(repository / 'ldcrn_mm/weights' / FILE),
    )
    with pytest.raises(ValueError, match='have not been published yet'):
        zoo.find('untrained')


def test_a_name_with_weights_leads_to_its_config_and_these(repository):
    expected = (str(repository / 'tiny.py'), 'mine.pth')
    assert zoo.find('UNTRAINED', 'mine.pth') == zoo.find('tiny', 'mine.pth') == expected
    with pytest.raises(ValueError, match=r"called 'huge'.*td-hm_tiny, tiny"):
        zoo.find('huge', 'mine.pth')


def test_names_are_known_in_any_case_and_files_are_not(repository):
    assert all(map(zoo.knows, ('tiny', 'SMALL', 'td-hm_tiny', 'untrained')))
    assert not any(map(zoo.knows, ('huge', 'tiny.py', str(repository / 'tiny'))))


def test_the_default_comes_with_the_package():
    config, weights = zoo.find()
    assert Path(weights).parent == zoo.WEIGHTS
    inferencer = TopdownInferencer(device='cpu')
    state = read_checkpoint(weights)['state_dict']
    assert Path(inferencer.cfg.filename) == Path(config)
    found = inferencer.model.head.final_layer.weight
    assert torch.equal(found, state['head.final_layer.weight'].float())


def test_mmengine_loads_by_name_from_any_folder(weight, tmp_path, monkeypatch):
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    for read in (CheckpointLoader.load_checkpoint, read_checkpoint):
        state = read('ldcrn_mm://tiny')['state_dict']
        assert torch.equal(state['head.final_layer.weight'], weight)
    model = init_model(tmp_path / 'tiny.py', 'ldcrn_mm://tiny', 'cpu')
    assert torch.equal(model.head.final_layer.weight, weight)
    model.head.final_layer.weight.data.zero_()
    load_checkpoint(model, 'ldcrn_mm://small')
    assert torch.equal(model.head.final_layer.weight, weight)


def test_a_pretrained_part_comes_by_name(weight, repository):
    config = Config.fromfile(repository / 'tiny.py')
    pretrained = dict(type='Pretrained', checkpoint='ldcrn_mm://tiny')
    config.model.head.init_cfg = dict(pretrained, prefix='head.')
    model = init_model(config, device='cpu', cfg_options={})
    assert not torch.equal(model.head.final_layer.weight, weight)
    model.head.init_weights()
    assert torch.equal(model.head.final_layer.weight, weight)


@pytest.mark.parametrize('kind', [MMPoseInferencer, TopdownInferencer])
def test_inferencers_take_the_alias_alone(weight, tmp_path, monkeypatch, kind):
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    inferencer = kind('tiny', scope='ldcrn_mm', det_model='whole_image', device='cpu')
    model = getattr(inferencer, 'inferencer', inferencer).model
    assert torch.equal(model.head.final_layer.weight, weight)


@pytest.mark.parametrize('name', ['tiny', 'SMALL'])
def test_our_inferencer_takes_a_name_in_any_scope(weight, name):
    inferencer = TopdownInferencer(name, device='cpu')
    assert torch.equal(inferencer.model.head.final_layer.weight, weight)


def test_our_inferencer_takes_a_name_and_weights(weight, repository):
    file = repository / 'ldcrn_mm' / 'weights' / FILE
    inferencer = TopdownInferencer('untrained', file, 'cpu')
    assert torch.equal(inferencer.model.head.final_layer.weight, weight)
    with pytest.raises(ValueError, match='untrained have not been published yet'):
        TopdownInferencer('untrained', device='cpu')


def test_our_inferencer_passes_on_the_names_of_mmpose(repository):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        TopdownInferencer('human', 'nowhere.pth', 'cpu')
    with pytest.raises(ValueError, match=r'huge in mmpose, nor.*: .*td-hm_tiny, tiny'):
        TopdownInferencer('huge', device='cpu')


def test_our_inferencer_takes_a_config_and_an_alias(weight, tmp_path):
    inferencer = TopdownInferencer(tmp_path / 'tiny.py', 'ldcrn_mm://small', 'cpu')
    assert torch.equal(inferencer.model.head.final_layer.weight, weight)
    with pytest.raises(ValueError, match='have not been published yet'):
        TopdownInferencer(tmp_path / 'tiny.py', 'ldcrn_mm://untrained', 'cpu')
