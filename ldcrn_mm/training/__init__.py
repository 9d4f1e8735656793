"""How the network is run: optimizer, precision, memory layout, storage, processes."""

from .distillation import DistilledPoseEstimator
from .distributed import AnyDeviceDistributedDataParallel, AverageLossHook
from .muon import ConvMuon, ConvMuonOptimWrapperConstructor
from .precision import BFloat16OptimWrapper, ChannelsLastHook
from .storage import SafeCheckpointHook

__all__ = [
    'AnyDeviceDistributedDataParallel',
    'AverageLossHook',
    'BFloat16OptimWrapper',
    'ChannelsLastHook',
    'ConvMuon',
    'ConvMuonOptimWrapperConstructor',
    'DistilledPoseEstimator',
    'SafeCheckpointHook',
]
