"""What the original does to its pictures and MMPose's transforms cannot."""

from .transforms import ClippedGaussianBBoxTransform

__all__ = ['ClippedGaussianBBoxTransform']
