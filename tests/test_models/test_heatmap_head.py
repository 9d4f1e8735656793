"""The head: one convolution and the paper's loss. Prediction: test_estimator.py."""

import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmpose.structures import PoseDataSample

from ldcrn_mm.models import LDCRNHead

from . import plain_ldcrn
from .networks import noise, randomise, small_head, weights_of

JOINTS = 5


def sample(targets, weights):
    """What the pipeline packs for one person."""
    data_sample = PoseDataSample()
    data_sample.gt_fields = PixelData(heatmaps=targets)
    data_sample.gt_instance_labels = InstanceData(keypoint_weights=weights[None])
    return data_sample


def labelled(n=3):
    """Targets (N, K, H, W), visibilities (N, K) and the samples of both."""
    targets = noise(n, JOINTS, 12, 8, seed=5)
    weights = (noise(n, JOINTS, seed=6) > -0.3).float()
    return targets, weights, [sample(*pair) for pair in zip(targets, weights)]


def test_heatmaps_are_one_convolution_of_the_last_map():
    head = randomise(LDCRNHead(6, 5, decoder=None)).double()
    feats = (noise(2, 9, 4, 4), noise(2, 6, 12, 8, dtype=torch.float64))
    expected = plain_ldcrn.head(weights_of(head), feats[-1])
    torch.testing.assert_close(head(feats), expected)


@pytest.mark.parametrize('loss_weight', [0.5, 2])
def test_loss_is_the_weighted_mean_squared_error(loss_weight):
    loss = dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=loss_weight)
    head = small_head() if loss_weight == 0.5 else small_head(loss=loss)
    feats = (noise(3, 4, 12, 8),)
    targets, weights, samples = labelled()
    squares = (weights[..., None, None] * (head(feats) - targets)).square()
    losses = head.loss(feats, samples)
    torch.testing.assert_close(losses['loss_kpt'], loss_weight * squares.mean())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float32])
def test_heatmaps_and_loss_are_float32_under_autocast(dtype):
    head, x = small_head(), noise(3, 4, 12, 8).to(dtype)
    expected = head((x.float(),))
    _, _, samples = labelled()
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(head((x,)), expected, rtol=0, atol=0)
        assert head.loss((x,), samples)['loss_kpt'].dtype == torch.float32


def test_a_head_without_decoder_trains_and_says_why_it_cannot_predict():
    head = small_head(decoder=None)
    assert head.loss((noise(3, 4, 12, 8),), labelled()[2])['loss_kpt'] > 0
    with pytest.raises(RuntimeError, match='LDCRNHead'):
        head.predict((noise(1, 4, 12, 8),), [PoseDataSample()])
