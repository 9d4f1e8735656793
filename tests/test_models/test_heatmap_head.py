"""The head: one convolution, the paper's loss, decoding with the flip test."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from ldcrn_mm.models import LDCRNHead

from . import plain_decoding, plain_ldcrn
from .networks import noise, randomise, small_head

JOINTS = 5
FLIP_INDICES = [0, 2, 1, 4, 3]


def sample(targets=None, weights=None):
    """What the pipeline packs for one person."""
    data_sample = PoseDataSample(metainfo=dict(flip_indices=FLIP_INDICES))
    if targets is not None:
        data_sample.gt_fields = PixelData(heatmaps=targets)
        data_sample.gt_instance_labels = InstanceData(keypoint_weights=weights[None])
    return data_sample


def labelled(n=3, seed=5):
    """Targets (N, K, H, W), visibilities (N, K), and the samples of both."""
    targets = noise(n, JOINTS, 12, 8, seed=seed)
    weights = (noise(n, JOINTS, seed=seed + 1) > -0.3).float()
    return targets, weights, [sample(*pair) for pair in zip(targets, weights)]


def passing_head(**settings):
    """A head that hands its features on as heatmaps."""
    head = small_head(in_channels=JOINTS, **settings)
    head.final_layer.weight.data[:, :, 0, 0] = torch.eye(JOINTS)
    head.final_layer.bias.data.zero_()
    return head


def test_smoke_from_the_registry():
    head = MODELS.build(dict(type='LDCRNHead'))
    assert isinstance(head, LDCRNHead)
    shapes = {name: tuple(t.shape) for name, t in head.state_dict().items()}
    assert shapes == {'final_layer.weight': (17, 32, 1, 1), 'final_layer.bias': (17,)}


def test_heatmaps_are_one_convolution_of_the_last_map():
    head = randomise(LDCRNHead(6, 5, decoder=None)).double()
    feats = (noise(2, 9, 4, 4), noise(2, 6, 12, 8, dtype=torch.float64))
    expected = plain_ldcrn.head(head.state_dict(), feats[-1])
    torch.testing.assert_close(head(feats), expected)


@pytest.mark.usefixtures('_quiet')
def test_initialisation_is_the_papers():
    torch.manual_seed(0)
    head = randomise(LDCRNHead(128, 64))
    head.init_weights()
    assert torch.all(head.final_layer.bias == 0)
    assert abs(head.final_layer.weight.mean()) < 5e-5
    assert abs(head.final_layer.weight.std() - 1e-3) < 5e-5


# Loss


def test_loss_is_half_the_mean_squared_error_of_visible_joints():
    head = small_head()
    feats = (noise(3, 4, 12, 8),)
    targets, weights, samples = labelled()
    heatmaps = head(feats)
    of_joints = [
        0.5
        * (weights[:, k, None, None] * (heatmaps[:, k] - targets[:, k])).pow(2).mean()
        for k in range(JOINTS)
    ]
    losses = head.loss(feats, samples)
    torch.testing.assert_close(losses['loss_kpt'], sum(of_joints) / JOINTS)


def test_an_invisible_joint_has_no_part_in_loss_and_gradients():
    head = small_head()
    feats = (noise(1, 4, 12, 8),)
    targets, weights, _ = labelled(n=1)
    weights[:] = torch.tensor([1.0, 1, 0, 1, 1])
    first = head.loss(feats, [sample(targets[0], weights[0])])['loss_kpt']
    targets[:, 2] += 100
    second = head.loss(feats, [sample(targets[0], weights[0])])['loss_kpt']
    assert first == second
    second.backward()
    assert (head.final_layer.bias.grad == 0).tolist() == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_loss_config_reaches_the_loss():
    feats = (noise(3, 4, 12, 8),)
    _, _, samples = labelled()
    half = small_head().loss(feats, samples)['loss_kpt']
    loss = dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=2.0)
    double = small_head(loss=loss).loss(feats, samples)['loss_kpt']
    torch.testing.assert_close(double, 4 * half)


def test_accuracy_is_one_where_heatmaps_peak_with_the_targets():
    targets, _, samples = labelled()
    losses = passing_head().loss((targets,), samples)
    assert losses['acc_pose'] == 1
    assert losses['loss_kpt'] == 0


# Prediction


@pytest.mark.parametrize('flip_test', [False, True])
def test_prediction_is_that_of_the_plain_decoding(flip_test):
    heatmaps, of_flipped = (
        noise(4, JOINTS, 12, 8, seed=1),
        noise(4, JOINTS, 12, 8, seed=2),
    )
    feats = [(heatmaps,), (of_flipped,)] if flip_test else (heatmaps,)
    test_cfg = dict(flip_test=flip_test, flip_mode='heatmap', shift_heatmap=True)
    test_cfg['output_heatmaps'] = True
    predictions, fields = passing_head().predict(feats, [sample()] * 4, test_cfg)
    expected = heatmaps.numpy()
    if flip_test:
        expected = plain_decoding.flip_average(
            expected, of_flipped.numpy(), FLIP_INDICES
        )
    compared = 0
    for n in range(4):
        np.testing.assert_allclose(fields[n].heatmaps, expected[n], rtol=1e-6)
        points, scores, inside = plain_decoding.decode(expected[n])
        compared += inside.sum()
        np.testing.assert_allclose(predictions[n].keypoints[0][inside], points[inside])
        np.testing.assert_allclose(predictions[n].keypoint_scores[0], scores, rtol=1e-6)
    assert compared >= 5


def test_a_peak_is_found_to_a_quarter_pixel():
    heatmaps = torch.zeros(1, JOINTS, 12, 8)
    heatmaps[0, :, 7, 3] = 1.0
    heatmaps[0, 1, 7, 4] = heatmaps[0, 1, 6, 3] = 0.5
    predictions = passing_head().predict((heatmaps,), [sample()])
    assert predictions[0].keypoints[0][:2].tolist() == [[12, 28], [13, 27]]
    assert predictions[0].keypoint_scores.tolist() == [[1.0] * JOINTS]


def test_without_output_heatmaps_only_keypoints_are_returned():
    predictions = passing_head().predict((noise(2, JOINTS, 12, 8),), [sample()] * 2)
    assert isinstance(predictions, list)
    assert predictions[0].keypoints.shape == (1, JOINTS, 2)


# Precision


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_features_of_low_precision_give_float32_heatmaps(dtype):
    head, x = small_head(), noise(2, 4, 12, 8).to(dtype)
    heatmaps = head((x,))
    assert heatmaps.dtype == torch.float32
    torch.testing.assert_close(heatmaps, head((x.float(),)), rtol=0, atol=0)


def test_autocast_does_not_lower_the_precision_of_heatmaps():
    head, feats = small_head(), (noise(3, 4, 12, 8),)
    expected = head(feats)
    _, _, samples = labelled()
    with torch.autocast('cpu', torch.bfloat16):
        heatmaps = head(feats)
        losses = head.loss(feats, samples)
    torch.testing.assert_close(heatmaps, expected, rtol=0, atol=0)
    assert losses['loss_kpt'].dtype == torch.float32


# Errors


def test_a_head_without_decoder_trains_and_says_why_it_cannot_predict():
    head = small_head(decoder=None)
    _, _, samples = labelled()
    assert head.loss((noise(3, 4, 12, 8),), samples)['loss_kpt'] > 0
    with pytest.raises(RuntimeError, match='decoder has not been set in LDCRNHead'):
        head.predict((noise(1, 4, 12, 8),), [sample()])


def test_exception_for_features_of_another_width():
    with pytest.raises(RuntimeError, match='4 channels, but got 6'):
        small_head()((noise(1, 6, 12, 8),))


def test_exception_for_weights_that_do_not_fit_the_heatmaps():
    targets, _, _ = labelled(n=1)
    samples = [sample(targets[0], torch.ones(JOINTS - 1))]
    with pytest.raises(AssertionError, match='mismatched shapes'):
        small_head().loss((noise(1, 4, 12, 8),), samples)
