"""A container of the local engine, Docker's or podman's, as the place where programs of an image run.

The image is loaded under a name of its own, so that no name of the user's moves, and both the name and the
container are gone at the end. The container has no network but loopback.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shlex
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker.errors import DockerException

from pulsar_arm.errors import HostError
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.oci_archive import write_archive
from pulsar_arm.host.docker_engine import LocalEngine
from pulsar_arm.host.progress import Progress
from pulsar_arm.platforms import Platform

_log = logging.getLogger("pulsar_arm")
_NAME = "pulsar-arm"
_WAIT = ("tail", "-f", "/dev/null")
# The first line tells the process, as the container numbers it, which `stop` ends with all of its group.
_START = 'echo $$; exec "$@"'
# An engine makes what it executes the first of a group. dash takes no `--` here.
_STOP = 'kill -9 "-$1"'


@dataclass(frozen=True, slots=True)
class Container:
    """A machine (see `Machine`) in an engine; made by `container`."""

    description: str
    _engine: LocalEngine
    _id: str
    _logs: Path
    _started: list[_Process] = field(default_factory=list)

    def start(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> _Process:
        """Begin a program as the image's user, in its folder, with its environment and `env`."""
        _log.debug("+ (in the container) %s", shlex.join(argv)[:400])
        api: Any = self._engine.client.api
        words = ["sh", "-c", _START, "sh", *argv]
        with self._engine.told(f"{argv[0]} cannot be started"):
            number = api.exec_create(self._id, words, environment=dict(env or {}))["Id"]
            said = api.exec_start(number, stream=True)
        log = self._logs / f"{len(self._started)}.log"
        log.touch()
        reading = threading.Thread(target=_read, args=(said, log), daemon=True)
        reading.start()
        running = _Process(self._engine, self._id, number, log, reading)
        self._started.append(running)
        return running


@dataclass(frozen=True, slots=True)
class _Process:
    engine: LocalEngine
    container: str
    number: str
    log: Path
    reading: threading.Thread

    def lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()[1:]

    def status(self) -> int | None:
        if self.reading.is_alive():
            return None
        api: Any = self.engine.client.api
        with self.engine.told("A program in the container cannot be looked up"):
            told = api.exec_inspect(self.number)
        return None if told["Running"] else int(told["ExitCode"])

    def stop(self) -> None:
        if self.status() is not None:
            return
        first = self.log.read_text(errors="replace").partition("\n")[0].strip()
        api: Any = self.engine.client.api
        with self.engine.told("A program in the container cannot be stopped"):
            number = api.exec_create(self.container, ["sh", "-c", _STOP, "sh", first])["Id"]
            api.exec_start(number)
        self.reading.join(_PATIENCE)


_PATIENCE = 30
"""Seconds for the log of a program that was killed to end."""


@contextmanager
def container(
    engine: LocalEngine, image: Image, platform: Platform, work: Path, progress: Progress
) -> Iterator[Container]:
    """Hold a container of `image` open; it, and the image, are gone from the engine afterwards.

    `work` has room for an archive of the image. HostError where the engine cannot run the platform.
    """
    reference = f"pulsar-arm-verify:{secrets.token_hex(8)}"
    archive = work / "verified.tar"
    write_archive(image, archive, reference)
    api: Any = engine.client.api
    try:
        engine.load(archive, progress)
        archive.unlink()
        number = ""
        try:
            with engine.told("A container cannot be started"):
                settings = api.create_host_config(
                    network_mode="none", init=True, extra_hosts={_NAME: "127.0.0.1"}
                )
                number = api.create_container(
                    reference,
                    list(_WAIT[1:]),
                    entrypoint=[_WAIT[0]],
                    hostname=_NAME,
                    host_config=settings,
                    platform=platform.oci_platform,
                )["Id"]
                api.start(number)
            _works(engine, number, platform)
            with tempfile.TemporaryDirectory(prefix="pulsar-arm-") as logs:
                place = f"in a container of the engine at {engine.address}"
                yield Container(place, engine, number, Path(logs))
        finally:
            if number:
                with engine.told(f"The container {number[:12]} cannot be removed"):
                    api.remove_container(number, force=True, v=True)
    finally:
        with contextlib.suppress(DockerException):
            api.remove_image(reference, force=False)


def _works(engine: LocalEngine, number: str, platform: Platform) -> None:
    """A container of another platform ends at once where the kernel does not hand its programs to qemu."""
    api: Any = engine.client.api
    with engine.told("The container cannot be looked up"):
        running = api.inspect_container(number)["State"]["Running"]
        said = b"" if running else api.logs(number)
    if not running:
        words = said.decode(errors="replace").strip() or "it ended at once"
        raise HostError(
            f"The engine at {engine.address} does not run {platform.oci_platform}: {words}; as root, run "
            "`apt-get install qemu-user-static binfmt-support`."
        )


def _read(said: Iterator[bytes], log: Path) -> None:
    with log.open("ab") as file, contextlib.suppress(DockerException, OSError, ValueError):
        for piece in said:
            file.write(piece)
            file.flush()
