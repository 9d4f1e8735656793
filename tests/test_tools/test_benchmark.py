"""tools/benchmark.py: a tiny network through every way to run it."""

import json
import time
from contextlib import nullcontext
from statistics import median
from types import SimpleNamespace

import pytest
import torch
from torch.utils.benchmark import Measurement, TaskSpec

SMALL = ['--size', '64x64', '--rounds', 1, '--threads', 1]


@pytest.fixture
def benchmark(tool, monkeypatch):
    """The tool with its command line, with short turns."""

    def load(*words):
        module = tool('benchmark.py', *words)
        monkeypatch.setattr(module, 'MIN_TIME', 1e-3)
        return module

    return load


@pytest.fixture
def two(tiny_config, tmp_path):
    """A tiny network under two names."""
    copy = tmp_path / 'copy.py'
    copy.write_text(f"_base_ = '{tiny_config}'")
    return tiny_config, copy


def cells(text):
    lines = [line for line in text.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]


def turn(*seconds):
    return Measurement(1, list(seconds), TaskSpec('call', ''))


def test_table_and_json(benchmark, two, tmp_path, capsys):
    out = tmp_path / 'new' / 'out.json'
    options = ['--batch-sizes', '1,2', '--deploy', '--channels-last', '--json', out]
    benchmark(*two, *SMALL, *options).main()
    head, rule, *rows = cells(capsys.readouterr().out)
    record = json.loads(out.read_text())

    assert head[:6] == [
        'model',
        'image',
        'runtime',
        'precision',
        'parameters',
        'multiply-adds',
    ]
    assert head[6:] == ['ms at batch 1 (iqr)', 'ratio', 'ms at batch 2 (iqr)', 'ratio']
    assert set(''.join(rule)) == {'-'}
    forms = ['', ' channels-last', ' deploy', ' deploy channels-last']
    assert [row[0] for row in rows] == [f'{m}{form}' for m in two for form in forms]
    assert {tuple(row[1:4]) for row in rows} == {('64x64', 'eager', 'fp32')}
    assert rows[0][7] == rows[0][9] == '1.000'
    for row, result in zip(rows, record['results']):
        for batch, cell, ratio in (('1', *row[6:8]), ('2', *row[8:10])):
            found = result['latency'][batch]
            assert cell == f'{1e3 * found["median"]:.2f} ({1e3 * found["iqr"]:.2f})'
            assert ratio == f'{found["ratio"]:.3f}'
            assert len(found['rounds']) == 1
        assert row[4] == f'{result["parameters"]:,}'
    assert record['machine']['torch'] == torch.__version__.split('+')[0]
    assert record['machine']['CPU']
    assert record['settings']['threads'] == 1
    assert record['left_out'] == {}


@pytest.mark.parametrize(
    ('name', 'parameters', 'multiply_adds'),
    [('ldcrn-coco', 7_894_897, 6.544e9), ('hrnet-w32', 28_536_113, 7.645e9)],
)
def test_complexity_of_the_real_networks(benchmark, name, parameters, multiply_adds):
    estimator, facts = benchmark().build(name, None)
    assert facts['size'] == (256, 192)
    assert facts['parameters'] == parameters
    assert facts['multiply_adds'] == pytest.approx(multiply_adds, rel=1e-4)
    assert not estimator.training


def test_ratios_are_taken_within_rounds(benchmark):
    """In round 2 the machine is ten times slower, in round 3 it is twice as fast."""
    first = [turn(1, 1, 4), turn(10), turn(0.5)]
    other = [turn(2, 2, 9), turn(30), turn(0.5)]
    found = benchmark().latency(other, first)
    assert found['ratio'] == median([2 / 1, 30 / 10, 0.5 / 0.5]) == 2
    assert found['rounds'] == [2, 30, 0.5]
    calls = torch.tensor([2, 2, 9, 30, 0.5])
    low, middle, high = calls.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    assert found['median'] == middle
    assert found['iqr'] == high - low
    assert benchmark().latency(first, first)['ratio'] == 1


class Recorder:
    """Timers that measure nothing and remember who was called."""

    def __init__(self, fails=None):
        self.turns, self.fails = [], fails

    def prepare(self, one, args, folder):
        facts = dict(one._asdict(), size=(64, 64))
        return facts, {batch: self.timer(one.model, batch) for batch in (1, 2)}

    def timer(self, *key):
        def blocked_autorange(min_run_time):
            self.turns.append(key)
            if key[0] == self.fails:
                raise MemoryError('too large')
            return turn(1)

        one = SimpleNamespace()
        one.blocked_autorange = blocked_autorange
        return one


def test_every_other_round_is_in_reverse_order(benchmark, two):
    module = benchmark(*two, *SMALL, '--batch-sizes', '1,2', '--rounds', 3)
    recorder = Recorder()
    module.prepare = recorder.prepare
    module.main()
    a, b = map(str, two)
    turns = recorder.turns
    assert turns[:4] == turns[8:] == [(a, 1), (b, 1), (a, 2), (b, 2)]
    assert turns[4:8] == turns[3::-1]


def test_form_and_precision_of_a_contender(benchmark, two):
    options = ['--deploy', '--channels-last', '--precision', 'bf16', *SMALL]
    module = benchmark(two[0], *options, '--cpu-time')
    module.cpu_computes_in = lambda dtype: True
    args = module.parse_args()
    for one in module.find_contenders(args):
        timer = module.prepare(one, args, '')[1][1]
        names = timer._globals
        images = names['images']
        estimator = names['run'].__wrapped__.func
        kinds = {type(part).__name__ for part in estimator.modules()}
        last = 'channels-last' in one.form
        assert ('DeployDCRM' in kinds) == ('deploy' in one.form)
        assert {p.dtype for p in estimator.parameters()} == {torch.bfloat16}
        assert images.dtype == torch.bfloat16
        assert images.is_contiguous(memory_format=torch.channels_last) == last
        assert timer._timer.timer is time.process_time


