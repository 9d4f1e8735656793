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

from .conv import BATCH_NORM, PAPER_INIT, conv_norm
from .dcrm import DCRM, DCRMSequence, Transition
from .hr_module import HRModule
from .original import refuse_original
from .recompute import recompute_in_backward


@MODELS.register_module()
class LDCRN(BaseModule):
    """HRNet's layout with DCRMs for blocks; all its scales are kept.

    ::

        image - stem /4 - layer1: dense blocks - stage 2 - stage 3 - stage 4
                 |                                 |         |       |||| /4../32
                skip                              skip      skip     pyramid

    Shape: ``(N, in_channels, H, W)`` to a flat tuple: first the skips, all at
    stride 4 (the stem's output, then the highest branch of every stage but
    the last), then the pyramid, the branches of the last stage from stride 4
    to 32. With the defaults ``(64, 32, 32)`` channels and then
    ``(32, 64, 128, 256)``, which is what :class:`PyramidFusionNeck` takes.

    Args:
        in_channels: channels of the image.
        stem_channels: width of the stem.
        channels: width of each branch, highest resolution first; one more
            branch joins at every stage, so there are ``len(channels) - 1``
            stages, called 2, 3, 4.
        num_modules: number of high-resolution modules of each stage.
        num_blocks: number of DCRMs in layer1, before the first stage.
        num_layers: dense layers of a DCRM.
        growth_rate: channels that a dense layer adds.
        expansion: width of a dense layer's bottleneck, in growth rates.
        norm_cfg: config of the normalisation layers (``dict(type='SyncBN')``
            for statistics over all processes).
        with_cp: compute the stem, the dense layers and the transitions a
            second time in the backward pass instead of keeping their
            intermediate results: a third of the memory, a little more time,
            the same gradients and running statistics.
        init_cfg: initialisation; by default the paper's.

    Raises:
        ValueError: where the arguments do not describe a network, or, from
            ``forward``, where the image cannot be halved often enough.
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
        init_cfg: dict | list[dict] | None = PAPER_INIT,
    ) -> None:
        super().__init__(init_cfg)
        self.register_load_state_dict_pre_hook(refuse_original)
        _check_layout(channels, num_modules)
        _check_positive(
            in_channels=in_channels,
            stem_channels=stem_channels,
            num_blocks=num_blocks,
            num_layers=num_layers,
            growth_rate=growth_rate,
            expansion=expansion,
        )
        dense = dict(
            num_layers=num_layers,
            growth_rate=growth_rate,
            expansion=expansion,
            norm_cfg=norm_cfg,
            with_cp=with_cp,
        )
        self.with_cp = with_cp
        self.stride = 4 * 2 ** (len(channels) - 1)
        self.stem = nn.Sequential(
            conv_norm(in_channels, stem_channels, 3, 2, norm_cfg=norm_cfg),
            conv_norm(stem_channels, stem_channels, 3, 2, norm_cfg=norm_cfg),
        )
        self.layer1, width = _dense_blocks(stem_channels, num_blocks, dense)
        self.entry = nn.ModuleList(
            conv_norm(width, channels[i], 3, stride, norm_cfg=norm_cfg)
            for i, stride in enumerate((1, 2))
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(HRModule(channels[:branches], **dense) for _ in range(n)))
            for branches, n in enumerate(num_modules, start=2)
        )
        self.grow = nn.ModuleList(
            conv_norm(high, low, 3, 2, norm_cfg=norm_cfg)
            for high, low in pairwise(channels[1:])
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The skips and the pyramid, in the class's order."""
        if x.shape[-2] % self.stride or x.shape[-1] % self.stride:
            raise ValueError(
                f'LDCRN halves its input down to stride {self.stride}: height and '
                f'width must be multiples of {self.stride}, but the input is '
                f'{x.shape[-2]}x{x.shape[-1]} (height x width). Change '
                "`input_size` of the config's codec."
            )
        stem = recompute_in_backward(self.stem, self.stem, x, enabled=self.with_cp)
        dense = self.layer1(stem)
        maps = self.stages[0]([enter(dense) for enter in self.entry])
        skips = [stem]
        for grow, stage in zip(self.grow, self.stages[1:]):
            skips.append(maps[0])
            maps = stage([*maps, grow(maps[-1])])
        return (*skips, *maps)


def _dense_blocks(
    channels: int, num_blocks: int, dense: dict
) -> tuple[DCRMSequence, int]:
    """DCRMs with transitions that keep the width between them, and the width."""
    blocks: list[nn.Module] = []
    for i in range(num_blocks):
        if i:
            blocks.append(
                Transition(channels, channels, dense['norm_cfg'], dense['with_cp'])
            )
        blocks.append(DCRM(channels, **dense))
        channels = blocks[-1].out_channels
    return DCRMSequence(*blocks), channels


def _check_layout(channels: Sequence[int], num_modules: Sequence[int]) -> None:
    if len(channels) < 2 or min(channels) < 1:
        raise ValueError(
            'LDCRN needs the widths of at least two branches, each at least 1, but '
            f'`channels` is {tuple(channels)}.'
        )
    if len(num_modules) != len(channels) - 1 or min(num_modules) < 1:
        raise ValueError(
            '`num_modules` gives the modules of each stage, at least 1, and '
            f'{len(channels)} branches make {len(channels) - 1} stages, but it is '
            f'{tuple(num_modules)}.'
        )


def _check_positive(**numbers: int) -> None:
    wrong = [f'{name}={number}' for name, number in numbers.items() if number < 1]
    if wrong:
        raise ValueError(f'LDCRN needs at least 1, but got {", ".join(wrong)}.')
