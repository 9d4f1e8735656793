"""The recipes and the quickstart's config: sizes, one step, the paper's numbers.

The variants in configs/ldcrn: test_zoo.py.
"""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import HOOKS, METRICS, MODELS, PARAM_SCHEDULERS
from torch import nn

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
RECIPES = ('ldcrn_coco.py', 'ldcrn_mpii.py')
NAMES = (*RECIPES, 'ldcrn/td-hm_ldcrn-tiny_sample-128x96.py')
JOINTS = {'CocoDataset': 17, 'MpiiDataset': 16}
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@pytest.fixture(scope='module', autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpose'):
        yield


@pytest.fixture(scope='module', params=NAMES)
def cfg(request):
    return Config.fromfile(CONFIGS / request.param)


@pytest.fixture(scope='module')
def recipes():
    return {name: Config.fromfile(CONFIGS / name) for name in RECIPES}


@pytest.fixture(scope='module')
def models(recipes):
    return {name: MODELS.build(cfg.model).eval() for name, cfg in recipes.items()}


def step(pipeline, kind):
    """The one transform of its kind, ``None`` where there is none."""
    found = [transform for transform in pipeline if transform.type == kind]
    assert len(found) <= 1
    return found[0] if found else None


def sample(dataset_type):
    """What a data set hands to the pipeline, a person in noise."""
    name = {'CocoDataset': 'coco', 'MpiiDataset': 'mpii'}[dataset_type]
    meta = parse_pose_metainfo(dict(from_file=f'configs/_base_/datasets/{name}.py'))
    random = np.random.default_rng(0)
    joints = JOINTS[dataset_type]
    return dict(
        img=random.integers(0, 256, (300, 400, 3), dtype=np.uint8),
        img_id=1,
        img_path='noise.png',
        bbox=np.array([[100.0, 50, 200, 250]], np.float32),
        bbox_score=np.ones(1, np.float32),
        keypoints=random.uniform(120, 180, (1, joints, 2)).astype(np.float32),
        keypoints_visible=np.ones((1, joints), np.float32),
        id=1,
        raw_ann_info={},
        **{key: meta[key] for key in ('flip_indices', 'upper_body_ids')},
        lower_body_ids=meta['lower_body_ids'],
    )


def test_all_sizes_agree(cfg):
    width, height = cfg.codec.input_size
    assert cfg.codec.heatmap_size == (width // 4, height // 4)
    assert cfg.model.head.decoder == cfg.codec
    for name in LOADERS:
        pipeline = cfg[name].dataset.pipeline
        assert step(pipeline, 'TopdownAffine').input_size == cfg.codec.input_size
    encoder = step(cfg.train_dataloader.dataset.pipeline, 'GenerateTarget').encoder
    assert encoder == cfg.codec
    assert cfg.model.head.out_channels == JOINTS[cfg.train_dataloader.dataset.type]


def test_one_step_of_training_and_testing_runs_from_the_pipelines(cfg):
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(cfg.model)
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    batches = {}
    for name in LOADERS:
        dataset = cfg[name].dataset
        pipeline = Compose(dataset.pipeline)
        batches[name] = pseudo_collate([pipeline(sample(dataset.type))])

    losses = model.train_step(batches['train_dataloader'], optim_wrapper)

    assert losses['loss'].isfinite()
    assert losses['loss'] > 0
    (result,) = model.eval().test_step(batches['test_dataloader'])
    assert result.pred_instances.keypoints.shape == (1, cfg.model.head.out_channels, 2)


def test_schedules_evaluators_and_hooks_build(cfg):
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    for schedule in copy.deepcopy(cfg.param_scheduler):
        if schedule.pop('convert_to_iter_based', False):
            schedule.update(by_epoch=False)
        PARAM_SCHEDULERS.build(schedule, default_args=dict(optimizer=optimizer))
    checkpoint = HOOKS.build(cfg.default_hooks.checkpoint)

    assert len(checkpoint.save_best) == 1
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        kind = METRICS.get(evaluator.type)
        prefix = f'{kind.default_prefix}/' if kind.default_prefix else ''
        assert checkpoint.save_best[0] in (f'{prefix}AP', f'{prefix}PCK')


def test_checkpoints_survive_a_kill(cfg):
    assert cfg.default_hooks.checkpoint.type == 'SafeCheckpointHook'
    assert cfg.default_hooks.checkpoint.max_keep_ckpts == 2


def test_the_package_is_imported(cfg):
    assert cfg.custom_imports.imports == ['ldcrn_mm']


def test_no_config_of_ours_hides_a_data_set_of_mmpose():
    assert not (CONFIGS / '_base_' / 'datasets').exists()


@pytest.mark.parametrize(
    ('name', 'parameters'),
    [('ldcrn_coco.py', 7_894_897), ('ldcrn_mpii.py', 7_894_864)],
)
def test_the_networks_have_the_papers_number_of_parameters(models, name, parameters):
    assert sum(weight.numel() for weight in models[name].parameters()) == parameters


def multiply_adds(model, height, width):
    """Of all convolutions: outputs times the size of what each is summed from."""
    total = 0

    def count(conv, inputs, output):
        nonlocal total
        taps = conv.in_channels // conv.groups * np.prod(conv.kernel_size)
        total += output.numel() * int(taps)

    hooks = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        model.head(model.extract_feat(torch.zeros(1, 3, height, width)))
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize(
    ('name', 'width', 'height', 'expected'),
    [('ldcrn_coco.py', 192, 256, 6.544e9), ('ldcrn_mpii.py', 256, 256, 8.725e9)],
)
def test_the_networks_cost_the_papers_number_of_multiply_adds(
    recipes, models, name, width, height, expected
):
    assert recipes[name].codec.input_size == (width, height)

    assert multiply_adds(models[name], height, width) == pytest.approx(
        expected, abs=0.0005e9
    )


@pytest.mark.slow
def test_mmengine_counts_nearly_as_many_multiply_adds(models):
    """It counts normalisation and upsampling too."""
    model = models['ldcrn_coco.py']
    network = nn.Sequential(model.backbone, model.neck, model.head)
    counted = get_model_complexity_info(network, (3, 128, 96), show_table=False)

    ours = multiply_adds(model, 128, 96)
    assert ours < counted['flops'] < 1.02 * ours


@pytest.mark.parametrize('name', RECIPES)
def test_the_learning_rate_drops_at_epochs_300_and_360(recipes, name):
    cfg = recipes[name]
    model = nn.Linear(1, 1)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    (schedule,) = cfg.param_scheduler
    scheduler = PARAM_SCHEDULERS.build(schedule, default_args=dict(optimizer=optimizer))

    assert type(optimizer) is torch.optim.Adam
    assert cfg.train_cfg.max_epochs == 400
    for epoch in range(400):
        (group,) = optimizer.param_groups
        drops = (epoch >= 300) + (epoch >= 360)
        assert group['lr'] == pytest.approx(1e-3 * 0.1**drops)
        assert group['weight_decay'] == 0
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    ('name', 'batch', 'scale', 'rotation', 'base'),
    [('ldcrn_coco.py', 32, 0.35, 45, 128), ('ldcrn_mpii.py', 16, 0.25, 30, 64)],
)
def test_training_is_the_papers(recipes, name, batch, scale, rotation, base):
    cfg = recipes[name]
    pipeline = cfg.train_dataloader.dataset.pipeline

    assert cfg.train_dataloader.batch_size == batch
    assert cfg.train_dataloader.sampler.shuffle
    assert cfg.auto_scale_lr == dict(base_batch_size=base)
    assert cfg.codec.sigma == 2
    loss = dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=0.5)
    assert cfg.model.head.loss == loss
    assert step(pipeline, 'RandomFlip').get('prob', 0.5) == 0.5
    box = step(pipeline, 'ClippedGaussianBBoxTransform')
    assert (box.scale_sigma, box.rotation_sigma) == (scale, rotation)
    assert box.get('rotation_prob', 0.6) == 0.6
    assert step(pipeline, 'RandomBBoxTransform') is None


