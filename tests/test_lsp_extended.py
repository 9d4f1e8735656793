"""The configs for LSP extended: which joints train, which are measured by."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.fileio import load
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from mmpose.registry import DATASETS, MODELS

CONFIGS = {
    path.stem: path
    for path in (Path(__file__).resolve().parent.parent / 'configs').rglob(
        '*lsp-extended*.py'
    )
}
FILLED_IN, UNKNOWN = (0, 7, 16), (1, 9)


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpose'):
        yield


@pytest.fixture(params=sorted(CONFIGS))
def cfg(request):
    return Config.fromfile(CONFIGS[request.param])


@pytest.fixture
def person():
    """Keypoints (17, 3) within a picture of 200 pixels, a torso of 60."""
    points = np.full((17, 3), 2.0)
    points[:, :2] = np.random.default_rng(0).uniform(60, 140, (17, 2))
    points[[5, 6, 11, 12], :2] = (120, 70), (80, 70), (116, 118), (84, 118)
    points[list(FILLED_IN), 2] = 1
    points[list(UNKNOWN)] = 0
    return points


@pytest.fixture
def folder(tmp_path, person):
    """The person as the one of both files, in the layout that the configs name."""
    (tmp_path / 'images').mkdir()
    (tmp_path / 'annotations').mkdir()
    cv2.imwrite(str(tmp_path / 'images' / '1.png'), np.zeros((200, 200, 3), np.uint8))
    annotation = dict(
        id=1,
        image_id=1,
        category_id=1,
        iscrowd=0,
        bbox=[40, 40, 120, 120],
        area=7200,
        num_keypoints=15,
        keypoints=person.ravel().tolist(),
    )
    content = dict(
        images=[dict(id=1, file_name='1.png', width=200, height=200)],
        annotations=[annotation],
        categories=[dict(id=1, name='person', keypoints=[''] * 17, skeleton=[])],
    )
    for split in ('train', 'val'):
        path = tmp_path / 'annotations' / f'{split}.json'
        path.write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def lsp_extended(sample_data):
    """The folder of the photographs."""
    folder = sample_data / 'lsp_extended'
    if not folder.is_dir():
        pytest.skip('LDCRN_SAMPLE_DATA has no lsp_extended')
    return folder


def dataset_of(loader, folder):
    """The loader's data set in another folder, with nothing drawn at random."""
    pipeline = [
        step
        for step in loader.dataset.pipeline
        if step.type not in ('RandomFlip', 'ClippedGaussianBBoxTransform')
    ]
    return DATASETS.build(
        dict(loader.dataset, data_root=str(folder), pipeline=pipeline)
    )


def test_joints_filled_in_train_and_unknown_ones_do_not(cfg, folder):
    random = torch.Generator().manual_seed(0)
    head = MODELS.build(cfg.model).head
    (sample,) = pseudo_collate([dataset_of(cfg.train_dataloader, folder)[0]])[
        'data_samples'
    ]
    targets = sample.gt_fields.heatmaps
    features = torch.rand((1, head.in_channels, *targets.shape[1:]), generator=random)
    nn_heatmaps = []
    head.final_layer.register_forward_hook(
        lambda module, inputs, output: nn_heatmaps.append(output)
    )
    sample.gt_instance_labels.to_tensor()

    loss = head.loss((features,), [sample])['loss_kpt']

    (heatmaps,) = nn_heatmaps
    (gradient,) = torch.autograd.grad(loss, heatmaps)
    trains = gradient[0].flatten(1).any(dim=1)
    assert [i for i in range(17) if not trains[i]] == list(UNKNOWN)
    known = [i for i in range(17) if i not in UNKNOWN]
    distance = (heatmaps[0, known] - targets[known]).square().sum()
    expected = 0.5 * distance / heatmaps.numel()
    torch.testing.assert_close(loss, expected)


def test_joints_filled_in_are_not_measured_by(cfg, folder, person):
    dataset = dataset_of(cfg.val_dataloader, folder)
    (sample,) = pseudo_collate([dataset[0]])['data_samples']
    found = sample.gt_instances.clone()
    found.keypoints = person[None, :, :2].copy()
    found.keypoints[0, [*FILLED_IN, *UNKNOWN, 8, 10]] += 50  # two marked by a person
    sample.pred_instances = found
    evaluator = Evaluator(cfg.val_evaluator)
    evaluator.dataset_meta = dataset.metainfo

    evaluator.process([sample])

    measure = cfg.default_hooks.checkpoint.save_best
    marked = 12 - 3  # of the body, 7 and 16 are filled in and 9 is unknown
    assert evaluator.evaluate(1)[measure] == pytest.approx(100 * (marked - 2) / marked)
    assert cfg.test_evaluator == cfg.val_evaluator


