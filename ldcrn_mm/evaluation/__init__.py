"""Measures of accuracy that MMPose does not have."""

from .torso_pck import TorsoPCKAccuracy

__all__ = ['TorsoPCKAccuracy']
