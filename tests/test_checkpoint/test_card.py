"""Model cards: what is stated, and what is not."""

import hashlib
from dataclasses import replace

import pytest
import torch
import yaml
from mmengine.config import Config

from ldcrn_mm.checkpoint.card import CardFacts, metafile_entry, model_card
from ldcrn_mm.checkpoint.training_log import TrainingLog

STATE = {
    'conv.weight': torch.zeros(4, 3, 1, 1),
    'bn.weight': torch.zeros(4),
    'bn.bias': torch.zeros(4),
    'bn.running_mean': torch.zeros(4),
    'bn.running_var': torch.zeros(4),
    'bn.num_batches_tracked': torch.tensor(3),
    'scale': torch.zeros(5),
}
META = dict(
    epoch=2,
    seed=7,
    weights='model',
    dtype='fp32',
    dataset_meta=dict(dataset_name='coco', num_keypoints=17),
    versions=dict(ldcrn_mm='9.8.7', torch='6.5.4'),
)
LOG = TrainingLog(
    losses={1: [0.9], 2: [0.7], 3: [0.6, 0.5]},
    learning_rates=(0.1, 0.025),
    validations={
        1: {'coco/AP': 0.61, 'coco/AP .5': 0.7},
        2: {'coco/AP': 0.52, 'coco/AP .5': 0.8},
        3: {'coco/AP': 0.43, 'coco/AP .5': 0.75},
    },
)
SETTINGS = Config(
    dict(
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.004)),
        train_cfg=dict(max_epochs=123),
        train_dataloader=dict(
            batch_size=45, dataset=dict(data_root='data/x', ann_file='train.json')
        ),
        val_dataloader=dict(dataset=dict(data_root='data/x/', ann_file='val.json')),
    )
)
MEASURED = ('0.52', '0.61', '0.43', '0.8', '0.75')


@pytest.fixture
def facts() -> CardFacts:
    return CardFacts(
        file='td-hm_tiny-01234567.pth',
        content=b'x' * 1_250_000,
        sha256=hashlib.sha256(b'x').hexdigest(),
        state_dict=STATE,
        meta=META,
        config='configs/ldcrn/td-hm_tiny.py',
        settings=SETTINGS,
        log=LOG,
    )


def rows(card: str) -> dict[str, list[str]]:
    """Cells by the first of their row."""
    lines = [line.strip('| ').split(' | ') for line in card.splitlines() if '|' in line]
    return {first: rest for first, *rest in lines}


def test_the_file_is_described(facts):
    card = rows(model_card(facts))
    assert model_card(facts).startswith('# td-hm_tiny\n')
    assert card['File'] == ['`td-hm_tiny-01234567.pth`']
    assert card['Size'] == ['1,250,000 bytes (1.2 MB)']
    assert card['SHA-256'] == [f'`{facts.sha256}`']
    assert card['Tensors'] == ['7, with 25 parameters']  # 12 + 4 + 4 + 5
    assert card['Precision'] == ['fp32']
    assert card['Published with'] == ['ldcrn_mm 9.8.7, torch 6.5.4']


def test_each_statement_on_the_training_names_its_source(facts):
    card = rows(model_card(facts))
    assert card['Keypoints'] == ['17, as of coco']
    assert card['Epochs, by the checkpoint'] == ['2']
    assert card['Seed, by the checkpoint'] == ['7']
    assert card['Epochs, by the config'] == ['123']
    assert card['Optimizer, by the config'] == ['Adam, learning rate 0.004']
    assert card['Batch of a process, by the config'] == ['45']
    assert card['Annotations, by the config'] == ['data/x/train.json']
    assert card['Epochs, by the log'] == ['3']
    assert card['Learning rate, by the log'] == ['0.1 at first, 0.025 at last']


def test_values_of_this_epoch_the_last_and_the_best_are_told_apart(facts):
    card = rows(model_card(facts))
    head = ['after epoch 2: this file', 'after epoch 3, the last', 'best']
    assert card['metric'] == head
    assert card['coco/AP'] == ['0.5200', '0.4300', '0.6100 after epoch 1']
    assert card['coco/AP .5'] == ['0.8000', '0.7500', '0.8000 after epoch 2']
    assert 'on annotated boxes.' in model_card(facts)
    assert 'None of these' not in model_card(facts)


