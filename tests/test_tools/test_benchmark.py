"""tools/benchmark.py: its options, and once all of it in processes."""

import json

import pytest

from ldcrn_mm.benchmark import end_to_end, inference, training
from ldcrn_mm.benchmark.rounds import Schedule


@pytest.fixture
def called(tool, monkeypatch):
    """The arguments with which the tool calls the library."""

    def call(*words):
        module = tool('benchmark.py', *words)
        seen = []
        for part in (inference, training, end_to_end):
            monkeypatch.setattr(part, 'measure', lambda *args: seen.append(args))
        module.measure(module.parse_args())
        return seen[0]

    return call


def test_the_defaults(called):
    models, settings, schedule = called('ldcrn', 'hrnet-w32')
    assert models == ['ldcrn', 'hrnet-w32']
    assert settings == inference.Settings(['eager'], ['fp32'], [1])
    assert schedule == Schedule(threads=2, rounds=10, warm_up=3, min_time=0.5)


def test_options_of_inference(called):
    _, settings, schedule = called(
        *['ldcrn', '--runtime', 'openvino,compile', '--precision', 'fp32,bf16'],
        *['--batch-sizes', '1,8', '--size', '384x288', '--device', 'cuda'],
        *['--channels-last', '--deploy', '--threads', 4, '--rounds', 5],
        *['--warmup', 7, '--min-time', 0.1],
    )
    assert settings == inference.Settings(
        runtimes=['openvino', 'compile'],
        precisions=['fp32', 'bf16'],
        batch_sizes=[1, 8],
        size=(384, 288),
        device='cuda',
        channels_last=True,
        deploy=True,
    )
    assert schedule == Schedule(threads=4, rounds=5, warm_up=7, min_time=0.1)


def test_options_of_training(called):
    model, settings, _ = called(
        'ldcrn', '--train', 'plain,amp+with-cp', '--batch-size', 8
    )
    assert model == 'ldcrn'
    assert settings == training.Settings(['plain', 'amp+with-cp'], 8, 'cpu')
    assert called('ldcrn', '--train')[1] == training.Settings([*training.DEFAULT])


def test_options_end_to_end(called):
    words = ['--end-to-end', 'folder', '--bbox-file', 'boxes.json']
    models, settings, _ = called('ldcrn', *words)
    assert models == ['ldcrn']
    assert settings == end_to_end.Settings('folder', 'boxes.json')
    more = ['--checkpoint', 'x.pth', '--batch-size', 4, '--channels-last']
    assert called('ldcrn', *words, *more)[1] == end_to_end.Settings(
        'folder', 'boxes.json', 'x.pth', 4, channels_last=True
    )


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ([], 'MODEL'),
        (['ldcrn', '--runtime', 'tensorrt'], "got 'tensorrt'"),
        (['ldcrn', '--precision', 'fp32,'], "got ''"),
        (['ldcrn', '--precision', 'int4'], "got 'int4'"),
        (['ldcrn', '--rounds', '0'], "at least 1, got '0'"),
        (['ldcrn', '--batch-sizes', '1,x'], "at least 1, got 'x'"),
        (['ldcrn', '--size', '256'], "as in 256x192, got '256'"),
        (['ldcrn', '--json', 'out.yml'], r'must end in .json'),
        (['ldcrn', 'hrnet-w32', '--train'], 'one MODEL'),
        (['ldcrn', '--end-to-end', 'x'], 'go together'),
        (['ldcrn', '--bbox-file', 'x'], 'go together'),
        (
            ['ldcrn', '--train', '--end-to-end', 'x', '--bbox-file', 'y'],
            'benchmarks of their own',
        ),
        (['ldcrn', '--batch-size', '8'], '--batch-size has no effect here. It is for'),
        (['ldcrn', '--checkpoint', 'x.pth'], 'It is for --end-to-end'),
        (['ldcrn', '--train', '--channels-last'], '--channels-last has no effect'),
        (['ldcrn', '--train', '--batch-sizes', '1,8'], 'the benchmark of inference'),
        (['ldcrn', '--loader', '0', '--device', 'cuda'], '--train, --end-to-end'),
        (
            ['ldcrn', '--end-to-end', 'x', '--bbox-file', 'y', '--runtime', 'openvino'],
            '--runtime has no effect here',
        ),
    ],
)
def test_wrong_usage(tool, words, message, capsys):
    module = tool('benchmark.py', *words)
    with pytest.raises(SystemExit, match='2'):
        module.main()
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('name', ['folder.json', 'file/out.json'])
def test_where_no_results_can_be_written_is_said_before_anything_is_timed(
    tool, tmp_path, capsys, name
):
    (tmp_path / 'folder.json').mkdir()
    (tmp_path / 'file').touch()
    module = tool('benchmark.py', 'ldcrn', '--json', tmp_path / name)
    with pytest.raises(SystemExit, match='2'):
        module.parse_args()
    assert f'--json: cannot write {tmp_path / name}' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['nothing'], 'There is no config `nothing`'),
        (['nothing.xml'], 'no exported network `nothing.xml`'),
        (['ldcrn', '--min-time', '0'], 'min_time has to be positive'),
        (['ldcrn', '--train', 'fast'], "no way 'fast' to train"),
        (['ldcrn', '--device', 'abacus'], 'no device `abacus`'),
        (['ldcrn', '--train', '--device', 'cuda:99'], 'no device `cuda:99`'),
        (['ldcrn', '--end-to-end', 'x', '--bbox-file', 'y'], 'no file or folder `x`'),
    ],
)
def test_what_the_user_can_mend_ends_with_its_message(tool, words, message):
    module = tool('benchmark.py', *words)
    with pytest.raises(SystemExit, match=message):
        module.main()


