"""Steps of training: what each way changes, and that the loss stays."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from ldcrn_mm.benchmark import training
from ldcrn_mm.benchmark.networks import load_config
from ldcrn_mm.benchmark.training import DEFAULT, Settings, build, random_batch
from ldcrn_mm.models import LDCRN
from ldcrn_mm.training.precision import BFloat16OptimWrapper


@pytest.fixture(scope='module')
def losses(tiny):
    """Of three steps in a way."""

    def run(way):
        step = build(tiny, way, batch_size=4, device='cpu')('step')
        return [float(step()['loss']) for _ in range(3)]

    return run


@pytest.fixture(scope='module')
def plain(losses):
    return losses('plain')


def model_and_wrapper(tiny, way):
    step = build(tiny, way, batch_size=2, device='cpu')('step')
    return step.func.__self__, step.keywords['optim_wrapper']


def test_a_step_trains(plain):
    assert plain[2] < plain[0]


@pytest.mark.parametrize('way', ['channels-last', 'with-cp', 'channels-last+with-cp'])
def test_ways_with_the_same_loss(losses, plain, way):
    np.testing.assert_allclose(losses(way), plain, rtol=1e-4)


def test_mixed_precision_has_about_the_same_loss(losses, plain):
    mixed = losses('amp')
    assert mixed != plain
    np.testing.assert_allclose(mixed, plain, rtol=0.02)


def test_what_the_ways_change(tiny):
    model, wrapper = model_and_wrapper(tiny, 'plain')
    backbone, weight = model.backbone, model.backbone.stem[0][0].weight
    assert isinstance(backbone, LDCRN)
    assert not any(getattr(m, 'with_cp', False) for m in backbone.modules())
    assert weight.is_contiguous()
    assert type(wrapper).__name__ == 'OptimWrapper'
    assert model.training

    model, wrapper = model_and_wrapper(tiny, 'amp+channels-last+with-cp')
    weight = model.backbone.stem[0][0].weight
    assert any(getattr(m, 'with_cp', False) for m in model.backbone.modules())
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert isinstance(wrapper, BFloat16OptimWrapper)


def test_compiling_is_of_the_step(tiny, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, 'compile', lambda f: compiled.append(f.__name__) or f)
    build(tiny, 'compile', 2, 'cpu')
    assert compiled == ['train_step']


def test_the_batch_has_the_form_of_training(tiny):
    batch = random_batch(Config.fromfile(tiny), 3)
    assert len(batch['inputs']) == len(batch['data_samples']) == 3
    assert batch['inputs'][0].shape == (3, 256, 192)
    assert batch['inputs'][0].dtype == torch.uint8
    assert not torch.equal(batch['inputs'][0], batch['inputs'][1])
    heatmaps = batch['data_samples'][0].gt_fields.heatmaps
    assert heatmaps.shape == (17, 64, 48)
    assert heatmaps.max() > 0.5


@pytest.mark.parametrize('name', ['hrnet-w32', 'rtmpose-s', 'litehrnet-18'])
def test_batches_for_networks_of_mmpose(name):
    batch = random_batch(load_config(name), 2)
    assert batch['inputs'][0].shape == (3, 256, 192)
    assert batch['data_samples'][0].gt_instance_labels.keypoint_weights.shape[-1] == 17


def test_a_pipeline_without_targets():
    loader = dict(dataset=dict(pipeline=[dict(type='LoadImage')]))
    with pytest.raises(ValueError, match='with GenerateTarget, but it has LoadImage'):
        random_batch(Config(dict(train_dataloader=loader)), 1)


def test_nothing_is_downloaded(monkeypatch):
    cfg = load_config('simplebaseline-r50')
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'
    monkeypatch.setattr(
        'mmengine.runner.checkpoint.CheckpointLoader.load_checkpoint',
        lambda *args, **kwargs: pytest.fail('a checkpoint was asked for'),
    )
    assert training.build_model(cfg, 'cpu').training


@pytest.mark.parametrize('way', ['fast', 'amp+fast', '', 'plain+amp', 'amp+'])
def test_ways_that_do_not_exist(way):
    with pytest.raises(ValueError, match='There is no way'):
        Settings([way])


def test_the_default_ways_exist():
    assert Settings().ways == DEFAULT


@pytest.mark.usefixtures('in_this_process')
def test_from_a_config_to_a_record(tiny, schedule):
    settings = Settings(['plain', 'channels-last'], batch_size=2)
    record = training.measure(tiny, settings, schedule)
    assert record['settings']['batch_size'] == 2
    names = [result['name'] for result in record['contenders']]
    assert names == ['plain', 'channels-last']
    for result in record['contenders']:
        assert len(result['cases']['step']['rounds']) == 2
        assert 'ratio' in result['cases']['step']
