"""The weights that come with the package, and the two stages they were trained in."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.fileio import load
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from mmpose.registry import DATASETS, MODELS


@pytest.fixture(params=['ldcrn', 'ldcrn-256x192', 'ldcrn-narrow'])
def published(request, root):
    """The metafile's entry for weights in the package."""
    models = load(root / 'configs/ldcrn/metafile.yml')['Models']
    (entry,) = (entry for entry in models if request.param in entry.get('Alias', ()))
    return entry


@pytest.fixture
def lsp_extended(sample_data):
    folder = sample_data / 'lsp_extended'
    if not folder.is_dir():
        pytest.skip('LDCRN_SAMPLE_DATA has no lsp_extended')
    return folder


def test_the_second_stage_starts_from_what_the_first_writes(root):
    stages = [
        root / 'configs/ldcrn' / f'td-hm_ldcrn_1xb16-{stage}.py'
        for stage in ('30e_lsp-extended-128x96', '8e_lsp-extended-256x192')
    ]
    first, second = map(Config.fromfile, stages)
    epoch = f'epoch_{first.train_cfg.max_epochs}.pth'
    assert Path(second.load_from) == Path('work_dirs', stages[0].stem, epoch)
    assert first.load_from is None
    # A Gaussian covers the same part of the picture in both.
    widths = [cfg.codec.sigma / cfg.codec.heatmap_size[0] for cfg in (first, second)]
    assert widths[0] == pytest.approx(widths[1])


def test_no_feature_of_the_published_weights_is_dead(published, lsp_extended, root):
    """A feature that is nowhere positive behind its ReLU never gets a gradient.

    Keypoints then share the others. Once both ankles did, and half of them were
    exchanged. Some features are positive on one person of six.
    """
    cfg = Config.fromfile(root / published['Config'])
    with DefaultScope.overwrite_default_scope('mmpose'):
        dataset = dict(cfg.val_dataloader.dataset, data_root=str(lsp_extended))
        people = DATASETS.build(dataset)
        model = MODELS.build(cfg.model).eval()
    load_checkpoint(model, published['Weights'], map_location='cpu', strict=True)
    batch = model.data_preprocessor(pseudo_collate([people[i] for i in range(32)]))
    with torch.no_grad():
        (features,) = model.extract_feat(batch['inputs'])
    assert features.amax(dim=(0, 2, 3)).min() > 1


@pytest.mark.slow
def test_the_published_weights_find_what_the_metafile_says(
    published, lsp_extended, root, tmp_path
):
    words = [
        *[root / 'tools/test.py', root / published['Config'], published['Weights']],
        *['--work-dir', tmp_path, '--out', tmp_path / 'metrics.json'],
        *['--cfg-options', f'test_dataloader.dataset.data_root={lsp_extended}'],
    ]
    subprocess.run([sys.executable, *map(str, words)], check=True)
    (result,) = published['Results']
    found = json.loads((tmp_path / 'metrics.json').read_text())['PCK']
    # One of 11,999 keypoints is 0.008.
    assert found == pytest.approx(result['Metrics']['PCK@0.2 (torso)'], abs=0.1)