def test_cuda_graphs_are_captured_for_each_batch_size(benchmark, two, monkeypatch):
    captured = []
    monkeypatch.setattr(
        'torch.cuda.make_graphed_callables',
        lambda run, images: captured.append(images[0].shape) or run,
    )
    benchmark(two[0], *SMALL, '--runtime', 'cudagraphs', '--batch-sizes', '1,3').main()
    assert captured == [(1, 3, 64, 64), (3, 3, 64, 64)]


@pytest.mark.slow
def test_exported_networks(benchmark, two, tmp_path, monkeypatch, capsys):
    """Once from a config, then from the files that were written for it."""
    pytest.importorskip('onnxruntime')
    pytest.importorskip('openvino')
    options = ['--runtime', 'onnxruntime,openvino', '--precision', 'fp32,bf16']
    module = benchmark(two[0], *options, *SMALL)
    monkeypatch.setattr(module, 'TemporaryDirectory', lambda: nullcontext(tmp_path))
    monkeypatch.setattr(module, 'cpu_computes_in', lambda dtype: dtype.itemsize == 4)
    module.main()
    printed = capsys.readouterr()
    rows = cells(printed.out)[2:]
    assert [row[0] for row in rows] == [str(two[0])] * 2
    assert f'{two[0]} onnxruntime bf16: ValueError: onnxruntime' in printed.err
    assert f'{two[0]} openvino bf16: ValueError: this CPU' in printed.err

    files = [*tmp_path.glob('*.onnx'), *tmp_path.glob('*.xml')]
    benchmark(*files, '--rounds', 1, '--threads', 1, '--size', '96x96').main()
    for file, row, other in zip(files, cells(capsys.readouterr().out)[2:], rows):
        assert row[:4] == [str(file), '64x64', *other[2:4]]
        assert row[4:6] == ['', '']
        assert other[5] != ''
    assert [row[2].split()[0] for row in rows] == ['ONNX', 'OpenVINO']


def test_int8_has_its_own_file_calibrated_on_noise(benchmark, monkeypatch, tmp_path):
    written = {}

    def export_network(model, path, size, **options):
        written[path.name] = size, options
        path.touch()

    monkeypatch.setattr('ldcrn_mm.deploy.export.export_network', export_network)
    module = benchmark()
    for precision in ('fp32', 'int8', 'int8'):
        one = module.Contender('a/b.py', 'deploy', 'onnxruntime', precision)
        module.export(None, one, (64, 48), tmp_path)
    (plain, options), (size, int8) = written.values()
    assert plain == size == (48, 64)
    assert options['precision'] == 'fp32'
    assert int8['precision'] == 'int8'
    assert int8['calibration'].shape == (8, 3, 64, 48)
    assert int8['calibration'].std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (['--precision', 'int8'], 'eager computes in fp32, bf16, fp16'),
        (['--precision', 'bf16'], 'this CPU has no instructions for bf16'),
        (['--size', '1x1'], 'Error'),
    ],
)
def test_nothing_measured(benchmark, two, words, reason, capsys, monkeypatch, tmp_path):
    module = benchmark(two[0], *words, '--json', tmp_path / 'out.json')
    monkeypatch.setattr(module, 'cpu_computes_in', lambda dtype: dtype.itemsize == 4)
    with pytest.raises(SystemExit, match='nothing was measured'):
        module.main()
    assert f'Left out: {two[0]}' in capsys.readouterr().err
    (left_out,) = json.loads((tmp_path / 'out.json').read_text())['left_out'].values()
    assert reason in left_out


def test_the_others_go_on_when_one_fails(benchmark, two, capsys):
    module = benchmark(*two, *SMALL)
    module.prepare = Recorder(fails=str(two[0])).prepare
    module.main()
    printed = capsys.readouterr()
    (row,) = cells(printed.out)[2:]
    assert (row[0], row[7]) == (str(two[1]), '1.000')
    assert f'Left out: {two[0]} eager fp32: MemoryError: too large' in printed.err


def test_no_file_runs_on_another_device_than_wanted(benchmark, tmp_path, capsys):
    file = tmp_path / 'x.onnx'
    file.touch()
    module = benchmark(file, '--device', 'cuda', *SMALL)
    seen = []
    module.open_runtime = lambda *arguments: seen.append(arguments) or 1 / 0
    with pytest.raises(SystemExit, match='nothing was measured'):
        module.main()
    assert seen == [(str(file), 1, 'cuda')]


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['ldcrn', '--runtime', 'tensorrt'], "got 'tensorrt'"),
        (['ldcrn', '--precision', 'fp32,'], "got ''"),
        (['ldcrn', '--rounds', 0], '--rounds'),
        (['ldcrn', '--batch-sizes', '1,x'], '--batch-sizes'),
        (['ldcrn', '--size', 256], '256x192'),
        (['ldcrn', '--json', 'out.yml'], '.json'),
        (['ldcrn', '--json', f'{__file__}/out.json'], 'cannot write'),
        (['ldcrn', '--device', 'cuda', '--cpu-time'], '--cpu-time'),
    ],
)
def test_wrong_command_line(benchmark, words, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        benchmark(*words).main()
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    'model', ['nothing', 'nothing.py', 'mmpose::no/nothing.py', 'nopkg::nothing']
)
def test_unknown_model(benchmark, model):
    with pytest.raises(SystemExit, match='nothing'):
        benchmark(model).main()
