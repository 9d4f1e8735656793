"""How the network is run: optimizer, precision, memory layout, storage, processes."""

from .bfloat16 import BFloat16OptimWrapper
from .channels_last import ChannelsLastHook
from .distributed import AnyDeviceDistributedDataParallel, AverageLossHook
from .muon import ConvMuon, ConvMuonOptimWrapperConstructor
from .storage import AtomicLocalBackend, SafeCheckpointHook

__all__ = [
    'AnyDeviceDistributedDataParallel',
    'AtomicLocalBackend',
    'AverageLossHook',
    'BFloat16OptimWrapper',
    'ChannelsLastHook',
    'ConvMuon',
    'ConvMuonOptimWrapperConstructor',
    'SafeCheckpointHook',
]
