"""What test_distributed.py runs on two processes, and its oracles on one.

Started by torchrun with the folder for the results.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ldcrn_mm.models import LDCRN, PyramidFusionNeck
from ldcrn_mm.training import AverageLossHook, launch
from ldcrn_mm.training.distributed import (
    AnyDeviceDistributedDataParallel,
    CPUSyncBatchNorm,
)

NORMS = {
    'batch': dict(type='BN'),
    'group': dict(type='GN', num_groups=2),
    'sync': dict(type='SyncBN'),
    'sync_recomputed': dict(type='SyncBN'),
}
SETTINGS = {
    'plain': dict(),
    'cumulative': dict(momentum=None),
    'not_affine': dict(affine=False),
    'not_tracking': dict(track_running_stats=False),
}
SHARES = {'equal': (2, 2), 'unequal': (3, 1)}


def pictures() -> Tensor:
    """(4, 3, 16, 16), of which each process gets two."""
    return torch.randn(4, 3, 16, 16, generator=torch.manual_seed(1)).double()


def network(norm: str) -> nn.Sequential:
    """A small LDCRN with its neck, in double precision, the same everywhere."""
    torch.manual_seed(2)
    cfg = NORMS[norm]
    backbone = LDCRN(
        stem_channels=4,
        channels=(4, 8),
        num_modules=(1,),
        num_blocks=1,
        num_layers=1,
        growth_rate=2,
        norm_cfg=cfg,
        with_cp=norm.endswith('recomputed'),
        init_cfg=None,
    )
    neck = PyramidFusionNeck((4, 8), (4,), 4, cfg, init_cfg=None)
    return nn.Sequential(backbone, neck).double()


def loss_of(model: nn.Module, x: Tensor) -> Tensor:
    """A mean over the samples, as the pose loss is."""
    return (model(x)[0] - 1).square().mean()


def state_after(model: nn.Module, loss: Tensor) -> dict:
    """The loss, every gradient and every buffer."""
    plain = getattr(model, 'module', model)
    return dict(
        loss=loss.detach(),
        grads={name: p.grad for name, p in plain.named_parameters()},
        buffers=dict(plain.named_buffers()),
    )


def features(dtype: torch.dtype = torch.float64) -> Tensor:
    """(4, 3, 2, 5), far from zero mean and unit variance."""
    random = torch.randn(4, 3, 2, 5, generator=torch.manual_seed(3))
    return (5 + 3 * random).to(dtype)


def run_norm(norm: nn.Module, x: Tensor, weights: Tensor) -> dict:
    """Outputs, input gradients and buffers over two steps."""
    x = x.clone().requires_grad_()
    norm(x + 1)
    out = norm(x)
    (out.square() * weights).sum().backward()
    return dict(out=out.detach(), grad=x.grad, buffers=dict(norm.named_buffers()))


def check_networks(rank: int) -> dict:
    results = {}
    for name in NORMS:
        model = AnyDeviceDistributedDataParallel(network(name))
        loss = loss_of(model, pictures()[2 * rank : 2 * rank + 2])
        loss.backward()
        results[name] = state_after(model, loss)
    return results


def check_norms(rank: int) -> dict:
    results = {}
    for share, sizes in SHARES.items():
        x = features().split(sizes)[rank]
        weights = (features() - 4).split(sizes)[rank]
        for setting, arguments in SETTINGS.items():
            norm = nn.Sequential(nn.SyncBatchNorm(3, **arguments).double())
            CPUSyncBatchNorm.replace(norm)
            results[share, setting] = run_norm(norm[0], x, weights)
    norm = nn.Sequential(nn.SyncBatchNorm(3))
    CPUSyncBatchNorm.replace(norm)
    x = features(torch.bfloat16).split(SHARES['equal'])[rank]
    results['bfloat16'] = norm(x).detach()
    results['eval'] = norm.eval()(x.float()).detach()
    return results


def check_logged_loss(rank: int) -> dict:
    outputs = dict(
        loss=torch.tensor(1.0 + rank, requires_grad=True),
        acc_pose=torch.tensor(0.5 * rank, dtype=torch.float64),
    )
    AverageLossHook().after_train_iter(SimpleNamespace(), 0, None, outputs)
    return outputs


def main() -> None:
    cfg = Config(dict())
    launch.set_launcher(cfg, 'pytorch')
    rank = torch.distributed.get_rank()
    results = dict(
        backend=torch.distributed.get_backend(),
        world_size=torch.distributed.get_world_size(),
        networks=check_networks(rank),
        norms=check_norms(rank),
        logged=check_logged_loss(rank),
    )
    torch.save(results, Path(sys.argv[1]) / f'{rank}.pth')
    torch.distributed.destroy_process_group()


if __name__ == '__main__':
    main()
