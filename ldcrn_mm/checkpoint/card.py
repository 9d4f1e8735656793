"""The model card of a published checkpoint, and its entry in a metafile."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from posixpath import join
from typing import Any

import yaml
from mmengine.config import Config
from torch import Tensor

from .training_log import TrainingLog
from .zoo import SCHEME

UNKNOWN = 'not stated'
BUFFERS = ('.running_mean', '.running_var', '.num_batches_tracked')


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from.

    Attributes:
        file: name of the checkpoint.
        content: its bytes.
        sha256: of these.
        state_dict: what it holds.
        meta: what it says of it.
        averaged: whether the training averaged its weights and validated those.
        config: the config's path from ``configs`` on, where it is known.
        settings: what that config says.
        log: of the training.
    """

    file: str
    content: bytes
    sha256: str
    state_dict: Mapping[str, Tensor]
    meta: Mapping[str, Any]
    averaged: bool = False
    config: str | None = None
    settings: Config | None = None
    log: TrainingLog | None = None

    @property
    def name(self) -> str:
        """Of the file, without the hash."""
        return self.file.rpartition('-')[0]

    @property
    def measured(self) -> dict[str, float] | None:
        """The log's metrics of these very weights; None where it has none."""
        if self.log is None or (self.averaged and self.meta['weights'] != 'ema'):
            return None
        return self.log.validations.get(self.meta.get('epoch'))


def model_card(facts: CardFacts) -> str:
    """Markdown: the file, its training, what was measured, how to load it."""
    sections = [f'# {facts.name}', _table(('', ''), _file_rows(facts).items())]
    sections += ['## Training', _table(('', ''), _training_rows(facts).items())]
    sections += ['## Validation', *_validation(facts), '## Use', _usage(facts)]
    return '\n\n'.join(sections) + '\n'


def metafile_entry(facts: CardFacts) -> str:
    """The model's entry in a metafile, to be pasted under ``Models:``."""
    metadata = {
        'Training Data': _data(facts, 'train_dataloader'),
        'Parameters': _parameters(facts),
    }
    entry = {
        'Name': facts.name,
        'Config': facts.config or f'configs/ldcrn/{facts.name}.py',
        'In Collection': 'LDCRN',
        'Metadata': metadata | {'Epochs': facts.meta.get('epoch')},
        'Results': _results(facts),
        'Weights': f'{SCHEME}{facts.file}',
    }
    return yaml.safe_dump([entry], sort_keys=False)


def _results(facts: CardFacts) -> list[dict] | None:
    if not facts.measured:
        return None
    metrics = {_short(name): round(v, 4) for name, v in facts.measured.items()}
    dataset = _data(facts, 'val_dataloader')
    return [dict(Dataset=dataset, Metrics=metrics, Task='Body 2D Keypoint')]


def _short(metric: str) -> str:
    """``coco/AP .5`` as metafiles write it: ``AP@0.5``."""
    return metric.rpartition('/')[2].replace(' .', '@0.')


def _file_rows(facts: CardFacts) -> dict[str, str]:
    vectors = ', vectors in fp32' if facts.meta['dtype'] == 'fp16' else ''
    versions = facts.meta['versions'].items()
    return {
        'File': f'`{facts.file}`',
        'Size': f'{len(facts.content):,} bytes ({len(facts.content) / 1e6:.1f} MB)',
        'SHA-256': f'`{facts.sha256}`',
        'Tensors': f'{len(facts.state_dict)}, with {_parameters(facts):,} parameters',
        'Precision': facts.meta['dtype'] + vectors,
        'Published with': ', '.join(f'{name} {number}' for name, number in versions),
    }


def _training_rows(facts: CardFacts) -> dict[str, str]:
    averages = 'averages over the training (EMA)'
    rows = {
        'Keypoints': _keypoints(facts),
        'Weights': averages if facts.meta['weights'] == 'ema' else 'of the model',
        'Epochs, by the checkpoint': str(facts.meta.get('epoch', UNKNOWN)),
        'Seed, by the checkpoint': str(facts.meta.get('seed', UNKNOWN)),
    }
    if 'converted_from' in facts.meta:
        rows['Converted from'] = facts.meta['converted_from']
    if facts.settings is not None:
        rows['Annotations, by the config'] = _data(facts, 'train_dataloader')
        rows |= _schedule_rows(facts.settings)
    if facts.log is not None:
        first, last = facts.log.learning_rates
        rows['Epochs, by the log'] = str(facts.log.epochs)
        rows['Learning rate, by the log'] = f'{first:.3g} at first, {last:.3g} at last'
        rows['Loss, by the log'] = f'{facts.log.loss:.6f} at last'
    return rows


