import copy
import itertools

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmpose.registry import MODELS
from mmpose.testing import get_packed_inputs
from torch.testing import assert_close

from tests.test_models.networks import SMALL, SMALL_HEAD, SMALL_NECK, randomise

STUDENT = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor', mean=[120.0], std=[60.0], bgr_to_rgb=True
    ),
    backbone=dict(type='LDCRN', **SMALL),
    neck=dict(type='PyramidFusionNeck', **SMALL_NECK),
    head=dict(type='LDCRNHead', **SMALL_HEAD),
    test_cfg=dict(flip_test=False),
)
TEACHER = copy.deepcopy(STUDENT)
TEACHER['backbone'].update(stem_channels=8, channels=(6, 6, 8))
TEACHER['neck'].update(in_channels=(6, 6, 8), skip_channels=(8, 6), out_channels=6)
TEACHER['head'].update(
    type='HeatmapHead',
    in_channels=6,
    deconv_out_channels=None,
    loss=dict(type='KeypointMSELoss', use_target_weight=True),
)
SIMCC_HEAD = dict(
    type='SimCCHead',
    in_channels=4,
    out_channels=5,
    input_size=(32, 48),
    in_featuremap_size=(8, 12),
    deconv_out_channels=None,
    decoder=dict(type='SimCCLabel', input_size=(32, 48)),
)


@pytest.fixture(autouse=True)
def _mmpose_scope():
    """Configs are built where MMPose's runner would build them."""
    with DefaultScope.overwrite_default_scope('mmpose'):
        yield


@pytest.fixture
def files(tmp_path):
    """A trained teacher on disk, for ``DistilledPoseEstimator``."""

    def write(model):
        Config(dict(model=model)).dump(tmp_path / 'teacher.py')
        weights = randomise(MODELS.build(model), seed=1).state_dict()
        torch.save(dict(state_dict=weights), tmp_path / 'teacher.pth')
        paths = [str(tmp_path / name) for name in ('teacher.py', 'teacher.pth')]
        return dict(teacher=paths[0], teacher_checkpoint=paths[1])

    return write


def distilled(files, **overrides):
    model = {**STUDENT, **files, **overrides, 'type': 'DistilledPoseEstimator'}
    return randomise(MODELS.build(model))


@pytest.fixture
def estimator(files):
    return distilled(files(TEACHER), teacher_weight=0.25)


@pytest.fixture
def packed():
    np.random.seed(0)
    return get_packed_inputs(
        2,
        num_keypoints=5,
        img_shape=(48, 32),
        input_size=(32, 48),
        heatmap_size=(8, 12),
    )


def test_the_loss_blends_annotated_heatmaps_with_the_teachers(estimator, packed):
    batch = estimator.eval().data_preprocessor(packed, True)
    losses = estimator(**batch, mode='loss')
    samples = batch['data_samples']
    annotated = torch.stack([sample.gt_fields.heatmaps for sample in samples])
    weights = torch.cat([s.gt_instance_labels.keypoint_weights for s in samples])
    heatmaps = estimator(batch['inputs'], None, mode='tensor')
    taught = estimator.teacher(batch['inputs'], None, mode='tensor')
    own = 0.5 * ((heatmaps - annotated) ** 2 * weights[..., None, None]).mean()
    from_teacher = 0.5 * ((heatmaps - taught) ** 2).mean()
    assert_close(losses['loss_kpt'], 0.75 * own)
    assert_close(losses['loss_teacher'], 0.25 * from_teacher)
    assert 'acc_pose' in losses
    assert not taught.requires_grad


