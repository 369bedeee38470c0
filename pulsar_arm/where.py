"""Where programs of what is verified run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pulsar_arm.checks import Level
from pulsar_arm.host.emulation import Emulator
from pulsar_arm.host.machine import Machine
from pulsar_arm.host.private_root import private_root
from pulsar_arm.verify import Subject


@contextmanager
def open_machine(subject: Subject, level: Level, emulator: Emulator | None) -> Iterator[Machine | None]:
    """The place in which the subject's programs run; None for the levels that run none.

    All that was started in it has ended afterwards. HostError where there is no such place.
    """
    if emulator is None or level in ("static", "load"):
        yield None
        return
    home = f"/{subject.home.relative_to(subject.root)}"
    with private_root(subject.root, emulator, subject.env, subject.user, home) as machine:
        yield machine
