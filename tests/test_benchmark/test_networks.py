"""Networks by name, their statistics and what they count."""

import pytest
import torch
from mmengine.config import Config
from torch import nn

from ldcrn_mm.benchmark import networks

SIZE = (256, 192)


@pytest.fixture(scope='module')
def estimator(tiny):
    return networks.build_estimator(Config.fromfile(tiny), SIZE)


@pytest.mark.parametrize(
    ('name', 'backbone', 'head'),
    [
        ('ldcrn', 'LDCRN', 'LDCRNHead'),
        ('hrnet-w32', 'HRNet', 'HeatmapHead'),
        ('simplebaseline-r50', 'ResNet', 'HeatmapHead'),
        ('litehrnet-18', 'LiteHRNet', 'HeatmapHead'),
        ('mobilenetv2', 'MobileNetV2', 'HeatmapHead'),
        ('rtmpose-s', 'CSPNeXt', 'RTMCCHead'),
        ('rtmpose-m', 'CSPNeXt', 'RTMCCHead'),
    ],
)
def test_names_that_work_out_of_the_box(name, backbone, head):
    config = networks.load_config(name)
    assert config.model.backbone.type == backbone
    assert config.model.head.type == head
    assert networks.input_size(config) == SIZE
    assert networks.is_ldcrn(config) == (name == 'ldcrn')


def test_the_names_are_all_tested_above():
    assert len(networks.NAMES) == 7


def test_configs_by_path_and_from_mmpose(tiny):
    assert networks.load_config(tiny).model.backbone.stem_channels == 8
    assert networks.load_config(networks.NAMES['hrnet-w32']).model.type


@pytest.mark.parametrize('name', ['nothing', 'mmpose::no/such.py', 'ldcrn_coco.py'])
def test_a_config_that_is_not_there(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f'no config `{name}`'):
        networks.load_config(name)


def test_a_config_without_a_size():
    with pytest.raises(ValueError, match='--size 256x192'):
        networks.input_size(Config(dict(model=dict(head=dict(type='X')))))
    with pytest.raises(ValueError, match='--size 256x192'):
        networks.input_size(Config(dict(model=dict(head=dict(decoder=None)))))


def test_a_network_is_a_function_of_images(estimator):
    network = networks.Network(estimator)
    assert not network.estimator.training
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        heatmaps = network(images)
        expected = estimator.head.forward(estimator.extract_feat(images))
    assert heatmaps.shape == (2, 17, 64, 48)
    torch.testing.assert_close(heatmaps, expected)


def test_weights_are_the_same_each_time(tiny, estimator):
    again = networks.build_estimator(Config.fromfile(tiny), SIZE)
    for one, other in zip(estimator.state_dict().values(), again.state_dict().values()):
        assert torch.equal(one, other)


def test_activations_do_not_vanish(estimator):
    norms = []
    handles = [
        module.register_forward_hook(lambda m, i, out: norms.append(out))
        for module in estimator.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        estimator(torch.randn(2, 3, *SIZE), None)
    for handle in handles:
        handle.remove()
    assert len(norms) > 10
    for out in norms:
        assert 0.5 < out.std() < 2


def test_multiply_adds_and_parameters(estimator):
    expected = 0

    def count(module, inputs, output):
        nonlocal expected
        taps = module.weight[0].numel()  # of one output value
        expected += output.numel() * taps

    for module in estimator.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        estimator(torch.randn(1, 3, *SIZE), None)
    wanted, expected = expected, 0
    found = networks.count(estimator, SIZE)
    assert found['multiply_adds'] == wanted
    assert found['parameters'] == sum(p.numel() for p in estimator.parameters())


def test_the_numbers_of_the_paper():
    estimator = networks.build_estimator(networks.load_config('ldcrn'), (64, 64))
    found = networks.count(estimator.eval(), SIZE)
    assert found['parameters'] == 7_894_897
    assert found['multiply_adds'] == pytest.approx(6.544e9, rel=1e-4)
