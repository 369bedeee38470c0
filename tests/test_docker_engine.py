"""Loading into an engine and taking images from it: one made over HTTP, and the real one where it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from builders_oci import docker_archive, file, image_of
from builders_registry import access, registry

from pulsar_arm.errors import HostError, InputError
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.oci_archive import write_archive
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.formats.reference import read_reference
from pulsar_arm.host.docker_engine import Held, connect
from pulsar_arm.host.progress import Silent
from pulsar_arm.host.registry import Registry
from pulsar_arm.host.registry_push import push
from pulsar_arm.images import fetch
from pulsar_arm.platforms import AARCH64, X86_64
from pulsar_arm.publish import Publisher


@dataclass
class Engine:
    """What the engine has, and says."""

    images: dict[str, Held] = field(default_factory=dict)
    archive: bytes = b""
    """What it saves of any image."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """What it answers to a load."""
    loaded: int = 0
    """Bytes it was given."""


@contextmanager
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that speaks as much of Docker's API as loading, inspecting and saving take."""
    state = Engine()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    server.daemon_threads = True
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_address[1]}")
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    state: Engine

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent."""

    def do_GET(self) -> None:
        name = self.path.partition("/images/")[2].rpartition("/")[0]
        held = self.state.images.get(name)
        if self.path.endswith("/version"):
            self._answer(200, {"ApiVersion": "1.41", "Version": "20.10", "Os": "linux"})
        elif held is None:
            self._answer(404, {"message": f"No such image: {name}"})
        elif self.path.endswith("/get"):
            self._send(200, self.state.archive)
        else:
            system, _, machine = held.platform.partition("/")
            self._answer(200, {"Id": held.digest, "Os": system, "Architecture": machine})

    def do_POST(self) -> None:
        while size := int(self.rfile.readline(), 16):
            self.state.loaded += len(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")  # by which docker's SDK knows a stream
        self.end_headers()
        for row in self.state.rows:
            line = json.dumps(row).encode() + b"\r\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        self._send(status, json.dumps(value).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return image_of(tmp_path / "made", [file("a", b"one" * 9000)])


@pytest.fixture
def archive(tmp_path: Path, image: Image) -> Path:
    write_archive(image, tmp_path / "x.tar", "acme/x:1")
    return tmp_path / "x.tar"


@pytest.fixture
def publish(tmp_path: Path) -> Callable[[Image, Path], None]:
    def load(image: Image, archive: Path) -> None:
        publisher = Publisher(
            ["acme/x:1"], access(tmp_path), Silent(), to_registry=False, to_engine=True, force=False
        )
        publisher.publish("acme/x:1", archive, [image])

    return load


def test_an_archive_is_loaded_and_found_again(
    monkeypatch: pytest.MonkeyPatch, image: Image, archive: Path, publish: Callable[[Image, Path], None]
) -> None:
    with engine(monkeypatch) as state:
        state.images["acme/x:1"] = Held(image.config_digest, "linux/arm64")
        publish(image, archive)
        assert state.loaded == archive.stat().st_size


def test_an_engine_that_names_images_by_their_manifest_is_believed(
    monkeypatch: pytest.MonkeyPatch, image: Image, archive: Path, publish: Callable[[Image, Path], None]
) -> None:
    with engine(monkeypatch) as state:
        state.images["acme/x:1"] = Held(image.digest, "linux/arm64")
        publish(image, archive)


@pytest.mark.parametrize(
    ("held", "says"),
    [
        (None, "has no image as acme/x:1"),
        (Held("CONFIG", "linux/amd64"), "has an image for linux/amd64 as acme/x:1"),
        (Held("sha256:" + "0" * 64, "linux/arm64"), "is sha256:0+ in the engine"),
    ],
)
def test_an_engine_that_has_something_else_afterwards_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
    image: Image,
    archive: Path,
    publish: Callable[[Image, Path], None],
    held: Held | None,
    says: str,
) -> None:
    with engine(monkeypatch) as state:
        if held:
            state.images["acme/x:1"] = Held(held.digest.replace("CONFIG", image.config_digest), held.platform)
        with pytest.raises(HostError, match=says):
            publish(image, archive)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("write /layer.tar: no space left on device", "has no space left: docker system df"),
        ("invalid tar header", "cannot be loaded by the engine at tcp://.*: invalid tar header"),
    ],
)
def test_what_an_engine_complains_of_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    image: Image,
    archive: Path,
    publish: Callable[[Image, Path], None],
    words: str,
    says: str,
) -> None:
    with engine(monkeypatch) as state:
        state.rows = [{"stream": "Loading"}, {"errorDetail": {"message": words}, "error": words}]
        with pytest.raises(HostError, match=says) as caught:
            publish(image, archive)
        assert str(caught.value).endswith(".")


def test_without_an_engine_the_socket_that_was_tried_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for address, reason in (("tcp://127.0.0.1:9", "Connection refused"), ("unix:///no/such", "No such file")):
        monkeypatch.setenv("DOCKER_HOST", address)
        with pytest.raises(HostError, match=f"{address}: {reason}.*start it"):
            connect()


def take(tmp_path: Path, name: str, *, both: bool = False) -> Path:
    platforms = (AARCH64, X86_64) if both else (AARCH64,)
    return fetch(name, platforms, tmp_path / "cache", access(tmp_path), Silent())


def test_an_image_of_the_engine_is_saved_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: Image
) -> None:
    docker_archive(tmp_path / "saved.tar", image)
    with engine(monkeypatch) as state:
        state.images["acme/x:1"] = Held(image.config_digest, "linux/arm64")
        state.archive = (tmp_path / "saved.tar").read_bytes()
        path = take(tmp_path, "acme/x:1")
        assert read_image(path, AARCH64).config == image.config
        state.archive = b""
        assert take(tmp_path, "docker-daemon:acme/x:1") == path
        state.images["acme/x:1"], state.archive = Held("sha256:" + "1" * 64, "linux/arm64"), b"newer"
        assert take(tmp_path, "acme/x:1").read_bytes() == b"newer"
        assert not path.exists()


def test_what_the_engine_lacks_or_has_for_another_platform_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: Image
) -> None:
    with engine(monkeypatch) as state:
        with pytest.raises(InputError, match="has no image acme/x:1: docker image ls"):
            take(tmp_path, "docker-daemon:acme/x:1")
        state.images["acme/x:1"] = Held(image.config_digest, "linux/amd64")
        with pytest.raises(InputError, match="is for linux/amd64, but linux/arm64 is needed"):
            take(tmp_path, "docker-daemon:acme/x:1")
        state.archive = b"saved"
        assert take(tmp_path, "docker-daemon:acme/x:1", both=True).read_bytes() == b"saved"


def test_the_registry_is_asked_where_the_engine_lacks_the_image_or_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: Image
) -> None:
    with registry() as peer, engine(monkeypatch) as state:
        remote = Registry(peer.host, access(tmp_path), Silent())
        reference = read_reference(f"{peer.host}/x:1")
        push([image], reference, remote, Silent())
        name = str(reference)
        assert read_image(take(tmp_path, name), AARCH64) == image
        state.images[name], state.archive = Held(image.config_digest, "linux/arm64"), b"the engine's"
        assert read_image(take(tmp_path, f"docker://{name}"), AARCH64) == image
        assert take(tmp_path, name).read_bytes() == b"the engine's"
        state.images[name] = Held(image.config_digest, "linux/amd64")
        assert read_image(take(tmp_path, name), AARCH64) == image
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
        assert read_image(take(tmp_path, name), AARCH64) == image


def test_the_real_engine_takes_what_is_built_and_gives_it_back(tmp_path: Path, image: Image) -> None:
    try:
        real = connect()
    except HostError as error:
        pytest.skip(str(error))
    name = f"pulsar-arm/test-{image.config_digest[-12:]}:1"
    write_archive(image, tmp_path / "x.tar", name)
    try:
        publisher = Publisher(
            [name], access(tmp_path), Silent(), to_registry=False, to_engine=True, force=False
        )
        publisher.publish(name, tmp_path / "x.tar", [image])
        assert read_image(take(tmp_path, f"docker-daemon:{name}"), AARCH64).platform == "linux/arm64"
    finally:
        real.client.images.remove(name)
