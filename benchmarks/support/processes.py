"""Worker processes that each do a share of some work on request, and time the work themselves."""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from benchmarks.support.checks import WrongResultError
from kseg_batch.processes import environment_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.connection import Connection
    from types import TracebackType
    from typing import Self

T = TypeVar("T")


class Processes(Generic[T]):
    """One fresh process for each share, kept until the context ends."""

    def __init__(
        self,
        prepare: Callable[[T], Callable[[], None]],
        shares: Sequence[T],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the processes and wait until each is prepared.

        Args:
            prepare: Function of a module, called once in each process with its share. Returns the work.
            shares: The argument of `prepare` in each process.
            environment: Environment variables added to those of this process.

        Raises:
            WrongResultError: A process fails; its traceback is on stderr.
        """
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        with environment_variables(environment or {}):
            for share in shares:
                here, there = context.Pipe()
                process = context.Process(target=_serve, args=(there, prepare, share), daemon=True)
                process.start()
                there.close()
                self._pipes.append(here)
                self._processes.append(process)
        self._answers()

    def work(self) -> list[float]:
        """Let all processes work at once, and return the seconds that each took.

        Raises:
            WrongResultError: A process fails; its traceback is on stderr.
        """
        for pipe in self._pipes:
            pipe.send(True)
        return self._answers()

    def _answers(self) -> list[float]:
        try:
            return [float(pipe.recv()) for pipe in self._pipes]
        except EOFError as error:
            raise WrongResultError("A process exited before its work was done.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()  # at which the processes exit
        for process in self._processes:
            process.join()


def _serve(pipe: Connection, prepare: Callable[[T], Callable[[], None]], share: T) -> None:
    """Prepare, then work on each message, until the other end of the pipe closes."""
    work = prepare(share)
    pipe.send(0.0)
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        start = time.perf_counter()
        work()
        pipe.send(time.perf_counter() - start)
