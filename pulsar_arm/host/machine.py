"""A place where programs of an image run: a private root on this machine, or a container of an engine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

_POLL = 0.2
"""Seconds between two looks at a log."""


class Running(Protocol):
    """A program that was started; its stdout and stderr are one log."""

    def lines(self) -> list[str]:
        """What it has said so far."""
        ...

    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        ...

    def stop(self) -> None:
        """End it at once, and wait until it is gone; nothing when it has ended."""
        ...


class Machine(Protocol):
    """The seam: all that is started in it ends with it."""

    @property
    def description(self) -> str:
        """For reports: `in a private root under qemu-aarch64-static`."""
        ...

    def start(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Running:
        """Begin a program as the image's user, in its folder, with its environment and `env`."""
        ...


@dataclass(frozen=True, slots=True)
class Finished:
    """What came of a program."""

    status: int | None
    """Its exit status; None when the time was over first."""
    lines: list[str]
    seconds: float


def run(
    machine: Machine, argv: Sequence[str], timeout: float, env: Mapping[str, str] | None = None
) -> Finished:
    """Run a program to its end, or stop it after `timeout` seconds."""
    began = time.monotonic()
    running = machine.start(argv, env)
    try:
        while running.status() is None and time.monotonic() - began < timeout:
            time.sleep(_POLL)
        status = running.status()
    finally:
        running.stop()
    return Finished(status, running.lines(), time.monotonic() - began)