def test_training_initialises_and_changes_the_student_alone(files, estimator, packed):
    saved = torch.load(files(TEACHER)['teacher_checkpoint'])['state_dict']
    plain = MODELS.build(STUDENT)
    states = [copy.deepcopy(estimator.state_dict())]
    estimator.train().init_weights()
    states.append(copy.deepcopy(estimator.state_dict()))
    optimizer = torch.optim.Adam(estimator.parameters(), lr=1e-2)
    losses = estimator.train_step(packed, OptimWrapper(optimizer))
    states.append(estimator.state_dict())
    assert losses['loss'].isfinite()
    conv = 'backbone.stem.0.0.weight'
    for before, after in itertools.pairwise(states):
        assert not torch.equal(before[conv], after[conv])
    assert_close(estimator.teacher.state_dict(), saved, rtol=0, atol=0)
    assert not any(module.training for module in estimator.teacher.modules())
    # Neither checkpoints nor optimizers have it.
    plain.load_state_dict(estimator.state_dict())
    assert len([*estimator.parameters()]) == len([*plain.parameters()])


def test_testing_needs_no_teacher(packed):
    gone = dict(teacher='gone.py', teacher_checkpoint='gone.pth')
    model = distilled(gone).eval()
    plain = randomise(MODELS.build(STUDENT)).eval()
    (found, *_), (expected, *_) = model.test_step(packed), plain.test_step(packed)
    np.testing.assert_array_equal(
        found.pred_instances.keypoints, expected.pred_instances.keypoints
    )


def test_the_teacher_works_under_autocast(estimator, packed):
    batch = estimator.data_preprocessor(packed, True)
    with torch.autocast('cpu', torch.bfloat16):
        losses = estimator(**batch, mode='loss')
    assert losses['loss_teacher'].dtype == torch.float32
    assert losses['loss_teacher'].isfinite()


@pytest.mark.parametrize('key', ['teacher', 'teacher_checkpoint'])
@pytest.mark.parametrize('name', ['gone.pth', 'mmpose::body_2d_keypoint/gone.py'])
def test_a_missing_file_of_the_teacher_is_named(files, key, name):
    estimator = distilled({**files(TEACHER), key: name})
    with pytest.raises(FileNotFoundError, match='gone'):
        estimator.init_weights()


def test_a_checkpoint_of_another_network_is_refused(files):
    paths = files(TEACHER)
    torch.save({'head.bias': torch.ones(1)}, paths['teacher_checkpoint'])
    with pytest.raises(ValueError, match='no checkpoint of the teacher'):
        distilled(paths).init_weights()


@pytest.mark.parametrize(
    ('part', 'change', 'message'),
    [
        ('head', dict(out_channels=6), 'keypoints is 6, not 5'),
        ('decoder', dict(type='UDPHeatmap'), 'codec is UDPHeatmap, not MSRAHeatmap'),
        ('decoder', dict(sigma=3), 'sigma is 3, not 2'),
        (
            'decoder',
            dict(input_size=(64, 96), heatmap_size=(16, 24)),
            r'input_size is \(64, 96\), not \(32, 48\); its heatmap_size is',
        ),
        ('data_preprocessor', dict(bgr_to_rgb=False), 'normalisation is'),
        ('data_preprocessor', dict(mean=[0.0]), 'normalisation is'),
        ('data_preprocessor', dict(std=[50.0]), 'normalisation is'),
    ],
)
def test_a_teacher_of_other_data_is_refused(files, part, change, message):
    model = copy.deepcopy(TEACHER)
    (model['head']['decoder'] if part == 'decoder' else model[part]).update(change)
    with pytest.raises(ValueError, match=message):
        distilled(files(model)).init_weights()


def test_networks_without_heatmaps_are_refused(files):
    with pytest.raises(ValueError, match='head of the student is SimCCHead'):
        distilled(files(TEACHER), head=SIMCC_HEAD)
    model = {**TEACHER, 'head': {**SIMCC_HEAD, 'in_channels': 6}}
    with pytest.raises(ValueError, match=r'head of the teacher, .*py, is SimCCHead'):
        distilled(files(model)).init_weights()


@pytest.mark.parametrize('weight', [-0.1, 1.5])
def test_a_weight_that_is_no_share_is_refused(weight):
    with pytest.raises(ValueError, match=rf'in \[0, 1\], got {weight}'):
        distilled(dict(teacher='', teacher_checkpoint=''), teacher_weight=weight)
