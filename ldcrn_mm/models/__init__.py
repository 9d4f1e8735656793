"""The network: registered in :data:`mmpose.registry.MODELS` on import."""

from .dcrm import DCRM, DCRMLayer
from .heatmap_head import LDCRNHead
from .hr_module import HRModule
from .ldcrn import LDCRN
from .pyramid_fusion import PyramidFusionNeck

__all__ = [
    'DCRM',
    'LDCRN',
    'DCRMLayer',
    'HRModule',
    'LDCRNHead',
    'PyramidFusionNeck',
]
