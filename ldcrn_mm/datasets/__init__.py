"""What the original does to its pictures and MMPose's transforms cannot."""

from .mpii import KeypointsFromZero
from .transforms import ClippedGaussianBBoxTransform

__all__ = ['ClippedGaussianBBoxTransform', 'KeypointsFromZero']
