"""Cells of a suite in several processes. A process that dies takes one cell with it, and that cell can go on later."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from synoptic.experiment.comparison.matrix import Job, Observer, perform
from synoptic.experiment.events import Event

LOOK = 0.2
"""Seconds between looks at what workers tell."""

TOLD = ("run_started", "round", "evaluated", "failure", "round_failed")
"""Events that cross from a worker."""


def in_processes(waiting: Sequence[Job], jobs: int, tell: Observer) -> Iterator[tuple[Job, Path | str]]:
    """Results as they come, from ``jobs`` processes that each keep the base they have loaded."""
    context = multiprocessing.get_context("spawn")
    with _deaf():
        manager = context.Manager()
    with manager:
        told = manager.Queue()
        pool = ProcessPoolExecutor(jobs, mp_context=context)
        try:
            with _deaf():
                futures: dict[Future[Path | str], Job] = {pool.submit(_work, job, told): job for job in waiting}
            while futures:
                done, _ = wait(futures, timeout=LOOK, return_when=FIRST_COMPLETED)
                _pass_on(told, tell)
                for future in done:
                    yield futures.pop(future), _result(future)
        except BaseException:
            # Rounds are saved one by one, so a worker may be ended at any moment.
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that start meanwhile never hear Ctrl-C, which reaches the whole group; their parent decides."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(job: Job, told: Any) -> Path | str:
    told.put({"type": "cell", "cell": job.number, "status": "running"})
    return perform(job, [partial(_send, told, job.number)])


def _send(told: Any, number: int, event: Event) -> None:
    if event["type"] in TOLD:
        told.put({"type": "cell_event", "cell": number, "event": event})


def _result(future: Future[Path | str]) -> Path | str:
    try:
        return future.result()
    except BrokenProcessPool:
        return "its process died; look at memory, then compare again to go on with it"


def _pass_on(told: Any, tell: Observer) -> None:
    while True:
        try:
            event = told.get_nowait()
        except queue.Empty:
            return
        tell(event)
