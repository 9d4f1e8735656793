"""What test_worker.py has built and called in another process."""

import os

import torch
from torch.utils.data import DataLoader


def build(**options):
    if options.get('broken'):
        raise ValueError('it cannot be built,\n  not at all')
    print('this is not among the results')
    calls = []

    def prepare(case):
        if case == 'environment':
            folder = options['folder']
            with open(f'{folder}/environment', 'w') as file:
                names = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
                values = [*(os.environ[name] for name in names)]
                print(os.getpid(), *values, torch.get_num_threads(), file=file)
        if case == 'exit':
            return lambda: os._exit(7)
        if case == 'processes':
            # Of two processes, as a data loader has.
            return lambda: calls.extend(DataLoader([1, 2], num_workers=2))
        if case == 'error':
            raise RuntimeError('no such operator')
        return lambda: calls.append(case)

    return prepare
