"""The record of made-up measurements, and its tables."""

import json

import pytest

from ldcrn_mm.benchmark import machine, record
from ldcrn_mm.benchmark.rounds import Measurement
from ldcrn_mm.benchmark.table import (
    TABLES,
    describe_record,
    inference_table,
    markdown,
    quartiles,
    training_table,
)
from ldcrn_mm.benchmark.worker import Contender

CONV = '3x3 convolution 64-64, blocked'
WORK = 64 * 64 * 9 * 64 * 48


@pytest.fixture
def results(monkeypatch):
    """Three contenders: one, one of twice its time, and one that fails at batch 4."""
    monkeypatch.setattr(machine, 'load_average', lambda: 0.0)
    settings = dict(threads=2, rounds=3, batch_sizes=[1, 4])
    found = record.describe_run('inference', settings, 'cpu')
    options = dict(precision='fp32')
    plain = Measurement(Contender('plain', None, options, (1, 4)))
    plain.times = {1: [1.0, 10.0, 2.0], 4: [2.0, 2.0, 2.0]}
    plain.memory = {1: 2**20, 4: 3 * 2**20}
    slow = Measurement(Contender('slow', None, options, (1, 4)))
    slow.times = {1: [2.0, 20.0, 4.4], 4: [1.0, 1.0, 1.0]}
    slow.memory = {1: 0, 4: 0}
    bad = Measurement(Contender('bad', None, dict(precision='bf16'), (1, 4)))
    bad.times, bad.memory = {1: [4.0, 4.0, 4.0]}, {1: 5}
    bad.errors = {4: 'RuntimeError: out of memory'}
    record.add_results(found, [plain, slow, bad])
    for result in found['contenders']:
        result.update(parameters=2_500_000, multiply_adds=WORK)
        record.add_throughput(result)
    best = Measurement(Contender('rate', None), times={CONV: [0.5, 5.0, 1.0]})
    failed = Measurement(Contender('rate', None), errors={CONV: 'no bfloat16'})
    record.add_rates(found, dict(fp32=best, bf16=failed))
    return found


def cases(results, index):
    return results['contenders'][index]['cases']


def test_the_record_says_where_it_comes_from(results):
    assert results['benchmark'] == 'inference'
    assert results['versions']['torch']
    assert results['machine']['cpu']
    assert results['settings']['threads'] == 2
    assert results['load_average'] == dict(before=0.0, after=0.0)
    assert results['date'].endswith('+00:00')
    assert {'commit', 'command'} < set(results)
    assert json.loads(json.dumps(results)) == results


def test_times_ratios_throughput_and_memory(results):
    slow = cases(results, 1)
    assert slow['1']['rounds'] == [2.0, 20.0, 4.4]
    assert slow['1']['seconds']['median'] == 4.4
    assert slow['1']['ratio']['median'] == 2.0
    assert slow['4']['ratio'] == dict(lower=0.5, median=0.5, upper=0.5)
    assert slow['4']['images_per_second']['median'] == 4
    assert cases(results, 0)['1']['ratio']['median'] == 1
    assert cases(results, 0)['4']['peak_memory'] == 3 * 2**20


def test_what_failed_has_an_error_and_nothing_else(results):
    assert cases(results, 2)['4'] == dict(error='RuntimeError: out of memory')
    assert cases(results, 2)['1']['seconds']['median'] == 4


def test_the_share_of_the_best_rate_is_taken_within_a_round(results):
    assert results['best_rate']['fp32']['product'] == CONV
    rate = results['best_rate']['fp32']['multiply_adds_per_second']
    assert rate['median'] == pytest.approx(WORK / 1.0)
    share = cases(results, 0)['1']['share_of_best_rate']
    assert share == dict(lower=0.5, median=0.5, upper=0.5)
    assert cases(results, 1)['1']['share_of_best_rate']['median'] == 0.25
    assert 'share_of_best_rate' not in cases(results, 0)['4']


def test_in_a_precision_without_a_best_rate_there_is_no_share(results):
    assert results['best_rate']['bf16'] == dict(error='no bfloat16')
    assert 'share_of_best_rate' not in cases(results, 2)['1']


def test_a_reference_that_failed_leaves_no_ratios():
    found = record.describe_run('training', dict(threads=1), 'cpu')
    bad = Measurement(Contender('bad', None, {}, ('step',)), errors={'step': 'broken'})
    good = Measurement(
        Contender('good', None, {}, ('step',)), {'step': [1.0]}, {'step': 7}
    )
    record.add_results(found, [bad, good])
    assert 'ratio' not in cases(found, 1)['step']
    found['settings']['rounds'] = 1
    assert 'bad failed (step): broken' in training_table(found)


def test_the_spread_of_the_reference_is_doubted(results):
    # Its rounds took 1, 10 and 2 seconds.
    assert any('of its median apart' in doubt for doubt in results['doubts'])


def rows(table):
    lines = [line for line in table.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]


def test_the_table_of_inference(results):
    header, _, plain, slow, bad = rows(inference_table(results))
    assert header[-3:] == ['images/s at 1', 'images/s at 4', 'memory at 4, MiB']
    assert plain[:3] == ['plain', '2.500', '0.113']
    assert slow[3] == '4400.00 [3200.00, 12200.00]'
    assert slow[4] == '2.000 [2.000, 2.100]'
    assert plain[5] == '50% [50%, 50%]'
    assert plain[7:] == ['2.0 [2.0, 2.0]', '3']
    assert bad[6:] == ['0.2 [0.2, 0.2]', '-', '-']
    assert 'bad failed (4): RuntimeError: out of memory' in inference_table(results)


def test_the_lines_below_the_table(results):
    rate = results['best_rate']['fp32']['multiply_adds_per_second']
    rate.update(lower=1e11, median=2e11, upper=3e11)
    text = describe_record(results)
    assert 'load average before and after: 0.00, 0.00' in text
    assert f'best rate in fp32: 400 [200, 600] GFLOP/s ({CONV})' in text
    assert 'best rate in bf16: no bfloat16' in text
    assert 'Warning: The quartiles' in text
    assert 'threads: 2, rounds: 3' in text


def test_quartiles_stand_in_brackets_behind_the_median():
    summary = dict(lower=0.001, median=0.002, upper=0.0041)
    assert quartiles(summary, '.1f', 1e3) == '2.0 [1.0, 4.1]'
    assert quartiles(None, '.1f') == '-'


def test_no_cell_is_cut_or_read_as_markup():
    long = 'x' * 200
    table = markdown(['name', 'value'], [[long, '1 [2, 3]'], ['[red]', '-']])
    assert rows(table)[2:] == [[long, '1 [2, 3]'], ['[red]', '-']]


def test_every_benchmark_has_a_table():
    assert set(TABLES) == {'inference', 'training', 'loading', 'end to end'}
