"""Talk to the container engine of this machine, Docker's or podman's compatible socket, by docker's SDK."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound

from pulsar_arm.errors import HostError
from pulsar_arm.host.files import whole_file
from pulsar_arm.host.progress import Advance, Progress

_PIECE = 1 << 20
_SILENCE = 600
"""Seconds: an engine that takes in a large layer says nothing for minutes."""
_NO_SPACE = ("no space left on device", "disk quota exceeded")


@dataclass(frozen=True, slots=True)
class Held:
    """An image that the engine has."""

    digest: str
    """What the engine calls its ID: the config's digest, or the manifest's with containerd's image store."""
    platform: str
    """`os/architecture`."""


class LocalEngine:
    """The engine behind one socket; every failure is a HostError."""

    def __init__(self, client: docker.DockerClient, address: str) -> None:
        """Speak to the engine through `client`, which has been tried."""
        self.client = client
        """For what this class does not wrap, such as containers."""
        self.address = address
        self._api: Any = client.api

    def load(self, archive: Path, progress: Progress) -> None:
        """Take in the images of an OCI or `docker save` archive, under the names they have there."""
        total = archive.stat().st_size
        with (
            self.told(f"{archive} cannot be loaded"),
            archive.open("rb") as file,
            progress.task(f"Loading {archive.name} into the engine", total) as advance,
        ):
            for row in self._api.load_image(_pieces(file, advance), quiet=False):
                if reason := _error(row):
                    raise DockerException(reason)

    def inspect(self, name: str) -> Held | None:
        """The image that the engine knows as `name`, None where it knows none."""
        with self.told(f"{name} cannot be looked up"):
            try:
                told = self._api.inspect_image(name)
            except NotFound:
                return None
        digest = str(told.get("Id", ""))
        return Held(
            digest if digest.startswith("sha256:") else f"sha256:{digest}",
            f"{told.get('Os', '')}/{told.get('Architecture', '')}",
        )

    def save(self, name: str, path: Path, progress: Progress) -> None:
        """Write the image `name` to `path` as `docker save` does; the file appears whole or not at all."""
        with (
            self.told(f"{name} cannot be saved"),
            whole_file(path, force=True) as place,
            place.open("wb") as file,
            progress.task(f"Saving {name} from the engine", None) as advance,
        ):
            for piece in self._api.get_image(name, _PIECE):
                file.write(piece)
                advance(len(piece))

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Turn what the engine or the way to it says into one sentence that begins with `what`."""
        try:
            yield
        except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            reason = _reason(error)
            if any(words in reason for words in _NO_SPACE):
                raise HostError(
                    f"{what}: the engine at {self.address} has no space left: docker system df tells what "
                    "fills it, docker system prune makes room."
                ) from error
            raise HostError(
                f"{what} by the engine at {self.address}: {reason}; docker info tells how it is."
            ) from error


def connect() -> LocalEngine:
    """The engine that DOCKER_HOST names, else the first at the usual sockets; HostError says what was tried.

    The usual ones are Docker's, Docker's without root, and podman's (with and without root).
    """
    told, reasons = os.environ.get("DOCKER_HOST", ""), []
    for address in (told,) if told else _usual():
        try:
            client = docker.DockerClient(base_url=address, version="auto", timeout=_SILENCE)
            return LocalEngine(client, address)
        except (DockerException, requests.RequestException) as error:
            reasons.append(f"{address}: {_reason(error)}")
    if not reasons:
        raise HostError(
            "There is no container engine here: install docker.io or podman and start it, or name one in "
            "DOCKER_HOST."
        )
    raise HostError(
        f"No container engine answers ({'; '.join(reasons)}): start it (systemctl start docker), or join the "
        "group that may use its socket."
    )


def _usual() -> list[str]:
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    sockets = (
        Path("/var/run/docker.sock"),
        runtime / "docker.sock",
        runtime / "podman" / "podman.sock",
        Path("/run/podman/podman.sock"),
    )
    return [f"unix://{socket}" for socket in sockets if socket.exists()]


def _pieces(file: IO[bytes], advance: Advance) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece
        advance(len(piece))


def _error(row: Any) -> str:
    """What a row of the engine's stream complains of."""
    if not isinstance(row, dict):
        return ""
    detail = row.get("errorDetail")
    return str(row.get("error") or (detail.get("message") if isinstance(detail, dict) else "") or "")


def _reason(error: BaseException) -> str:
    """The engine's own words, or the innermost of the way to it."""
    if isinstance(error, APIError):
        return str(error.explanation or error).strip().rstrip(".")
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        reason = next((one for one in inner.args if isinstance(one, BaseException)), None)
        inner = inner.__cause__ or inner.__context__ or reason
    return str(error).strip().rstrip(".")
