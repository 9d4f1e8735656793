"""The backbone of LDCRN.

References:
    [1] Yang, Qin, Zhang: "Lightweight densely connected residual network for
        human pose estimation", J. Real-Time Image Processing, 2020.
"""

from collections.abc import Sequence
from itertools import pairwise

from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .conv import BATCH_NORM, PAPER_INIT, conv_norm, preact_conv
from .dcrm import DCRM
from .hr_module import HRModule
from .original import refuse_original
from .recompute import RecomputingSequential


@MODELS.register_module()
class LDCRN(BaseModule):
    """HRNet's layout with DCRMs as blocks. All scales are returned.

    ::

        image - stem /4 - layer1: DCRMs - stage 2 - stage 3 - stage 4
                 |                          |         |       |||| /4../32
                skip                       skip      skip     pyramid

    Shape: ``(N, in_channels, H, W)`` to a flat tuple of maps, as
    :class:`PyramidFusionNeck` takes it. First come the skips, all at stride 4: the
    stem's output and the highest branch of every stage except the last. Then comes
    the pyramid: the branches of the last stage from stride 4 to 32. By default the
    skips have ``(64, 32, 32)`` channels and the pyramid ``(32, 64, 128, 256)``.

    Args:
        in_channels: channels of the image.
        stem_channels: width of the stem.
        channels: width of each branch, highest resolution first. Each stage adds a
            branch, so there are ``len(channels) - 1`` stages, numbered from 2.
        num_modules: number of :class:`HRModule` in each stage.
        num_blocks: number of DCRMs in layer1.
        num_layers: dense layers of a DCRM.
        growth_rate: channels that a dense layer adds.
        expansion: width of a dense layer's bottleneck as a multiple of the growth
            rate.
        norm_cfg: config of the normalisation layers. ``dict(type='SyncBN')`` shares
            batch statistics between processes.
        with_cp: compute the stem, the DCRMs and their transitions again in the
            backward pass instead of keeping their activations. Gradients and running
            statistics stay the same. Activations take about a fifth of the memory,
            and a step takes more time.
        frozen_stages: last stage whose weights and running statistics stay as they
            are: 0 is the stem, 1 also layer1, and so on up to ``len(channels)``, the
            whole backbone. -1 freezes nothing.
        norm_eval: keep all batch norms in evaluation mode, so that training uses
            their running statistics and leaves them as they are.
        init_cfg: initialisation, by default the paper's.

    Raises:
        ValueError: if the arguments do not describe a network. From ``forward``, if
            height or width is not a multiple of the largest stride.
    """

    def __init__(
        self,
        in_channels: int = 3,
        stem_channels: int = 64,
        channels: Sequence[int] = (32, 64, 128, 256),
        num_modules: Sequence[int] = (1, 2, 2),
        num_blocks: int = 4,
        num_layers: int = 4,
        growth_rate: int = 12,
        expansion: int = 4,
        norm_cfg: dict = BATCH_NORM,
        with_cp: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict | list[dict] | None = PAPER_INIT,
    ) -> None:
        super().__init__(init_cfg)
        # Without the underscore since torch 2.5
        self._register_load_state_dict_pre_hook(refuse_original, with_module=True)
        dense = dict(
            num_layers=num_layers, growth_rate=growth_rate, expansion=expansion
        )
        _check_layout(channels, num_modules)
        _check_positive(
            in_channels=in_channels,
            stem_channels=stem_channels,
            num_blocks=num_blocks,
            **dense,
        )
        dense['norm_cfg'] = norm_cfg
        self.stride = 4 * 2 ** (len(channels) - 1)
        self.stem = RecomputingSequential(
            conv_norm(in_channels, stem_channels, 3, 2, norm_cfg=norm_cfg),
            conv_norm(stem_channels, stem_channels, 3, 2, norm_cfg=norm_cfg),
            with_cp=with_cp,
        )
        blocks = _dense_blocks(stem_channels, num_blocks, dense)
        self.layer1 = RecomputingSequential(*blocks, with_cp=with_cp)
        self.entry = nn.ModuleList(
            conv_norm(blocks[-1].out_channels, width, 3, stride, norm_cfg=norm_cfg)
            for width, stride in zip(channels, (1, 2))
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    HRModule(channels[:branches], **dense, with_cp=with_cp)
                    for _ in range(n)
                )
            )
            for branches, n in enumerate(num_modules, start=2)
        )
        self.grow = nn.ModuleList(
            conv_norm(high, low, 3, 2, norm_cfg=norm_cfg)
            for high, low in pairwise(channels[1:])
        )
        if frozen_stages not in range(-1, len(channels) + 1):
            raise ValueError(
                f'`frozen_stages` of LDCRN with {len(channels)} branches must be in '
                f'[-1, {len(channels)}], got {frozen_stages!r}.'
            )
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        for module in self._frozen():
            module.requires_grad_(False)
        self.train()

    def _frozen(self) -> list[nn.Module]:
        parts = [[self.stem], [self.layer1, self.entry]]
        parts += [[stage, self.grow[i : i + 1]] for i, stage in enumerate(self.stages)]
        return [module for part in parts[: self.frozen_stages + 1] for module in part]

    def train(self, mode: bool = True) -> 'LDCRN':
        """Sets the training mode of what is not frozen."""
        super().train(mode)
        for module in self.modules() if self.norm_eval else ():
            if isinstance(module, _BatchNorm):
                module.eval()
        for module in self._frozen():
            module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Computes the skips and the pyramid."""
        height, width = x.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ValueError(
                'Height and width of the input of LDCRN must be multiples of '
                f'{self.stride}, got {height}x{width}. Change `input_size` of the '
                "config's codec, which is (width, height)."
            )
        stem = self.stem(x)
        dense = self.layer1(stem)
        maps = self.stages[0]([enter(dense) for enter in self.entry])
        skips = [stem]
        for grow, stage in zip(self.grow, self.stages[1:]):
            skips.append(maps[0])
            maps = stage([*maps, grow(maps[-1])])
        return (*skips, *maps)


def _dense_blocks(channels: int, num_blocks: int, dense: dict) -> list[nn.Module]:
    """DCRMs, with transitions between them that keep the width."""
    blocks: list[nn.Module] = [DCRM(channels, **dense)]
    for _ in range(num_blocks - 1):
        width = blocks[-1].out_channels
        blocks.append(preact_conv(width, width, 3, norm_cfg=dense['norm_cfg']))
        blocks.append(DCRM(width, **dense))
    return blocks


def _check_layout(channels: Sequence[int], num_modules: Sequence[int]) -> None:
    if len(channels) < 2 or min(channels) < 1:
        raise ValueError(
            '`channels` of LDCRN must be the widths of at least two branches, each at '
            f'least 1, got {tuple(channels)}.'
        )
    if len(num_modules) != len(channels) - 1 or min(num_modules) < 1:
        raise ValueError(
            f'`num_modules` of LDCRN with {len(channels)} branches must be '
            f'{len(channels) - 1} numbers, each at least 1, got {tuple(num_modules)}.'
        )


def _check_positive(**counts: int) -> None:
    wrong = [f'{name}={count}' for name, count in counts.items() if count < 1]
    if wrong:
        raise ValueError(f'LDCRN needs at least 1, got {", ".join(wrong)}.')