def test_the_last_epoch_has_one_column(facts):
    card = rows(model_card(replace(facts, meta=dict(META, epoch=3))))
    assert card['metric'] == ['after epoch 3: this file', 'best']
    assert card['coco/AP'] == ['0.4300', '0.6100 after epoch 1']


def test_detected_boxes_are_called_so(facts):
    settings = Config(SETTINGS.to_dict())
    settings.val_dataloader.dataset.bbox_file = 'boxes.json'
    assert 'on detected boxes.' in model_card(replace(facts, settings=settings))


def test_rounded_weights_were_not_the_ones_measured(facts):
    card = model_card(replace(facts, meta=dict(META, dtype='fp16')))
    assert 'measured before the weights were rounded to fp16' in card
    assert rows(card)['Precision'] == ['fp16, vectors in fp32']
    assert 'rounded' not in model_card(facts)


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        (dict(meta=dict(META, epoch=9)), 'no validation of the epoch .* (9)'),
        (dict(averaged=True), 'validated its averaged weights'),
    ],
)
def test_values_of_other_weights_are_called_so(facts, changes, reason):
    facts = replace(facts, **changes)
    card = model_card(facts)
    assert '**None of these numbers is of this file.**' in card
    assert reason.split(' .* ')[0] in card
    assert rows(card)['metric'] == ['after epoch 3, the last', 'best']
    assert yaml.safe_load(metafile_entry(facts))[0]['Results'] is None


def test_averages_were_measured_where_they_are_published(facts):
    facts = replace(facts, averaged=True, meta=dict(META, weights='ema'))
    card = rows(model_card(facts))
    assert card['coco/AP'][0] == '0.5200'
    assert card['Weights'] == ['averages over the training (EMA)']


@pytest.mark.parametrize('log', [None, TrainingLog({3: [0.5]}, (0.1, 0.1))])
def test_nothing_is_stated_that_no_log_states(facts, log):
    facts = replace(facts, log=log)
    card = model_card(facts)
    assert 'No accuracy is stated' in card
    assert not any(value in card for value in MEASURED)
    assert yaml.safe_load(metafile_entry(facts))[0]['Results'] is None


def test_little_known_makes_a_card_too(facts):
    meta = dict(weights='model', dtype='fp32', versions={}, converted_from='elsewhere')
    facts = replace(facts, meta=meta, config=None, settings=None, log=None)
    card = rows(model_card(facts))
    assert card['Epochs, by the checkpoint'] == card['Keypoints'] == ['not stated']
    assert card['Converted from'] == ['elsewhere']
    (entry,) = yaml.safe_load(metafile_entry(facts))
    assert entry['Metadata']['Training Data'] == 'not stated'
    assert entry['Config'] == 'configs/ldcrn/td-hm_tiny.py'


def test_card_says_how_to_load_the_file(facts):
    card = model_card(facts)
    for name in ('TopdownInferencer', 'init_model'):
        assert f"{name}('configs/ldcrn/td-hm_tiny.py', '{facts.file}')" in card
    assert f"torch.load('{facts.file}', weights_only=True)" in card


def test_metafile_entry_is_what_openmmlab_reads(facts):
    (entry,) = yaml.safe_load(metafile_entry(facts))
    assert entry == {
        'Name': 'td-hm_tiny',
        'Config': 'configs/ldcrn/td-hm_tiny.py',
        'In Collection': 'LDCRN',
        'Metadata': {
            'Training Data': 'data/x/train.json',
            'Parameters': 25,
            'Epochs': 2,
        },
        'Results': [
            {
                'Dataset': 'data/x/val.json',
                'Metrics': {'AP': 0.52, 'AP@0.5': 0.8},
                'Task': 'Body 2D Keypoint',
            }
        ],
        'Weights': 'ldcrn_mm://td-hm_tiny-01234567.pth',
    }