def test_the_second_stage_starts_from_what_the_first_writes():
    (second,) = (name for name in CONFIGS if '256x192' in name)
    cfg = Config.fromfile(CONFIGS[second])
    start = Path(cfg.load_from)
    first = Config.fromfile(CONFIGS[start.parent.name])

    assert start.parent.parent == Path('work_dirs')
    assert start.name == f'epoch_{first.train_cfg.max_epochs}.pth'
    assert first.load_from is None
    for part in ('backbone', 'neck'):
        assert first.model[part] == cfg.model[part]
    assert first.train_pipeline[:-3] == cfg.train_pipeline[:-3]
    # Heatmaps of the one are those of the other on a finer grid.
    assert first.codec.sigma / first.codec.heatmap_size[0] == pytest.approx(
        cfg.codec.sigma / cfg.codec.heatmap_size[0]
    )


@pytest.mark.parametrize('name', sorted(CONFIGS))
def test_the_averages_reach_back_a_few_epochs(name):
    cfg = Config.fromfile(CONFIGS[name])
    (average,) = (hook for hook in cfg.custom_hooks if hook.type == 'EMAHook')
    steps = 7849 / cfg.train_dataloader.batch_size

    assert 1 <= 1 / average.momentum / steps <= 4


@pytest.fixture(params=['ldcrn', 'ldcrn-256x192', 'ldcrn-narrow'])
def published(request, root):
    """The metafile entry of weights in the package."""
    models = load(root / 'configs/ldcrn/metafile.yml')['Models']
    (entry,) = (entry for entry in models if request.param in entry.get('Alias', ()))
    return entry


def test_no_feature_of_the_published_weights_is_dead(published, lsp_extended, root):
    cfg = Config.fromfile(root / published['Config'])
    people = dataset_of(cfg.val_dataloader, lsp_extended)
    model = MODELS.build(cfg.model).eval()
    load_checkpoint(model, published['Weights'], map_location='cpu', strict=True)
    batch = pseudo_collate([people[i] for i in range(32)])

    with torch.no_grad():
        inputs = model.data_preprocessor(batch)['inputs']
        (features,) = model.extract_feat(inputs)

    # ReLU: a feature that is nowhere positive has no gradient and stays so. Joints then
    # share the others, as both ankles did once, of which half were exchanged. Some are
    # positive on one person of six.
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
    # One of 11,999 joints is 0.008.
    assert found == pytest.approx(result['Metrics']['PCK@0.2 (torso)'], abs=0.1)


def test_the_photographs_to_validate_on_are_those_that_are_measured(lsp_extended):
    cfg = Config.fromfile(next(iter(CONFIGS.values())))
    annotations = json.loads((lsp_extended / 'annotations' / 'val.json').read_text())
    people = {person['id']: person for person in annotations['annotations']}
    evaluator = Evaluator(cfg.val_evaluator)
    dataset = dict(cfg.val_dataloader.dataset, data_root=str(lsp_extended), pipeline=[])
    dataset = DATASETS.build(dataset)
    random = np.random.default_rng(0)
    counted = right = 0

    for data in dataset:
        person = people[data['id']]
        points = np.reshape(person['keypoints'], (17, 3))
        found = points[:, :2] + random.normal(0, 8, (17, 2))
        near = np.hypot(*(found - points[:, :2]).T) <= 0.2 * person['torso']
        marked = [i for i in range(5, 17) if points[i, 2] == 2]
        counted += len(marked)
        right += near[marked].sum()
        sample = dict(
            gt_instances=data,
            pred_instances=dict(keypoints=found[None]),
            raw_ann_info=data['raw_ann_info'],
        )
        evaluator.metrics[0].process([], [sample])

    assert len(dataset) == 1000
    assert counted == 11_999
    # The annotated torsos are rounded to tenths, so a joint or two may differ.
    pck = evaluator.evaluate(len(dataset))['PCK']
    assert pck == pytest.approx(100 * right / counted, abs=0.1)
    assert 50 < pck < 95
