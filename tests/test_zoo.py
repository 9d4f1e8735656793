"""The variants in configs/ldcrn: what their names, metafile and card promise."""

import json
import re
from functools import cache
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.fileio import load
from mmengine.infer import BaseInferencer
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpose.apis.inferencers.utils import get_model_aliases
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS, MODELS
from PIL import Image
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
RECIPE = 'ldcrn_coco'
PATHS = {
    path.stem: path
    for path in sorted((ROOT / 'configs').rglob('*.py'))
    if not {'_base_', 'comparison'} & set(path.parts)  # tests/test_comparison.py
}
NAME = re.compile(
    r'td-hm_ldcrn(?:-(?P<network>[a-z-]+))?'
    r'_(?:(?P<trick>[a-z-]+)-)?(?P<gpus>\d+)xb(?P<batch>\d+)-(?P<epochs>\d+)e'
    r'_(?P<data>[a-z-]+)-(?P<height>\d+)x(?P<width>\d+)'
)
VARIANTS = [name for name in PATHS if NAME.fullmatch(name)]
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
DATA = {
    'coco': ('CocoDataset', 17, 'coco/AP'),
    'crowdpose': ('CrowdPoseDataset', 14, 'crowdpose/AP'),
    'coco-wholebody': ('CocoWholeBodyDataset', 133, 'coco-wholebody/AP'),
    'lsp-extended': ('CocoDataset', 17, 'PCK'),
}
# The last stage of the training on LSP extended; its first, and a narrow network.
LSP_EXTENDED = {
    'load_from',
    'max_epochs',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg.max_epochs',
    'train_cfg.val_interval',
    'auto_scale_lr.base_batch_size',
    'custom_hooks',
    'data_root',
    'pipeline',
    'train_dataloader.batch_size',
    *(f'{loader}.num_workers' for loader in LOADERS),
    *(f'{loader}.dataset' for loader in LOADERS),
    'val_evaluator',
    'test_evaluator',
    'default_hooks.checkpoint.save_best',
    'codec',
    'model.head.decoder',
}
LSP_EXTENDED_FIRST = LSP_EXTENDED - {'load_from'}
# What differs from the recipe; `pipeline` stands for all pipelines.
DIFFERENCES = {
    'coco-384x288': {'codec', 'model.head.decoder', 'pipeline'},
    'udp': {'codec', 'model.head.decoder', 'model.test_cfg.shift_heatmap', 'pipeline'},
    'dark': {'codec', 'model.head.decoder', 'pipeline'},
    'strong-aug': {'pipeline'},
    'ema': {'custom_hooks'},
    '210e': {'param_scheduler', 'train_cfg.max_epochs'},
    '600e': {'param_scheduler', 'train_cfg.max_epochs'},
    'distill': {
        'model.type',
        'model.teacher',
        'model.teacher_checkpoint',
        'model.teacher_weight',
    },
    'addition': {'model.neck', 'model.head.in_channels'},
    'hrnet-modules': {'model.backbone.num_modules'},
    'crowdpose': {
        'model.head.out_channels',
        'dataset_type',
        'data_root',
        *(f'{loader}.dataset' for loader in LOADERS),
        'val_evaluator',
        'test_evaluator',
        'default_hooks.checkpoint.save_best',
    },
    'coco-wholebody': {
        'model.head.out_channels',
        'dataset_type',
        *(f'{loader}.dataset' for loader in LOADERS),
        'val_evaluator',
        'test_evaluator',
        'default_hooks.checkpoint.save_best',
    },
    'lsp-extended-256x192': LSP_EXTENDED,
    'ldcrn_1xb16-30e': LSP_EXTENDED_FIRST,
    'narrow': LSP_EXTENDED_FIRST
    | {'channels', 'model.backbone', 'model.neck', 'model.head.in_channels'},
}


