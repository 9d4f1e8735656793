"""One contender in a process of its own, which sleeps while others are timed.

ONNX Runtime, OpenVINO and OpenMP keep threads of their own, some of which spin
while they wait, and settings of threads hold for a whole process. So no two
contenders share one.
"""

import os
import sys
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

import torch
from mmengine.logging import MMLogger
from torch.utils.benchmark import Timer

from .memory import PeakMemory

Case = Hashable  # such as a batch size
Call = Callable[[], Any]  # what is timed


@dataclass(frozen=True, eq=False)
class Contender:
    """Something to be timed.

    Attributes:
        name: what to call it.
        build: is called in its own process with ``options``, and returns what
            makes the :data:`Call` for a case. Both have to be picklable.
        options: also go into the record, so they have to be plain.
        cases: are timed separately; by rising need of memory.
        device: where its tensors are.
        error: why it cannot be timed, where that is known before.
    """

    name: str
    build: Callable[..., Callable[[Case], Call]]
    options: dict[str, Any] = field(default_factory=dict)
    cases: tuple[Case, ...] = (1,)
    device: str = 'cpu'
    error: str | None = None


class Bench:
    """Builds a contender in this process, and times it.

    Args:
        contender: what to time.
        threads: of PyTorch, for each operation.
    """

    def __init__(self, contender: Contender, threads: int) -> None:
        torch.set_num_threads(threads)
        self._threads = threads
        self._memory = PeakMemory(contender.device)
        self._prepare = contender.build(**contender.options)
        self._calls: dict[Case, Call] = {}

    def warm_up(self, case: Case, calls: int) -> int:
        """Calls without timing.

        Returns:
            The peak memory so far, in bytes.
        """
        call = self._calls[case] = self._prepare(case)
        for _ in range(calls):
            call()
        return self._memory.bytes()

    def time(self, case: Case, min_time: float) -> float:
        """Median duration of a call, in seconds, after an untimed one.

        Args:
            case: which was warmed up.
            min_time: go on calling for so many seconds.
        """
        timer = Timer(
            'call()', globals=dict(call=self._calls[case]), num_threads=self._threads
        )
        return timer.blocked_autorange(min_run_time=min_time).median


class ContenderError(RuntimeError):
    """What went wrong in a contender's process."""


def serve(connection: Connection, contender: Contender, threads: int) -> None:
    """Answers requests from a pipe until it is closed.

    A request is the name of a method of :class:`Bench` and its arguments, the
    answer a pair: its result and ``None``, or ``None`` and an error.
    """
    keep_quiet()
    bench = None
    try:
        while True:
            method, *arguments = connection.recv()
            try:
                if method == 'build':
                    bench, result = Bench(contender, threads), None
                else:
                    result = getattr(bench, method)(*arguments)
                connection.send((result, None))
            except (Exception, SystemExit) as error:
                connection.send((None, one_line(error)))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def keep_quiet() -> None:
    """Keeps what libraries say in this process out of the results."""
    sys.stdout = sys.stderr
    warnings.simplefilter('ignore')
    MMLogger.get_current_instance().setLevel('ERROR')


def one_line(error: BaseException) -> str:
    """An error's type and message, for a row of a table."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f'{type(error).__name__}: {" ".join(lines)[:500]}'.rstrip(': ')


class Worker:
    """A contender's process, as the one that schedules sees it.

    Args:
        contender: what it runs.
        threads: of the libraries with threads of their own, too.

    Raises:
        ContenderError: also from the methods, where the contender fails.
    """

    def __init__(self, contender: Contender, threads: int) -> None:
        context = get_context('spawn')
        self._connection, theirs = context.Pipe()
        # No daemon, which could not have processes of its own, such as those of a data
        # loader. Where this process dies, the pipe ends, and with it `serve`.
        self._process = context.Process(target=serve, args=(theirs, contender, threads))
        with _environment(threads):
            self._process.start()
        theirs.close()  # so that its end is noticed here
        try:
            self._ask('build')
        except BaseException:
            self.close()
            raise

    def warm_up(self, case: Case, calls: int) -> int:
        """See :meth:`Bench.warm_up`."""
        return self._ask('warm_up', case, calls)

    def time(self, case: Case, min_time: float) -> float:
        """See :meth:`Bench.time`."""
        return self._ask('time', case, min_time)

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, *request: Any) -> Any:
        try:
            self._connection.send(request)
            result, error = self._connection.recv()
        except (EOFError, ConnectionError, BrokenPipeError):
            self._process.join(timeout=5)
            raise ContenderError(
                f'its process ended with status {self._process.exitcode} '
                '(-9: killed, mostly for want of memory)'
            ) from None
        if error:
            raise ContenderError(error)
        return result


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """What libraries read from it while a child loads them."""
    names = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
    variables = dict.fromkeys(names, str(threads)) | dict(PYTHONWARNINGS='ignore')
    with mock.patch.dict(os.environ, variables):
        yield