def test_coco_is_cut_to_half_bodies_and_mpii_is_not(recipes):
    coco, mpii = (recipes[name].train_dataloader.dataset.pipeline for name in RECIPES)

    half_body = step(coco, 'RandomHalfBody')
    assert half_body.get('prob', 0.3) == 0.3
    assert half_body.min_total_keypoints == 9
    assert step(mpii, 'RandomHalfBody') is None


@pytest.mark.parametrize('name', RECIPES)
def test_the_loss_is_half_of_the_weighted_mean_square(models, name):
    head = models[name].head
    random = torch.Generator().manual_seed(0)
    shape = (2, head.out_channels, 4, 3)
    heatmaps, target = (torch.rand(shape, generator=random) for _ in range(2))
    weights = (torch.rand(shape[:2], generator=random) > 0.5).float()

    loss = head.loss_module(heatmaps, target, weights)

    expected = 0.5 * (((heatmaps - target) * weights[..., None, None]) ** 2).mean()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize('name', RECIPES)
def test_testing_flips_and_shifts_as_the_paper_does(recipes, name):
    assert recipes[name].model.test_cfg == dict(
        flip_test=True, flip_mode='heatmap', shift_heatmap=True
    )


def test_coco_validates_on_ground_truth_boxes_and_tests_on_detected_ones(recipes):
    cfg = recipes['ldcrn_coco.py']
    detected = cfg.test_dataloader.dataset

    assert 'bbox_file' not in cfg.val_dataloader.dataset
    assert detected.bbox_file == (
        'data/coco/person_detection_results/COCO_val2017_detections_AP_H_56_person.json'
    )
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.test_mode
        ann_file = loader.dataset.data_root + loader.dataset.ann_file
        assert ann_file == cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file
    assert 'train2017' in cfg.train_dataloader.dataset.ann_file


def test_mpii_is_tested_as_it_is_validated(recipes):
    cfg = recipes['ldcrn_mpii.py']

    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.test_evaluator == cfg.val_evaluator == dict(type='MpiiPCKAccuracy')
    assert 'train' in cfg.train_dataloader.dataset.ann_file
    assert 'val' in cfg.val_dataloader.dataset.ann_file


@pytest.mark.parametrize('name', RECIPES)
def test_evaluation_sees_every_person_once(recipes, name):
    cfg = recipes[name]
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.sampler == dict(
            type='DefaultSampler', shuffle=False, round_up=False
        )
        assert loader.drop_last is False
