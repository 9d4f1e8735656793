from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from torch import nn

from ldcrn_mm.training import ChannelsLastHook


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3))


def is_channels_last(x):
    return x.is_contiguous(memory_format=torch.channels_last)


def test_weights_and_with_them_activations_are_channels_last():
    model = network()

    ChannelsLastHook().before_run(SimpleNamespace(model=model))

    assert is_channels_last(model[0].weight)
    out = model(torch.rand(2, 3, 8, 8))
    assert is_channels_last(out)
    assert not out.is_contiguous()


def test_values_are_the_same():
    x = torch.rand(2, 3, 8, 8)
    expected = network()(x)
    model = network()

    ChannelsLastHook().before_run(SimpleNamespace(model=model))

    torch.testing.assert_close(model(x), expected)


def test_parameters_stay_those_that_the_optimizer_knows():
    model = network()
    known = list(model.parameters())

    ChannelsLastHook().before_run(SimpleNamespace(model=model))

    assert all(a is b for a, b in zip(known, model.parameters(), strict=True))


@pytest.mark.filterwarnings('error:Grad strides do not match')
def test_buckets_of_distributed_gradients_have_the_layout(monkeypatch, tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/join', rank=0, world_size=1
    )
    try:
        runner = SimpleNamespace(
            model=MMDistributedDataParallel(network()),
            cfg=Config(dict(model_wrapper_cfg=dict(find_unused_parameters=True))),
            wrap_model=lambda cfg, model: MMDistributedDataParallel(model, **cfg),
        )
        ChannelsLastHook().before_run(runner)

        runner.model(torch.rand(2, 3, 8, 8)).sum().backward()
        assert is_channels_last(runner.model.module[0].weight.grad)
        assert runner.model.find_unused_parameters
    finally:
        torch.distributed.destroy_process_group()
