"""The network. Importing it registers its parts in :data:`mmpose.registry.MODELS`."""

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
