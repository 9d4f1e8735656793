"""The data loader of a training alone: can it feed the network?

It is timed over whole passes, since a single batch may have been made before
anybody asked for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.registry import DATASETS
from torch.utils.data import DataLoader, Subset

from ..training.data_files import check_data_files
from .networks import load_config
from .record import add_results, describe_run
from .rounds import Schedule, compare
from .statistics import rates
from .worker import Call, Contender

PASS = 'pass'
MOST_PEOPLE = 512  # of a pass


@dataclass(frozen=True)
class Settings:
    """How the people of a training are loaded.

    Attributes:
        workers: numbers of processes that load; 0 is the one that trains.
        batch_size: people a step; by default the config's.
    """

    workers: Sequence[int] = (0, 1, 4, 8)
    batch_size: int | None = None


def measure(model: str, settings: Settings, schedule: Schedule) -> dict:
    """Times the data loader of a config with several numbers of workers in turn.

    Args:
        model: name or path of the config; its training set has to be there.
        settings: the numbers of workers; the others are compared with the first.
        schedule: how often and how long to time; the threads are each process's.

    Returns:
        The record, as it goes into JSON.

    Raises:
        FileNotFoundError: where there is no such config, or no data.
    """
    config = load_config(model)
    check_data_files(config, ['train'])
    batch_size = settings.batch_size or config.train_dataloader.batch_size
    everything = asdict(settings) | asdict(schedule) | dict(batch_size=batch_size)
    record = describe_run('loading', everything, 'cpu')
    contenders = [
        Contender(
            f'{workers} workers' if workers else 'in the training process',
            build,
            dict(config=model, workers=workers, batch_size=batch_size),
            (PASS,),
        )
        for workers in settings.workers
    ]
    add_results(record, compare(contenders, schedule))
    people = len(build_loader(model, 0, batch_size).dataset)
    for result in record['contenders']:
        case = result['cases'][PASS]
        if 'rounds' in case:
            case['people_per_second'] = asdict(rates(case['rounds'], people))
    return record


def build(config: str, workers: int, batch_size: int) -> Callable[[str], Call]:
    """Makes the call that loads everybody once."""
    loader = build_loader(config, workers, batch_size)

    def load_all() -> None:
        for _ in loader:
            pass

    return lambda case: load_all


def build_loader(config: str, workers: int, batch_size: int) -> DataLoader:
    """The training's loader, of at most :data:`MOST_PEOPLE`."""
    cfg = load_config(config)
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    if len(dataset) > MOST_PEOPLE:
        dataset = Subset(dataset, range(MOST_PEOPLE))
    loader = dict(
        cfg.train_dataloader,
        dataset=dataset,
        batch_size=batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return Runner.build_dataloader(loader, seed=0)
