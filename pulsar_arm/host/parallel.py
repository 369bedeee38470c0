"""Do a work several times side by side, each in a process of its own, with the progress of all of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from typing import TypeVar

from pulsar_arm.errors import HostError
from pulsar_arm.host.progress import Advance

_TICK = 0.1
"""Seconds between two looks at the progress."""
_GIVEN = TypeVar("_GIVEN")
_MADE = TypeVar("_MADE")


def side_by_side(
    work: Callable[[_GIVEN, Advance], _MADE], given: Sequence[_GIVEN], advance: Advance
) -> list[_MADE]:
    """What `work` makes of each of `given`, in their order, by as many processes as there are processors.

    `work`, what it takes and what it makes go through pickle. `advance` is told the sum of what each tells.
    An exception of one ends them all and is raised here; HostError when a process dies.
    """
    fresh = multiprocessing.get_context("spawn")
    done = fresh.Value("q", 0)
    told = 0
    workers = min(len(given), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    with ProcessPoolExecutor(workers, fresh, _begin, (done, sys.getswitchinterval())) as pool:
        waiting = [pool.submit(_work, work, one) for one in given]
        try:
            while wait(waiting, _TICK, FIRST_EXCEPTION).not_done:
                told = _tell(done.value, told, advance)
                for one in waiting:
                    if one.done():
                        one.result()
            _tell(done.value, told, advance)
            return [one.result() for one in waiting]
        except BrokenProcessPool as error:
            raise HostError("A process was ended from outside: free some memory, then run again.") from error
        finally:
            # What an exception or an interrupt leaves running would be waited for.
            if not all(one.done() for one in waiting):
                pool.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    child.terminate()


def _tell(now: int, told: int, advance: Advance) -> int:
    advance(now - told)
    return now


_done: Synchronized[int] | None = None


def _begin(done: Synchronized[int], interval: float) -> None:
    """Set a new process up: Ctrl-C ends it without a word, since the first process tells of it."""
    global _done
    _done = done
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.setswitchinterval(interval)


def _work(work: Callable[[_GIVEN, Advance], _MADE], one: _GIVEN) -> _MADE:
    def advance(count: int) -> None:
        if _done is not None:
            with _done.get_lock():
                _done.value += count

    return work(one, advance)