def _schedule_rows(cfg: Config) -> dict[str, str]:
    optimizer = cfg.get('optim_wrapper', {}).get('optimizer', {})
    loader = cfg.get('train_dataloader') or {}
    return {
        'Epochs, by the config': str((cfg.get('train_cfg') or {}).get('max_epochs')),
        'Optimizer, by the config': f'{optimizer.get("type")}, '
        f'learning rate {optimizer.get("lr")}',
        'Batch of a process, by the config': str(loader.get('batch_size')),
    }


def _validation(facts: CardFacts) -> Iterable[str]:
    """What the log says, and of which weights it says it."""
    log = facts.log
    if log is None or not log.validations:
        return ['No accuracy is stated: there was no log of a validation.']
    paragraphs = [_source_of_metrics(facts)]
    last = max(log.validations)
    columns = {last: f'after epoch {last}, the last'}
    if facts.measured:
        epoch = facts.meta['epoch']
        this_file = {epoch: f'after epoch {epoch}: this file'}
        columns = this_file | columns | this_file  # first, also where it is the last
    else:
        paragraphs.append('**None of these numbers is of this file.** ' + _why(facts))
    rows = [_metric_row(log, name, columns) for name in log.validations[last]]
    return [*paragraphs, _table(('metric', *columns.values(), 'best'), rows)]


def _metric_row(log: TrainingLog, name: str, epochs: Iterable[int]) -> list[str]:
    values = [log.validations[epoch].get(name) for epoch in epochs]
    cells = ['' if value is None else f'{value:.4f}' for value in values]
    best = log.best(name)
    return [name, *cells, f'{log.validations[best][name]:.4f} after epoch {best}']


def _source_of_metrics(facts: CardFacts) -> str:
    text = "From the training's log: its own validation, by `val_dataloader`"
    if facts.settings is not None and facts.settings.get('val_dataloader'):
        detected = facts.settings.val_dataloader.dataset.get('bbox_file')
        text += f' on {"detected" if detected else "annotated"} boxes'
    if facts.meta['dtype'] == 'fp16':
        text += '. It was measured before the weights were rounded to fp16'
    return text + '.'


def _why(facts: CardFacts) -> str:
    if facts.averaged and facts.meta['weights'] != 'ema':
        return 'The training validated its averaged weights, and these are not those.'
    epoch = facts.meta.get('epoch', UNKNOWN)
    return f'The log has no validation of the epoch of the checkpoint ({epoch}).'


def _usage(facts: CardFacts) -> str:
    config = facts.config or 'CONFIG'
    return f"""\
```python
from ldcrn_mm.inference import TopdownInferencer

inferencer = TopdownInferencer('{config}', '{facts.file}')
for result in inferencer('photo.jpg', bboxes=[[50, 20, 210, 400]]):
    print(result['predictions'])
```

By MMPose itself, after `import ldcrn_mm`:
`mmpose.apis.init_model('{config}', '{facts.file}')`. Without either,
`torch.load('{facts.file}', weights_only=True)['state_dict']`."""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    lines = [head, ('---',) * len(head), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _keypoints(facts: CardFacts) -> str:
    """How many, and whose definition of them: of other data it says nothing."""
    meta = facts.meta.get('dataset_meta')
    if not meta:
        return UNKNOWN
    return f'{meta["num_keypoints"]}, as of {meta["dataset_name"]}'


def _data(facts: CardFacts, loader: str) -> str:
    """The file of annotations that the config names."""
    settings = (facts.settings or {}).get(loader) or {}
    dataset = settings.get('dataset', {})
    path = join(dataset.get('data_root') or '', dataset.get('ann_file') or '')
    return path or UNKNOWN


def _parameters(facts: CardFacts) -> int:
    """How many numbers were trained."""
    return sum(
        tensor.numel()
        for name, tensor in facts.state_dict.items()
        if not name.endswith(BUFFERS)
    )
