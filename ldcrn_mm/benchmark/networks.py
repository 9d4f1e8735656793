"""Networks by name, with weights under which their activations stay usual."""

from pathlib import Path

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.registry import MODELS
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

import ldcrn_mm

_COCO = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/'
_RTMPOSE = 'mmpose::body_2d_keypoint/rtmpose/coco/'
OWN = 'ldcrn_coco.py'
NAMES = {
    'ldcrn': OWN,
    'hrnet-w32': _COCO + 'td-hm_hrnet-w32_8xb64-210e_coco-256x192.py',
    'simplebaseline-r50': _COCO + 'td-hm_res50_8xb64-210e_coco-256x192.py',
    'litehrnet-18': _COCO + 'td-hm_litehrnet-18_8xb64-210e_coco-256x192.py',
    'mobilenetv2': _COCO + 'td-hm_mobilenetv2_8xb64-210e_coco-256x192.py',
    'rtmpose-s': _RTMPOSE + 'rtmpose-s_8xb256-420e_coco-256x192.py',
    'rtmpose-m': _RTMPOSE + 'rtmpose-m_8xb256-420e_coco-256x192.py',
}
# MMEngine's names of what it counts a multiply and an add for as one
PRODUCTS = ('conv', 'linear', 'matmul', 'addmm', 'bmm', 'baddbmm', 'einsum')


def load_config(name: str) -> Config:
    """A config by its path, ``mmpose::...``, or one of :data:`NAMES`.

    Raises:
        FileNotFoundError: where there is none; says what there could be.
    """
    place = NAMES.get(name, name)
    if '::' in place:
        try:
            return get_config(place)
        except (FileNotFoundError, ImportError, OSError) as error:
            raise FileNotFoundError(f'There is no config `{name}`: {error}') from error
    path = _own_config() if place == OWN and name in NAMES else Path(place)
    if not path.is_file():
        raise FileNotFoundError(
            f'There is no config `{name}`. Expected the path of a config, '
            f'mmpose::FOLDER/CONFIG.py, or one of {", ".join(NAMES)}.'
        )
    return Config.fromfile(path)


def _own_config() -> Path:
    """In an installed package, or in a checkout."""
    package = Path(ldcrn_mm.__file__).resolve().parent
    installed = package / '.mim' / 'configs' / OWN
    return installed if installed.is_file() else package.parent / 'configs' / OWN


def is_ldcrn(config: Config) -> bool:
    """Whether the backbone is this package's."""
    return config.model.get('backbone', {}).get('type', '').split('.')[-1] == 'LDCRN'


def input_size(config: Config) -> tuple[int, int]:
    """(height, width) of the images that a config's codec is for.

    Raises:
        ValueError: where it has none.
    """
    head = config.model.get('head') or {}
    decoder = head.get('decoder') or {}
    if 'input_size' not in decoder:
        raise ValueError(
            'The config has no `model.head.decoder.input_size`: give the size of the '
            'images, as in --size 256x192.'
        )
    width, height = decoder['input_size']
    return int(height), int(width)


class Network(nn.Module):
    """An estimator as a function of images alone.

    Shape: ``(N, 3, H, W)``, normalised, to what the head returns.

    Args:
        estimator: of MMPose.
    """

    def __init__(self, estimator: BasePoseEstimator) -> None:
        super().__init__()
        self.estimator = estimator

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """What the head returns, before any decoding."""
        return self.estimator(images, None, mode='tensor')


def build_estimator(
    config: Config, size: tuple[int, int], deploy: bool = False
) -> BasePoseEstimator:
    """An estimator for inference, with random weights of a fixed seed.

    The running statistics of its norms are those of noise. Otherwise, without
    training, activations vanish layer by layer into numbers that are too small
    for a processor's usual speed.

    Args:
        config: with a ``model``. Nothing is downloaded.
        size: (height, width) of the images.
        deploy: give it its form for deployment.
    """
    init_default_scope(config.get('default_scope', 'mmpose'))
    torch.manual_seed(0)
    estimator = MODELS.build(config.model)
    update_bn([torch.randn(2, 3, *size)], Network(estimator))
    if deploy:
        from ..deploy import deploy_form

        estimator = deploy_form(estimator)
    return estimator.eval()


def count(estimator: BasePoseEstimator, size: tuple[int, int]) -> dict[str, int]:
    """``parameters``, and ``multiply_adds`` of one image.

    Those of convolutions and products of matrices, which is what papers count.

    Args:
        estimator: in evaluation mode.
        size: (height, width) of the image.
    """
    analyzer = FlopAnalyzer(estimator, (torch.randn(1, 3, *size), None))
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with torch.no_grad():
        operations = analyzer.by_operator()
    return dict(
        parameters=sum(p.numel() for p in estimator.parameters()),
        multiply_adds=int(sum(operations[name] for name in PRODUCTS)),
    )
