"""How the network is trained: command lines, processes, precision, optimizer, disk."""

from .distillation import DistilledPoseEstimator
from .distributed import (
    AnyDeviceDistributedDataParallel,
    AverageLossHook,
    EveryProcessVisualizationHook,
)
from .finite import FiniteHook
from .muon import ConvMuon, ConvMuonOptimWrapperConstructor
from .precision import BFloat16OptimWrapper, ChannelsLastHook
from .resume import SafeCheckpointHook

__all__ = [
    'AnyDeviceDistributedDataParallel',
    'AverageLossHook',
    'BFloat16OptimWrapper',
    'ChannelsLastHook',
    'ConvMuon',
    'ConvMuonOptimWrapperConstructor',
    'DistilledPoseEstimator',
    'EveryProcessVisualizationHook',
    'FiniteHook',
    'SafeCheckpointHook',
]
