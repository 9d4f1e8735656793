"""Results for readers: tables in Markdown, with what they were measured on."""

from collections.abc import Callable, Sequence
from io import StringIO

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table
from rich.text import Text

NONE = '-'
Row = list[str]


def describe_record(record: dict) -> str:
    """Machine, versions and doubts, in some lines."""
    machine, settings = record['machine'], record['settings']
    load = record['load_average']
    versions = ', '.join(f'{k} {v}' for k, v in record['versions'].items())
    lines = [
        f'{record["date"]}, commit {record["commit"]}',
        f'{machine.get("gpu") or machine["cpu"]} ({machine["cpu_capability"]}), '
        f'{machine["cores"]} cores; threads: {settings["threads"]}, rounds: '
        f'{settings["rounds"]}',
        f'load average before and after: {_load(load["before"])}, '
        f'{_load(load["after"])}',
        versions,
        *(_best_rate(*item) for item in record.get('best_rate', {}).items()),
        *(f'Warning: {doubt}' for doubt in record['doubts']),
    ]
    return '\n'.join(lines)


def _load(value: float | None) -> str:
    return NONE if value is None else f'{value:.2f}'


def _best_rate(precision: str, rate: dict) -> str:
    if 'error' in rate:
        return f'best rate in {precision}: {rate["error"]}'
    values = quartiles(rate['multiply_adds_per_second'], '.0f', 2e-9)
    return f'best rate in {precision}: {values} GFLOP/s ({rate["product"]})'


def quartiles(summary: dict | None, form: str, factor: float = 1) -> str:
    """The median, and in brackets the first and the third quartile."""
    if summary is None:
        return NONE
    lower, median, upper = (
        format(summary[key] * factor, form) for key in ('lower', 'median', 'upper')
    )
    return f'{median} [{lower}, {upper}]'


def markdown(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """A table; the first column to the left, the numbers to the right."""
    table = Table(box=MARKDOWN)
    for index, column in enumerate(columns):
        table.add_column(column, justify='right' if index else 'left', no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    width = 3 * len(columns) + sum(
        max(map(len, column)) for column in zip(columns, *rows)
    )
    out = StringIO()
    Console(file=out, width=width + 9).print(table)
    return '\n'.join(line.rstrip() for line in out.getvalue().strip().splitlines())


def inference_table(record: dict) -> str:
    """A row for each contender: size, latency, ratio, throughput, memory."""
    batches = [str(size) for size in record['settings']['batch_sizes']]
    columns = [
        'network',
        'parameters, 1e6',
        'multiply-adds, 1e9',
        'latency, ms [quartiles]',
        'ratio',
        'of the best rate',
        *(f'images/s at {batch}' for batch in batches),
        f'memory at {batches[-1]}, MiB',
    ]
    rows = [_inference_row(one, batches) for one in record['contenders']]
    return _with_errors(columns, rows, record)


def _inference_row(result: dict, batches: Sequence[str]) -> Row:
    case = result['cases']['1']
    return [
        result['name'],
        _count(result.get('parameters'), 1e-6),
        _count(result.get('multiply_adds'), 1e-9),
        quartiles(case.get('seconds'), '.2f', 1e3),
        quartiles(case.get('ratio'), '.3f'),
        quartiles(case.get('share_of_best_rate'), '.0%'),
        *(
            quartiles(result['cases'][batch].get('images_per_second'), '.1f')
            for batch in batches
        ),
        _memory(result['cases'][batches[-1]]),
    ]


def _count(number: int | None, factor: float) -> str:
    return NONE if number is None else f'{number * factor:.3f}'


def _memory(case: dict) -> str:
    peak = case.get('peak_memory')
    return NONE if peak is None else f'{peak / 2**20:.0f}'


def training_table(record: dict) -> str:
    """A row for each setting: a step's time, ratio and memory."""
    columns = ['setting', 'step, s [quartiles]', 'ratio', 'memory, MiB', 'ratio']
    first = record['contenders'][0]['cases']['step'].get('peak_memory')
    rows = []
    for result in record['contenders']:
        case = result['cases']['step']
        memory = case.get('peak_memory')
        rows.append(
            [
                result['name'],
                quartiles(case.get('seconds'), '.3f'),
                quartiles(case.get('ratio'), '.3f'),
                _memory(case),
                f'{memory / first:.2f}' if memory and first else NONE,
            ]
        )
    return _with_errors(columns, rows, record)


def end_to_end_table(record: dict) -> str:
    """Two rows for each network: without and with flip test."""
    columns = [
        'network',
        'people/s of the network alone',
        'people/s end to end',
        'ratio',
    ]
    rows = []
    for result in record['contenders']:
        for flip in ('', ', flip test'):
            alone = result['cases'][f'network{flip}']
            whole = result['cases'][f'end to end{flip}']
            rows.append(
                [
                    result['name'] + flip,
                    quartiles(alone.get('people_per_second'), '.1f'),
                    quartiles(whole.get('people_per_second'), '.1f'),
                    quartiles(whole.get('share_of_network'), '.2f'),
                ]
            )
    return _with_errors(columns, rows, record)


def loading_table(record: dict) -> str:
    """A row for each number of workers."""
    columns = ['data loader', 'people/s [quartiles]', 'time, ratio']
    rows = []
    for result in record['contenders']:
        case = result['cases']['pass']
        speed = quartiles(case.get('people_per_second'), '.1f')
        rows.append([result['name'], speed, quartiles(case.get('ratio'), '.3f')])
    return _with_errors(columns, rows, record)


def _with_errors(columns: Sequence[str], rows: Sequence[Row], record: dict) -> str:
    errors = []
    for result in record['contenders']:
        found: dict[str, list[str]] = {}
        for name, case in result['cases'].items():
            if 'error' in case:
                found.setdefault(case['error'], []).append(name)
        errors += [
            f'{result["name"]} failed ({", ".join(cases)}): {error}'
            for error, cases in found.items()
        ]
    return '\n'.join([markdown(columns, rows), *errors])


TABLES: dict[str, Callable[[dict], str]] = {
    'inference': inference_table,
    'training': training_table,
    'end to end': end_to_end_table,
    'loading': loading_table,
}
