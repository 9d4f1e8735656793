"""The metafile: names and aliases, and the weights that come with the package."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.fileio import load
from mmengine.infer import BaseInferencer
from mmengine.registry import DefaultScope
from mmpose.apis.inferencers.utils import get_model_aliases
from mmpose.registry import DATASETS, MODELS

from ldcrn_mm.checkpoint import load_weights, read_checkpoint, zoo

from .test_configs import NAME, ROOT, SHIPPED, check_name, config, cost

ENTRIES = load(ROOT / 'configs' / 'ldcrn' / 'metafile.yml')['Models']
PADDING = 'test_dataloader.dataset.pipeline.1.padding'  # 1.0 for LSP's wider boxes
PUBLISHED = [entry for entry in ENTRIES if entry['Weights']]


@pytest.fixture(scope='module', autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpose'):
        yield


@pytest.fixture(params=PUBLISHED, ids=lambda entry: entry['Name'])
def published(request):
    return request.param


@pytest.fixture
def lsp_extended(sample_data):
    folder = sample_data / 'lsp_extended'
    if not folder.is_dir():
        pytest.skip('LDCRN_SAMPLE_DATA has no lsp_extended')
    return folder


def test_every_config_is_listed_once():
    assert load(ROOT / 'model-index.yml')['Import'] == ['configs/ldcrn/metafile.yml']
    assert sorted(entry['Name'] for entry in ENTRIES) == sorted(SHIPPED)
    for entry in ENTRIES:
        assert ROOT / entry['Config'] == SHIPPED[entry['Name']]
        assert entry['In Collection'] == 'LDCRN'
        assert '.' not in entry['Name']
        assert ('Results' in entry) == (entry in PUBLISHED)


def test_names_and_aliases_are_found_by_mmpose():
    aliases = get_model_aliases('ldcrn_mm')
    assert (
        aliases.items()
        >= {
            'ldcrn-coco': 'ldcrn_coco',
            'ldcrn-mpii': 'ldcrn_mpii',
            'ldcrn': 'td-hm_ldcrn_2xb16-2e_everyday-192x128',
            'ldcrn-narrow': 'td-hm_ldcrn-narrow_2xb16-2e_everyday-192x128',
        }.items()
    )
    assert Path(zoo.find()[0]).stem == aliases[zoo.DEFAULT]
    listed = BaseInferencer.list_models('ldcrn_mm')
    assert sorted(listed) == sorted([*SHIPPED, *aliases])
    asking = SimpleNamespace(scope='ldcrn_mm')
    weights = {entry['Name']: entry['Weights'] for entry in ENTRIES}
    for alias, name in aliases.items():
        cfg, found = BaseInferencer._load_model_from_metafile(asking, alias)
        assert cfg.to_dict() == config(name).to_dict()
        assert found == weights[name]
        if NAME.fullmatch(alias):
            check_name(alias, cfg)


def test_published_weights_are_whole_and_fit_their_config(published):
    path = Path(zoo.locate(published['Weights']))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.parent == zoo.WEIGHTS
    assert path.name == f'{published["Name"]}-{digest[:8]}.pth'
    checkpoint = read_checkpoint(path)
    model = MODELS.build(config(published['Name']).model)
    load_weights(model, checkpoint, path, exact=True)
    keypoints = checkpoint['meta']['dataset_meta']['num_keypoints']
    assert keypoints == model.head.out_channels
    assert published['Metadata']['Parameters'] == cost(published['Name'])[0]


def test_every_file_of_weights_is_listed():
    files = {path.name for path in zoo.WEIGHTS.iterdir()}
    assert files == {entry['Weights'].partition('//')[2] for entry in PUBLISHED}


@pytest.mark.slow
def test_no_feature_of_the_published_weights_is_dead(published, lsp_extended):
    """A feature that is nowhere positive behind its ReLU never gets a gradient.

    Keypoints then share the others. Once both ankles did, and half of them were
    exchanged. Some features are positive on one person of six.
    """
    cfg = Config.fromfile(ROOT / published['Config'])
    cfg.merge_from_dict({PADDING: 1.0})
    people = DATASETS.build(
        dict(cfg.test_dataloader.dataset, data_root=str(lsp_extended))
    )
    model = MODELS.build(cfg.model).eval()
    path = Path(zoo.locate(published['Weights']))
    load_weights(model, read_checkpoint(path), path)
    batch = model.data_preprocessor(pseudo_collate([people[i] for i in range(32)]))
    with torch.no_grad():
        (features,) = model.extract_feat(batch['inputs'])
    assert features.amax(dim=(0, 2, 3)).min() > 1


@pytest.mark.slow
def test_published_weights_find_what_is_stated(published, lsp_extended, tmp_path):
    words = [
        *[ROOT / 'tools/test.py', ROOT / published['Config'], published['Weights']],
        *['--work-dir', tmp_path, '--out', tmp_path / 'metrics.json'],
        *['--cfg-options', f'test_dataloader.dataset.data_root={lsp_extended}'],
        f'{PADDING}=1.0',
    ]
    subprocess.run([sys.executable, *map(str, words)], check=True)
    (result,) = published['Results']
    found = json.loads((tmp_path / 'metrics.json').read_text())['PCK']
    # One of 11,999 keypoints is 0.008.
    assert found == pytest.approx(result['Metrics']['PCK@0.2 (torso)'], abs=0.1)