@pytest.fixture(scope='module', autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpose'):
        yield


@cache
def config(name):
    return Config.fromfile(PATHS[name])


@pytest.fixture(params=VARIANTS)
def name(request):
    return request.param


@pytest.fixture
def promised(name):
    return NAME.fullmatch(name).groupdict()


@pytest.fixture
def cfg(name):
    return config(name)


def find(node, kind):
    """All dictionaries of a type, however deep."""
    if isinstance(node, dict):
        if node.get('type') == kind:
            yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for member in node:
            yield from find(member, kind)


def variant(part):
    """The name that has a part between its separators."""
    (found,) = (name for name in VARIANTS if re.search(rf'[-_]{part}([-_]|$)', name))
    return found


# Names


def test_every_config_is_a_recipe_or_named_as_openmmlab_does():
    others = set(PATHS) - set(VARIANTS)

    assert others == {RECIPE, 'ldcrn_mpii', 'td-hm_ldcrn-tiny_sample-128x96'}
    assert len(VARIANTS) == len(DIFFERENCES)


def test_the_size_is_that_of_the_name_everywhere(cfg, promised):
    width, height = int(promised['width']), int(promised['height'])

    assert cfg.codec.input_size == (width, height)
    assert cfg.codec.heatmap_size == (width // 4, height // 4)
    sigma = 3 if height == 384 else 2
    if promised['data'] == 'lsp-extended':
        sigma = 3 * height / 256
    assert cfg.codec.sigma == sigma
    assert cfg.model.head.decoder == cfg.codec
    crops = list(find(cfg.to_dict(), 'TopdownAffine'))
    assert len(crops) >= 3
    assert all(crop['input_size'] == (width, height) for crop in crops)
    encoders = list(find(cfg.to_dict(), 'GenerateTarget'))
    assert encoders
    assert all(step['encoder'] == cfg.codec.to_dict() for step in encoders)


def test_the_schedule_is_that_of_the_name(cfg, promised):
    epochs = int(promised['epochs'])
    *warm_up, drops = cfg.param_scheduler

    assert cfg.train_cfg.max_epochs == drops.end == epochs
    assert all(0 < milestone < epochs for milestone in drops.get('milestones', []))
    assert [step.type for step in warm_up] == ['LinearLR'] * (epochs != 400)
    assert all(step.by_epoch is False for step in warm_up)
    batch, gpus = int(promised['batch']), int(promised['gpus'])
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == batch * gpus


def test_data_and_joints_are_those_of_the_name(cfg, promised):
    kind, joints, measure = DATA[promised['data']]
    meta = parse_pose_metainfo(DATASETS.get(kind).METAINFO)

    assert cfg.dataset_type == kind
    assert {cfg[loader].dataset.type for loader in LOADERS} == {kind}
    assert cfg.model.head.out_channels == meta['num_keypoints'] == joints
    assert cfg.default_hooks.checkpoint.save_best == measure
    for loader in LOADERS:
        assert cfg[loader].dataset.data_root == cfg.data_root
    assert cfg.val_evaluator == cfg.test_evaluator
    test = cfg.test_dataloader.dataset
    if promised['data'] == 'lsp-extended':
        assert test.bbox_file is None
    else:
        assert cfg.test_evaluator.ann_file == test.data_root + test.ann_file
        assert test.bbox_file.startswith(test.data_root)
    assert 'bbox_file' not in cfg.val_dataloader.dataset


def differences(found, expected, path=''):
    for key in {*found, *expected}:
        here = f'{path}.{key}'.lstrip('.')
        pair = found.get(key), expected.get(key)
        if pair[0] == pair[1]:
            continue
        if all(isinstance(value, dict) for value in pair):
            yield from differences(*pair, here)
        else:
            yield here


@pytest.mark.parametrize('part', DIFFERENCES)
def test_a_variant_differs_from_the_recipe_where_it_says(part):
    found = differences(config(variant(part)).to_dict(), config(RECIPE).to_dict())

    found = {'pipeline' if 'pipeline' in path else path for path in found}
    expected = DIFFERENCES[part]
    within = {
        path: [key for key in expected if f'{path}.'.startswith(f'{key}.')]
        for path in found
    }
    assert all(within.values()), found
    assert set(chain(*within.values())) == expected


# Tricks


def test_udp_crops_encodes_and_decodes_without_bias(cfg, promised):
    udp = promised['trick'] == 'udp'

    assert cfg.codec.type == ('UDPHeatmap' if udp else 'MSRAHeatmap')
    assert cfg.model.test_cfg.shift_heatmap is not udp
    for crop in find(cfg.to_dict(), 'TopdownAffine'):
        assert crop.get('use_udp', False) is udp


def test_dark_is_unbiased(cfg, promised):
    assert cfg.codec.get('unbiased', False) is (promised['trick'] == 'dark')


def test_strong_augmentation_shifts_boxes_and_changes_colours():
    pipeline = config(variant('strong-aug')).train_dataloader.dataset.pipeline
    kinds = [step.type for step in pipeline]

    assert 'ClippedGaussianBBoxTransform' not in kinds
    box = pipeline[kinds.index('RandomBBoxTransform')]
    assert (box.scale_factor, box.rotate_factor) == ((0.6, 1.4), 80)
    assert kinds.index('TopdownAffine') < kinds.index('PhotometricDistortion')
    assert {'RandomFlip', 'RandomHalfBody'} < set(kinds)


def hrnet():
    """MMPose's HRNet-W32, the teacher of the distilled variant."""
    teacher = config(variant('distill')).model.teacher
    return Config.fromstring(f'_base_ = {teacher!r}', '.py').model


def test_hrnets_modules_are_those_of_hrnet():
    stages = hrnet().backbone.extra

    expected = tuple(stages[f'stage{i}'].num_modules for i in (2, 3, 4))
    assert config(variant('hrnet-modules')).model.backbone.num_modules == expected


class Drift(BaseModel):
    """A weight that training moves by one each step, and records of validation."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.validated = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if mode == 'loss':
            return dict(loss=-self.weight.sum())
        self.validated.append(self.weight.item())
        return [None]


class NoMeasure(Evaluator):
    def __init__(self):
        super().__init__([])

    def process(self, *args, **kwargs):
        pass

    def evaluate(self, size):
        return {}


def test_averaged_weights_are_validated_and_saved(tmp_path):
    cfg = config(variant('ema'))
    assert 'SyncBuffersHook' in [hook.type for hook in cfg.custom_hooks]
    model, steps = Drift(), 4
    loader = dict(
        batch_size=1, dataset=list(range(steps)), sampler=dict(type='DefaultSampler')
    )
    checkpoint = dict(type='SafeCheckpointHook', interval=1)
    runner = Runner(
        model,
        work_dir=str(tmp_path),
        train_dataloader=loader,
        val_dataloader=loader,
        val_evaluator=NoMeasure(),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0)),
        default_hooks=dict(checkpoint=checkpoint),
        custom_hooks=cfg.custom_hooks,
        default_scope='mmpose',
    )

    runner.train()

    # The first step starts the average; a new value v then enters as
    # average += rate (v - average), with a rate that falls to 2e-4.
    average = 1.0
    for step in range(1, steps):
        rate = (1 - 2e-4) * np.exp(-(1 + step) / 2000) + 2e-4
        average += rate * (step + 1 - average)
    assert average < steps - 1e-3
    assert model.validated == pytest.approx([average] * steps)
    saved = torch.load(tmp_path / 'epoch_1.pth')['state_dict']['weight'].item()
    assert saved == pytest.approx(average)
    assert model.weight.item() == pytest.approx(steps)


# Metafile


@pytest.fixture(scope='module')
def entries():
    (metafile,) = load(ROOT / 'model-index.yml')['Import']
    return load(ROOT / metafile)['Models']


def test_the_metafile_lists_every_config_once(entries):
    assert sorted(entry['Name'] for entry in entries) == sorted(PATHS)
    for entry in entries:
        assert ROOT / entry['Config'] == PATHS[entry['Name']]
        assert '.' not in entry['Name']


def test_the_metafile_states_no_result_that_nobody_measured(entries):
    collections = load(ROOT / 'configs' / 'ldcrn' / 'metafile.yml')['Collections']

    assert [collection['Name'] for collection in collections] == ['LDCRN']
    for entry in entries:
        assert entry['In Collection'] == 'LDCRN'
        published = entry['Weights'] is not None
        assert ('Results' in entry) == published
        assert not published or 'lsp-extended' in entry['Name']


def test_names_and_aliases_are_found_by_mmpose(entries):
    aliases = get_model_aliases('ldcrn_mm')
    asking = SimpleNamespace(scope='ldcrn_mm')
    published = {entry['Name']: entry['Weights'] for entry in entries}

    assert aliases['ldcrn-coco'] == RECIPE
    assert published[aliases['ldcrn']].startswith('ldcrn_mm://')
    assert aliases['ldcrn-mpii'] == 'ldcrn_mpii'
    listed = BaseInferencer.list_models('ldcrn_mm')
    assert sorted(listed) == sorted([*PATHS, *aliases])
    for asked, name in [*aliases.items(), *((name, name) for name in PATHS)]:
        cfg, weights = BaseInferencer._load_model_from_metafile(asking, asked)
        assert cfg.to_dict() == config(name).to_dict()
        assert weights == published[name]


def test_aliases_in_openmmlabs_form_agree_with_their_recipes():
    for alias, name in get_model_aliases('ldcrn_mm').items():
        if promised := NAME.fullmatch(alias):
            cfg = config(name)
            size = int(promised['width']), int(promised['height'])
            batch = int(promised['batch'])
            assert cfg.codec.input_size == size
            assert cfg.train_dataloader.batch_size == batch
            assert cfg.auto_scale_lr.base_batch_size == batch * int(promised['gpus'])
            assert cfg.train_cfg.max_epochs == int(promised['epochs'])
            assert promised['data'] in name


# Card


@cache
def cost(network, width, height):
    """Parameters and multiply-adds of one image, without computing anything."""
    model = MODELS.build(json.loads(network)).eval()
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.no_grad(), fake, FlopCounterMode(display=False) as counter:
        model.head(model.extract_feat(torch.empty(1, 3, height, width)))
    parameters = sum(weight.numel() for weight in model.parameters())
    return parameters, counter.get_total_flops() / 2


def card_rows():
    text = (ROOT / 'configs' / 'ldcrn' / 'README.md').read_text()
    row = re.compile(
        r'^\| \[`(.+)\.py`\]\((.+)\) \|.*\| ([\d,]+) \| ([\d.]+)e9 \| [\d.]+ \|$',
        re.MULTILINE,
    )
    return {
        found[1]: (found[2], int(found[3].replace(',', '')), float(found[4]))
        for found in row.finditer(text)
    }


def test_the_card_has_a_row_for_every_config():
    rows = card_rows()

    assert sorted(rows) == sorted(PATHS)
    for name, (link, _, _) in rows.items():
        assert (ROOT / 'configs' / 'ldcrn' / link).resolve() == PATHS[name]


@pytest.mark.parametrize('name', PATHS)
def test_the_costs_of_the_card_are_those_of_the_network(name):
    cfg = config(name)
    head = dict(cfg.model.head, decoder=None)
    network = dict(
        type='TopdownPoseEstimator',
        backbone=cfg.model.backbone,
        neck=cfg.model.neck,
        head=head,
    )
    parameters, multiply_adds = cost(json.dumps(network), *cfg.codec.input_size)

    _, stated_parameters, stated_multiply_adds = card_rows()[name]
    assert stated_parameters == parameters
    assert stated_multiply_adds == pytest.approx(multiply_adds / 1e9, abs=0.0005)


# Training on files in the formats of the data sets


def person(number, joints, random):
    """Annotations of COCO and, with 133 joints, of COCO-WholeBody."""
    points = np.full((joints, 3), 2.0)
    points[:, :2] = random.uniform(40, 110, (joints, 2))
    body = 17 if joints == 133 else joints
    annotation = dict(
        id=number,
        image_id=number,
        category_id=1,
        bbox=[20, 10, 110, 130],
        area=9000,
        iscrowd=0,
        segmentation=[],
        num_keypoints=body,
        keypoints=points[:body].ravel().tolist(),
    )
    start = body
    for part, count in dict(foot=6, face=68, lefthand=21, righthand=21).items():
        if start < joints:
            annotation[f'{part}_kpts'] = points[start : start + count].ravel().tolist()
            annotation[f'{part}_valid'] = True
            start += count
    return annotation


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def files(cfg, promised, tmp_path, monkeypatch):
    """Two people in noise, in the files that the config names."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    joints = DATA[promised['data']][1]
    for loader in LOADERS:
        dataset = cfg[loader].dataset
        folder = Path(dataset.data_root) / dataset.data_prefix.img
        folder.mkdir(parents=True, exist_ok=True)
        images = []
        for i in (1, 2):
            pixels = random.integers(0, 256, (150, 160, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f'{i}.png')
            images.append(
                dict(id=i, file_name=f'{i}.png', height=150, width=160, crowdIndex=0.5)
            )
        people = [person(i, joints, random) for i in (1, 2)]
        category = dict(id=1, name='person', keypoints=[''] * joints, skeleton=[])
        write(
            Path(dataset.data_root) / dataset.ann_file,
            dict(images=images, annotations=people, categories=[category]),
        )
        if dataset.get('bbox_file'):
            boxes = [
                dict(image_id=i, category_id=1, bbox=[20, 10, 110, 130], score=0.9)
                for i in (1, 2)
            ]
            write(Path(dataset.bbox_file), boxes)


@pytest.mark.usefixtures('files')
def test_the_pipelines_make_what_the_network_takes(cfg):
    np.random.seed(0)
    width, height = cfg.codec.input_size
    joints = cfg.model.head.out_channels

    for loader in LOADERS:
        dataset = DATASETS.build(cfg[loader].dataset)
        assert len(dataset) == 2
        assert dataset[0]['inputs'].shape == (3, height, width)
        if loader == 'train_dataloader':
            heatmaps = dataset[0]['data_samples'].gt_fields.heatmaps
            assert heatmaps.shape == (joints, height // 4, width // 4)


def save_teacher(folder):
    path = folder / 'teacher.pth'
    torch.save(dict(state_dict=MODELS.build(hrnet()).state_dict()), path)
    return str(path)


@pytest.mark.slow
@pytest.mark.usefixtures('files')
def test_one_step_of_training_reaches_every_weight(cfg, promised, tmp_path):
    torch.manual_seed(0)
    np.random.seed(0)
    model_cfg = dict(cfg.model)
    if promised['trick'] == 'distill':
        model_cfg['teacher_checkpoint'] = save_teacher(tmp_path)
    model = MODELS.build(model_cfg)
    model.init_weights()
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    batch = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), True)
    before = {name: value.clone() for name, value in model.named_parameters()}
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)

    loss, _ = model.parse_losses(model(**batch, mode='loss'))
    optim_wrapper.backward(loss)
    gradients = {name: value.grad for name, value in model.named_parameters()}
    optim_wrapper.step()

    assert loss.isfinite()
    assert loss > 0
    for name, value in model.named_parameters():
        assert gradients[name] is not None, name
        assert gradients[name].isfinite().all(), name
        assert gradients[name].any(), name
        assert not torch.equal(value, before[name]), name


@pytest.mark.slow
@pytest.mark.usefixtures('files')
@pytest.mark.parametrize(
    'name', [variant('crowdpose'), variant('coco-wholebody')], indirect=True
)
def test_other_data_sets_are_tested_and_measured(cfg):
    model = MODELS.build(cfg.model).eval()
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo

    batch = pseudo_collate([dataset[0], dataset[1]])
    evaluator.process(model.test_step(batch), batch)

    assert cfg.default_hooks.checkpoint.save_best in evaluator.evaluate(2)
