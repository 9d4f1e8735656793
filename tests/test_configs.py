"""Every config that is shipped, and every variant that docs/variants.md describes."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS, HOOKS, MODELS
from PIL import Image
from scipy.io import savemat

from ldcrn_mm.training.data_files import datasets as datasets_of

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / 'configs'
SHIPPED = {
    path.stem: path
    for path in sorted(CONFIGS.rglob('*.py'))
    if '_base_' not in path.parts
}
VARIANTS = dict(
    re.findall(
        r'\n\*\*([^*]+)\.\*\*[^`]*(?:`[^`\n]+`[^`]*)*\n```python\n(.*?)```',
        (ROOT / 'docs' / 'variants.md').read_text(),
        re.DOTALL,
    )
)
NAME = re.compile(
    r'td-hm_ldcrn(?:-[a-z]+)?_(?:[a-z]+-)?(?P<gpus>\d+)xb(?P<batch>\d+)'
    r'-(?P<epochs>\d+)e_(?P<data>[a-z-]+)-(?P<height>\d+)x(?P<width>\d+)'
)
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
SMALL = ('tiny', 'narrow')


@pytest.fixture(scope='module', autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpose'):
        yield


@cache
def config(name):
    if name in SHIPPED:
        return Config.fromfile(SHIPPED[name])
    base = f'_base_ = {str(CONFIGS / "ldcrn_coco.py")!r}\n'
    return Config.fromstring(base + VARIANTS[name], '.py')


@pytest.fixture(params=[*SHIPPED, *VARIANTS])
def cfg(request):
    return config(request.param)


def find(node, kind):
    """All dictionaries of a type, however deep."""
    if isinstance(node, dict):
        if node.get('type') == kind:
            yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for member in node:
            yield from find(member, kind)


def without_scopes(node):
    """What MMEngine reads, without the scopes that it adds to inherited parts."""
    if isinstance(node, dict):
        return {k: without_scopes(v) for k, v in node.items() if k != '_scope_'}
    if isinstance(node, list | tuple):
        return type(node)(map(without_scopes, node))
    return node


@cache
def keypoints_of(dataset_type):
    metainfo = DATASETS.get(dataset_type).METAINFO
    return parse_pose_metainfo(metainfo)['num_keypoints']


def joints_of(cfg):
    return keypoints_of(cfg.val_dataloader.dataset.type)


def test_sizes_codecs_and_joints_agree(cfg):
    width, height = cfg.codec.input_size
    assert cfg.codec.heatmap_size == (width // 4, height // 4)
    assert cfg.model.head.decoder == cfg.codec
    udp = cfg.codec.type == 'UDPHeatmap'
    assert cfg.model.test_cfg.shift_heatmap is not udp
    crops = list(find(cfg.to_dict(), 'TopdownAffine'))
    assert len(crops) >= 3
    for crop in crops:
        assert crop['input_size'] == cfg.codec.input_size
        assert crop.get('use_udp', False) is udp
    encoders = list(find(cfg.to_dict(), 'GenerateTarget'))
    assert encoders
    assert all(step['encoder'] == cfg.codec.to_dict() for step in encoders)
    assert cfg.model.head.out_channels == joints_of(cfg)


def test_everything_that_a_training_relies_on_is_set(cfg):
    *_, schedule = cfg.param_scheduler
    assert schedule.end == cfg.train_cfg.max_epochs
    assert all(milestone < schedule.end for milestone in schedule.get('milestones', []))
    assert cfg.custom_imports.imports == ['ldcrn_mm']
    assert cfg.default_hooks.checkpoint.type == 'SafeCheckpointHook'
    assert cfg.default_hooks.checkpoint.max_keep_ckpts == 2
    for hook in cfg.custom_hooks:
        HOOKS.build(hook)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.test_mode
        assert loader.drop_last is False
        assert loader.sampler == dict(
            type='DefaultSampler', shuffle=False, round_up=False
        )


@pytest.mark.parametrize('name', [name for name in SHIPPED if NAME.fullmatch(name)])
def test_a_name_tells_the_truth(name):
    check_name(name, config(name))


@pytest.mark.parametrize('name', SHIPPED)
def test_the_learning_rate_is_for_whole_steps_of_the_recipe(name):
    cfg = config(name)
    assert cfg.auto_scale_lr.base_batch_size in (
        gpus * cfg.train_dataloader.batch_size for gpus in (1, 2, 4)
    )


def check_name(name, cfg):
    told = NAME.fullmatch(name).groupdict()
    gpus, batch, epochs, height, width = (
        int(told[key]) for key in ('gpus', 'batch', 'epochs', 'height', 'width')
    )
    assert cfg.codec.input_size == (width, height)
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == batch * gpus
    assert cfg.data_root == f'data/{told["data"].replace("-", "_")}/'


# Networks and their stated costs


@cache
def measure(network, width, height):
    multiply_adds = []

    def count(conv, _, output):
        multiply_adds.append(output.numel() * conv.weight[0].numel())

    with torch.device('meta'), torch.no_grad():
        model = MODELS.build(json.loads(network)).eval()
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(count)
        features = model.extract_feat(torch.empty(1, 3, height, width))
        heatmaps = model.head.final_layer(features[-1])
    parameters = sum(weight.numel() for weight in model.parameters())
    return parameters, sum(multiply_adds) / 1e9, tuple(heatmaps.shape)


def cost(name):
    """Parameters, multiply-adds / 1e9 and shape of the heatmaps."""
    model = config(name).model
    network = dict(
        type='TopdownPoseEstimator',
        backbone=model.backbone,
        neck=model.neck,
        head=dict(model.head, decoder=None),
    )
    return measure(json.dumps(network), *config(name).codec.input_size)


@pytest.mark.parametrize('name', [*SHIPPED, *VARIANTS])
def test_the_network_makes_heatmaps_for_the_codec(name):
    width, height = config(name).codec.heatmap_size
    assert cost(name)[2] == (1, joints_of(config(name)), height, width)


@pytest.mark.parametrize(
    ('name', 'parameters', 'multiply_adds'),
    [('ldcrn_coco', 7_894_897, 6.544), ('ldcrn_mpii', 7_894_864, 8.725)],
)
def test_the_recipes_have_the_size_of_the_paper(name, parameters, multiply_adds):
    assert cost(name)[:2] == (parameters, pytest.approx(multiply_adds, abs=0.0005))


def test_stated_costs_are_those_of_the_networks():
    row = re.compile(r'\[`(.+)\.py`\].*\| ([\d,]+) \| ([\d.]+)e9 \|')
    stated = row.findall((CONFIGS / 'ldcrn' / 'README.md').read_text())
    text = (ROOT / 'docs' / 'variants.md').read_text()
    paragraph = re.compile(
        r'\n\*\*([^*]+)\.\*\*[^`]*?([\d,]+) parameters,\s([\d.]+)e9 multiply-adds'
    )
    stated += paragraph.findall(text)
    assert len(stated) > 5
    for name, parameters, multiply_adds in stated:
        if name in SHIPPED or name in VARIANTS:
            found = cost(name)
            assert found[0] == int(parameters.replace(',', '')), name
            assert found[1] == pytest.approx(float(multiply_adds), abs=0.0005), name


@pytest.mark.parametrize('name', SHIPPED)
def test_configs_are_inherited_by_name(name):
    path = SHIPPED[name].relative_to(CONFIGS).as_posix()
    path = path if '/' in path else f'ldcrn/../{path}'
    heir = Config.fromstring(f"_base_ = 'ldcrn_mm::{path}'", '.py')
    assert without_scopes(heir.to_dict()) == without_scopes(config(name).to_dict())


def test_no_config_hides_a_data_set_of_mmpose():
    assert not (CONFIGS / '_base_' / 'datasets').exists()


# Training and evaluation on files in the formats of the data sets


def annotation(number, points):
    """Annotation of COCO and, with 133 points, of COCO-WholeBody."""
    body = points[:17]
    person = dict(id=number, image_id=number, category_id=1, bbox=[20, 10, 110, 130])
    person |= dict(area=9000, iscrowd=0, segmentation=[], num_keypoints=len(body))
    person['keypoints'] = body.ravel().tolist()
    start = 17
    for part, count in dict(foot=6, face=68, lefthand=21, righthand=21).items():
        person[f'{part}_kpts'] = points[start : start + count].ravel().tolist()
        person[f'{part}_valid'] = True
        start += count
    return person


def write_coco(file, dataset, people):
    images = [
        dict(id=i, file_name=f'{i}.png', height=150, width=160, crowdIndex=0.5)
        for i in (1, 2)
    ]
    category = dict(id=1, name='person', keypoints=[''] * 17, skeleton=[])
    annotations = [annotation(i, points) for i, points in enumerate(people, 1)]
    content = dict(images=images, annotations=annotations, categories=[category])
    file.write_text(json.dumps(content))
    if dataset.get('bbox_file'):
        box = dict(category_id=1, bbox=[20, 10, 110, 130], score=0.9)
        boxes = [dict(box, image_id=i) for i in (1, 2)]
        Path(dataset.bbox_file).parent.mkdir(parents=True, exist_ok=True)
        Path(dataset.bbox_file).write_text(json.dumps(boxes))


def write_mpii(file, dataset, people):
    usual = dict(center=[75, 75], scale=0.6, joints_vis=[1] * 16)
    content = [
        dict(usual, image=f'{i}.png', joints=points[:, :2].tolist())
        for i, points in enumerate(people, 1)
    ]
    file.write_text(json.dumps(content))
    heads = np.full((2, 2, 2), 40.0)
    heads[1] = 60
    savemat(file.parent / 'mpii_gt_val.mat', dict(headboxes_src=heads))


@pytest.fixture
def files(cfg, tmp_path, monkeypatch):
    """Two people in noise, in the files that the config names."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    people = np.full((2, joints_of(cfg), 3), 2.0)
    people[..., :2] = random.uniform(40, 110, people[..., :2].shape)
    splits = ('train', 'val', 'test')
    parts = [dataset for split in splits for _, dataset in datasets_of(cfg, split)]
    for dataset in parts:
        folder = Path(dataset.data_root) / dataset.data_prefix.img
        folder.mkdir(parents=True, exist_ok=True)
        for i in (1, 2):
            pixels = random.integers(0, 256, (150, 160, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f'{i}.png')
        file = Path(dataset.data_root) / dataset.ann_file
        file.parent.mkdir(parents=True, exist_ok=True)
        write = write_mpii if dataset.type == 'MpiiDataset' else write_coco
        write(file, dataset, people)


@pytest.mark.usefixtures('files')
def test_pipelines_fit_the_network_and_the_evaluator_the_best_checkpoint(cfg):
    """Annotated keypoints, taken for predictions, get the best result there is."""
    width, height = cfg.codec.input_size
    joints = joints_of(cfg)
    datasets = [DATASETS.build(cfg[loader].dataset) for loader in LOADERS]
    train, val, test = ([data[i] for i in range(len(data))] for data in datasets)
    parts = [*datasets_of(cfg, 'train')]
    often = cfg.train_dataloader.dataset.get('sample_ratio_factor', [1] * len(parts))
    assert len(train) == 2 * sum(often)
    assert len(val) == len(test) == 2
    assert {d['inputs'].shape for d in train + val + test} == {(3, height, width)}
    targets = {d['data_samples'].gt_fields.heatmaps.shape for d in train}
    assert targets == {(joints, height // 4, width // 4)}

    measure = cfg.default_hooks.checkpoint.save_best
    for people, evaluator in ((val, cfg.val_evaluator), (test, cfg.test_evaluator)):
        evaluator = Evaluator(evaluator)
        evaluator.dataset_meta = datasets[1].metainfo
        for data, annotated in zip(people, val):
            sample = data['data_samples'].clone()
            keypoints = annotated['data_samples'].gt_instances.keypoints
            sample.pred_instances = sample.gt_instances.clone()
            # MPII's annotations count from one, its evaluator adds that one.
            sample.pred_instances.keypoints = keypoints - (joints == 16)
            sample.pred_instances.keypoint_scores = np.ones((1, joints))
            evaluator.process([sample])
        found = evaluator.evaluate(2)
        name = measure if measure in found else 'PCK'  # tested on other people
        assert found[name] == pytest.approx(1 if name.endswith('/AP') else 100)


def teacher_checkpoint(cfg, folder):
    """Random weights for the teacher, in place of a download."""
    teacher = Config.fromstring(f'_base_ = {cfg.model.teacher!r}', '.py').model
    teacher.backbone.pop('init_cfg')
    path = folder / 'teacher.pth'
    torch.save(dict(state_dict=MODELS.build(teacher).state_dict()), path)
    return str(path)


@pytest.mark.usefixtures('files')
@pytest.mark.parametrize(
    'cfg',
    [
        pytest.param(
            name, marks=() if any(s in name for s in SMALL) else pytest.mark.slow
        )
        for name in (*SHIPPED, *VARIANTS)
    ],
    indirect=True,
)
def test_one_step_of_training_reaches_every_weight(cfg, tmp_path):
    torch.manual_seed(0)
    np.random.seed(0)
    model_cfg = dict(cfg.model)
    if 'teacher' in model_cfg:
        model_cfg['teacher_checkpoint'] = teacher_checkpoint(cfg, tmp_path)
    model = MODELS.build(model_cfg)
    model.init_weights()
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    before = {name: value.clone() for name, value in model.named_parameters()}
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    losses = model.train_step(pseudo_collate([dataset[0], dataset[1]]), optim_wrapper)
    assert losses['loss'].isfinite()
    assert losses['loss'] > 0
    for name, value in model.named_parameters():
        assert value.isfinite().all(), name
        assert not torch.equal(value, before[name]), name
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    (result,) = model.eval().test_step(pseudo_collate([dataset[0]]))
    assert result.pred_instances.keypoints.shape == (1, joints_of(cfg), 2)


# The recipes, and what differs from them

SHARED = {
    'codec.sigma': 2,
    'model.data_preprocessor.mean': [123.675, 116.28, 103.53],
    'model.data_preprocessor.std': [58.395, 57.12, 57.375],
    'model.data_preprocessor.bgr_to_rgb': True,
    'model.head.loss': dict(
        type='KeypointMSELoss', use_target_weight=True, loss_weight=0.5
    ),
    'model.test_cfg': dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True),
    'optim_wrapper.optimizer': dict(type='Adam', lr=1e-3),
    'param_scheduler.0.milestones': [300, 360],
    'param_scheduler.0.gamma': 0.1,
    'train_cfg.max_epochs': 400,
    'train_dataloader.sampler.shuffle': True,
}
COCO = {
    'train_dataloader.batch_size': 32,
    'auto_scale_lr.base_batch_size': 128,
    'RandomFlip': dict(direction='horizontal'),
    'RandomHalfBody': dict(
        min_total_keypoints=9,
        min_upper_keypoints=3,
        min_lower_keypoints=3,
        upper_prioritized_prob=0.6915,
    ),
    'ClippedGaussianBBoxTransform': dict(scale_sigma=0.35, rotation_sigma=45),
    'val_dataloader.dataset.bbox_file': None,
    'test_dataloader.dataset.bbox_file': 'data/coco/person_detection_results/'
    'COCO_val2017_detections_AP_H_56_person.json',
}
MPII = {
    'train_dataloader.batch_size': 16,
    'auto_scale_lr.base_batch_size': 64,
    'KeypointsFromZero': {},
    'RandomFlip': dict(direction='horizontal'),
    'RandomHalfBody': None,
    'ClippedGaussianBBoxTransform': dict(scale_sigma=0.25, rotation_sigma=30),
    'val_evaluator': dict(type='MpiiPCKAccuracy'),
}
OTHERS = {
    'td-hm_ldcrn_4xb32-400e_coco-384x288': {'codec.sigma': 3},
    'td-hm_ldcrn_distill-4xb32-400e_coco-256x192': {'model.teacher_weight': 0.5},
    'td-hm_ldcrn_1xb16-30e_lsp-extended-128x96': {'val_evaluator.min_visibility': 2},
}


@pytest.mark.parametrize(
    ('name', 'settings'),
    [
        ('ldcrn_coco', {**SHARED, **COCO}),
        ('ldcrn_mpii', {**SHARED, **MPII}),
        *OTHERS.items(),
    ],
)
def test_settings_are_those_of_the_paper_or_the_variant(name, settings):
    steps = {
        step['type']: {key: value for key, value in step.items() if key != 'type'}
        for step in config(name).train_dataloader.dataset.pipeline
    }
    for key, expected in settings.items():
        found = config(name)
        if key[0].isupper():
            found = steps.get(key)
        else:
            for part in key.split('.'):
                found = found[int(part)] if part.isdigit() else found.get(part)
        assert found == expected, key


def test_everyday_people_are_learned_after_lsp_extended_and_beside_it():
    first = 'td-hm_ldcrn_1xb16-30e_lsp-extended-128x96'
    second = config('td-hm_ldcrn_2xb16-2e_everyday-192x128')
    last = f'epoch_{config(first).train_cfg.max_epochs}.pth'
    assert config(first).load_from is None
    assert Path(second.load_from) == Path('work_dirs', first, last)
    test = second.test_dataloader.dataset
    assert test.data_root == config(first).test_dataloader.dataset.data_root
    assert test.pipeline[1].padding == 1.25  # as detectors draw boxes, for inference
    assert second.test_evaluator == config(first).test_evaluator
    sport, everyday = second.train_dataloader.dataset.datasets
    assert sport.data_root == config(first).train_dataloader.dataset.data_root
    crops = [dataset.pipeline[-1] for dataset in (sport, everyday)]
    assert [crop.type for crop in crops] == ['GetBBoxCenterScale'] * 2
    assert [crop.padding for crop in crops] == [1, 1.25]
