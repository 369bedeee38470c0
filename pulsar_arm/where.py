"""Where programs of what is verified run: a private root on this machine, or a container of its engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from pulsar_arm.checks import Level
from pulsar_arm.errors import UsageError
from pulsar_arm.host.emulation import Emulator
from pulsar_arm.host.machine import Machine
from pulsar_arm.host.private_root import private_root
from pulsar_arm.host.progress import Progress
from pulsar_arm.verify import Subject

Where = Literal["auto", "engine", "root"]
WHERES: tuple[Where, ...] = get_args(Where)


@contextmanager
def open_machine(
    subject: Subject, level: Level, where: Where, emulator: Emulator | None, progress: Progress
) -> Iterator[Machine | None]:
    """The place in which the subject's programs run; None for the levels that run none.

    `auto` is a private root where this program is root: the tree is unpacked already, and nothing has to be
    loaded. Else it is the engine. All that was started has ended afterwards; HostError where there is no such
    place.
    """
    if emulator is None or level in ("static", "load"):
        yield None
    elif where == "root" or (where == "auto" and os.geteuid() == 0):
        home = f"/{subject.home.relative_to(subject.root)}"
        with private_root(subject.root, emulator, subject.env, subject.user, home) as machine:
            yield machine
    elif subject.image is None:
        raise UsageError(
            f"{subject.name} is no image, so no engine can run it: build an image of it, or run as root with "
            "--where root."
        )
    else:
        from pulsar_arm.host.container import (
            container,
        )  # docker's SDK takes as long to import as all the rest
        from pulsar_arm.host.docker_engine import connect

        with container(connect(), subject.image, emulator.platform, subject.root.parent, progress) as place:
            yield place
