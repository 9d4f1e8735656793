"""People per second through the inferencer, against the network alone.

End to end is everything from the files of pictures to keypoints in pixels:
reading, cropping, batching, the network, the flip test, decoding. The network
alone gets batches of the same sizes, already on its device.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mmengine.config import Config

from .networks import build_estimator, input_size, load_config
from .record import add_results, describe_run
from .rounds import Schedule, compare
from .statistics import rates, ratios
from .worker import Call, Contender

FLIP = ', flip test'
NETWORK, WHOLE = 'network', 'end to end'
CASES = (NETWORK, WHOLE, NETWORK + FLIP, WHOLE + FLIP)


@dataclass(frozen=True)
class Settings:
    """What the people are taken from, and how.

    Attributes:
        inputs: a picture or a folder of pictures.
        bbox_file: boxes of the people; see :func:`.inference.read_boxes`.
        checkpoint: of all models, or an exported file; without one, weights
            are random.
        batch_size: how many people of a picture go through the network at once.
        device: such as ``'cpu'``.
        channels_last: lay weights out so.
    """

    inputs: str
    bbox_file: str
    checkpoint: str | None = None
    batch_size: int = 32
    device: str = 'cpu'
    channels_last: bool = False


def measure(models: Sequence[str], settings: Settings, schedule: Schedule) -> dict:
    """Times the inferencer and its network in turn, without and with flip test.

    Args:
        models: names or paths of configs.
        settings: what to run them on.
        schedule: how often and how long to time.

    Returns:
        The record, as it goes into JSON.

    Raises:
        FileNotFoundError: where there is no such config, picture or file.
        ValueError: where the file of boxes does not know a picture, or nobody
            is in the pictures.
    """
    people = [len(boxes) for boxes in _read(settings)[1]]
    if not sum(people):
        raise ValueError(f'{settings.bbox_file} has no boxes in {settings.inputs}.')
    for model in models:
        load_config(model)
    everything = asdict(settings) | asdict(schedule) | dict(people=people)
    record = describe_run('end to end', everything, settings.device)
    contenders = [
        Contender(
            Path(model).stem,
            build,
            dict(config=model, threads=schedule.threads) | asdict(settings),
            CASES,
            settings.device,
        )
        for model in models
    ]
    add_results(record, compare(contenders, schedule))
    for result in record['contenders']:
        _add_people(result['cases'], sum(people))
    return record


def _read(settings: Settings) -> tuple[list[str], list]:
    from ..inference import open_inputs, read_boxes  # all of MMPose's inference API

    pictures = open_inputs(settings.inputs)
    if not isinstance(pictures, list):
        raise ValueError(
            f'Expected a picture or a folder of pictures, not {settings.inputs}.'
        )
    return pictures, read_boxes(settings.bbox_file, pictures)


def _add_people(cases: dict, people: int) -> None:
    """Adds people per second, and the share that the network alone would reach."""
    for case in cases.values():
        if 'rounds' in case:
            case['people_per_second'] = asdict(rates(case['rounds'], people))
    for flip in ('', FLIP):
        alone, whole = cases[NETWORK + flip], cases[WHOLE + flip]
        if 'rounds' in alone and 'rounds' in whole:
            share = ratios(alone['rounds'], whole['rounds'])
            whole['share_of_network'] = asdict(share)


def build(config: str, threads: int, **settings: object) -> Callable[[str], Call]:
    """Makes the calls for :data:`CASES`: all pictures, once."""
    from ..deploy import is_exported, open_runtime
    from ..inference import TopdownInferencer

    settings = Settings(**settings)
    pictures, boxes = _read(settings)
    cfg = load_config(config)
    with TemporaryDirectory() as folder:
        weights = settings.checkpoint or _random_weights(cfg, folder)
        inferencer = TopdownInferencer(cfg, weights, settings.device)
    model = inferencer.model
    if is_exported(weights):  # the inferencer leaves the threads to the runtime
        model.backbone.runtime = open_runtime(weights, num_threads=threads)
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    batches = [
        min(settings.batch_size, len(people) - start)
        for people in boxes
        for start in range(0, len(people), settings.batch_size)
    ]
    images = [
        torch.randn(size, 3, *input_size(cfg), device=settings.device)
        for size in batches
    ]

    @torch.no_grad()
    def network(passes: int) -> None:
        for batch in images:
            for _ in range(passes):
                model(batch, None, mode='tensor')

    def whole(flip_test: bool) -> None:
        model.test_cfg['flip_test'] = flip_test
        results = inferencer(pictures, bboxes=boxes, batch_size=settings.batch_size)
        for _ in results:
            pass

    return dict(
        zip(
            CASES,
            (
                partial(network, 1),
                partial(whole, False),
                partial(network, 2),
                partial(whole, True),
            ),
        )
    ).__getitem__


def _random_weights(cfg: Config, folder: str) -> str:
    estimator = build_estimator(cfg, input_size(cfg))
    file = Path(folder, 'random.pth')
    torch.save(dict(state_dict=estimator.state_dict()), file)
    return str(file)