def test_the_results_are_printed_and_written(tool, monkeypatch, tmp_path, capsys):
    file = tmp_path / 'new' / 'out.json'
    module = tool('benchmark.py', 'ldcrn', '--train', 'plain', '--json', file)
    case = dict(step=dict(error='RuntimeError: no memory'))
    record = dict(
        benchmark='training',
        date='today',
        commit=None,
        machine=dict(cpu='abacus', cpu_capability='none', cores=1),
        settings=dict(threads=2, rounds=10),
        versions=dict(torch='9.9'),
        load_average=dict(before=None, after=0.5),
        doubts=['The machine was busy.'],
        contenders=[dict(name='plain', options={}, cases=case)],
    )
    monkeypatch.setattr(training, 'measure', lambda *args: record)
    module.main()
    printed = capsys.readouterr().out
    assert '| plain' in printed
    assert 'plain failed (step): RuntimeError: no memory' in printed
    assert 'Warning: The machine was busy.' in printed
    assert 'load average before and after: -, 0.50' in printed
    assert json.loads(file.read_text()) == record


@pytest.mark.slow  # every contender's process loads all libraries
def test_as_a_user_calls_it(run_tool, tiny_config, tmp_path):
    out = tmp_path / 'out.json'
    schedule = ['--threads', 1, '--rounds', 3, '--warmup', 1, '--min-time', 0.01]
    broken = tmp_path / 'broken.onnx'
    broken.write_bytes(b'this is no network')
    words = ['--size', '64x64', '--batch-sizes', '1,2', '--channels-last']
    done = run_tool(
        'benchmark.py', tiny_config, broken, *words, *schedule, '--json', out
    )
    first, second, failed = json.loads(out.read_text())['contenders']
    lines = done.stdout.splitlines()
    assert lines[0].startswith('| network')
    assert lines[2].startswith('| tiny, eager, fp32 ')
    assert 'broken.onnx, onnxruntime failed (1, 2)' in done.stdout
    for result in (first, second):
        assert len(result['cases']['1']['rounds']) == 3
        assert result['cases']['2']['peak_memory'] > 0
    assert first['multiply_adds'] == second['multiply_adds'] > 0
    assert 'error' in failed['cases']['1']
    assert 'Starting best rate, fp32' in done.stderr
