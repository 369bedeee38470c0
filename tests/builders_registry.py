"""A registry on 127.0.0.1 that keeps everything in memory: the distribution-spec's requests, TLS, logins,
token server, upload sessions and mounts, with faults to switch on. It refuses what real ones refuse.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import ssl
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pulsar_arm.host.registry import Access
from pulsar_arm.host.web import Patience

NAME = r"(?P<name>[a-z0-9/._-]+?)"
_QUICK = Patience(attempts=3, pause=0.01, connect=10, read=10)
USER, PASSWORD, IDENTITY = "user", "pass:word", "identity"


@dataclass
class Faults:
    """What goes wrong; lists are used up one by one."""

    cut_uploads: list[int] = field(default_factory=list)
    """Close the connection after so many bytes of an upload, keeping them."""
    forget_uploads: bool = False
    """A cut upload is unknown afterwards, as after a restart."""
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """Answer `METHOD` with these instead, before anything else."""
    message: str = "broken"
    """The words of such an answer."""
    no_mounts: bool = False
    lost_answers: int = 0
    """Take in so many finished uploads without an answer."""
    rewrite: bytes = b""
    """Give this instead of any manifest that is asked for by tag."""
    expire: int = 0
    """Refuse the tokens given so far when so many requests have come."""


@dataclass
class Peer:
    """The registry: what it keeps, whom it lets in, what it was asked."""

    host: str = ""
    auth: str = ""
    """Empty, `basic` or `bearer`."""
    read_only: bool = False
    tls: bool = False
    faults: Faults = field(default_factory=Faults)
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    tokens: dict[str, set[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """`METHOD path` of each request."""
    received: int = 0
    """Bytes of blobs that came in."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def count(self, method: str, part: str = "") -> int:
        return sum(one.startswith(f"{method} ") and part in one for one in self.asked)

    def tag(self, name: str, tag: str) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.manifests[name, tag][1])
        return parsed


@contextmanager
def registry(certificate: Path | None = None, **settings: Any) -> Iterator[Peer]:
    """A registry that serves while the block runs; over TLS with a certificate made by `make_certificate`."""
    peer = Peer(**settings)
    server = _Quiet(("127.0.0.1", 0), type("Handler", (_Handler,), {"peer": peer}))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_name("key.pem"))
        server.context = context
        peer.tls = True
    peer.host = (
        f"localhost:{server.server_address[1]}" if certificate else f"127.0.0.1:{server.server_address[1]}"
    )
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_certificate(folder: Path) -> Path:
    """A certificate for localhost that nobody signed, `cert.pem` beside `key.pem`."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("openssl is not installed, and makes the certificate")
    path = folder / "cert.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(path)]
    subprocess.run([openssl, *words.split(), *names, *files], check=True, capture_output=True, timeout=60)
    return path


def docker_config(folder: Path, host: str, *, user: str = USER, password: str = PASSWORD) -> Path:
    """A config.json as `docker login` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {host: {"auth": encoded}}}))
    return path


def access(tmp_path: Path, peer: Peer | None = None, **settings: object) -> Access:
    """Ways to registries that know nothing of the user's; with the login of `peer` if one is given."""
    config = tmp_path / "docker" / "config.json"
    if peer and not config.exists():
        docker_config(config.parent, peer.host)
    defaults = {"config": config, "certificates": tmp_path / "certs.d", "patience": _QUICK}
    return Access(**{**defaults, **settings})  # type: ignore[arg-type]


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """TLS in the connection's own thread: a handshake that fails must stop nobody else."""
        if self.context:
            request.settimeout(30)
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True
    peer: Peer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent."""

    def _serve(self) -> None:
        peer, method = self.peer, self.command
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        with peer.lock:
            peer.asked.append(f"{method} {self.path}")
            planned = peer.faults.statuses.get(method) or [0]
            fault = planned.pop(0) if planned[0] or len(planned) > 1 else 0
        if fault:
            self._drain()
            return self._refuse(fault, "UNKNOWN", peer.faults.message)
        if parts.path == "/token":
            return self._token(query)
        if not self._allowed(parts.path):
            self._drain()
            return self._demand(parts.path)
        if parts.path == "/v2/":
            return self._answer(200)
        for pattern, methods in (
            (rf"/v2/{NAME}/blobs/uploads/", {"POST": self._begin}),
            (
                rf"/v2/{NAME}/blobs/uploads/(?P<id>[^/]+)",
                {"GET": self._status, "PATCH": self._patch, "PUT": self._finish, "DELETE": self._forget},
            ),
            (rf"/v2/{NAME}/blobs/(?P<digest>sha256:[0-9a-f]+)", {"HEAD": self._blob, "GET": self._blob}),
            (
                rf"/v2/{NAME}/manifests/(?P<point>[^/]+)",
                {"HEAD": self._manifest, "GET": self._manifest, "PUT": self._put_manifest},
            ),
        ):
            match = re.fullmatch(pattern, parts.path)
            if match and method in methods:
                return methods[method](query=query, **match.groupdict())
        self._drain()
        return self._refuse(404, "UNSUPPORTED", "no such endpoint")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

    # Logins

    def _allowed(self, path: str) -> bool:
        given = self.headers.get("Authorization", "")
        peer = self.peer
        if not peer.auth:
            return True
        if peer.auth == "basic":
            return given == _basic(USER, PASSWORD)
        with peer.lock:
            if peer.faults.expire and len(peer.asked) >= peer.faults.expire:
                peer.tokens.clear()
                peer.faults.expire = 0
            scopes = peer.tokens.get(given.removeprefix("Bearer "))
        if scopes is None:
            return False
        match = re.match(rf"/v2/{NAME}/(?:blobs|manifests)/", path)
        return not match or f"{match['name']}:{self._need()}" in scopes

    def _need(self) -> str:
        return "pull" if self.command in ("GET", "HEAD") else "push"

    def _demand(self, path: str) -> None:
        if self.peer.auth == "basic":
            return self._refuse(401, "UNAUTHORIZED", "log in", {"WWW-Authenticate": 'Basic realm="r"'})
        match = re.match(rf"/v2/{NAME}/(?:blobs|manifests)/", path)
        scope = f',scope="repository:{match["name"]}:{self._need()}"' if match else ""
        scheme = "https" if self.peer.tls else "http"
        realm = f'Bearer realm="{scheme}://{self.peer.host}/token",service="made"{scope}'
        return self._refuse(401, "UNAUTHORIZED", "get a token", {"WWW-Authenticate": realm})

    def _token(self, query: dict[str, str]) -> None:
        wanted = parse_qs(urlsplit(self.path).query).get("scope", [])
        if self.command == "POST":
            form = {key: values[0] for key, values in parse_qs(self._body().decode()).items()}
            if (form.get("grant_type"), form.get("refresh_token")) != ("refresh_token", IDENTITY):
                return self._refuse(401, "UNAUTHORIZED", "no such identity")
            wanted, service = form.get("scope", "").split(), form.get("service")
        else:
            service = query.get("service")
            if self.headers.get("Authorization") != _basic(USER, PASSWORD):
                return self._refuse(401, "UNAUTHORIZED", "no such user")
        if service != "made":
            return self._refuse(400, "UNKNOWN", "another service")
        granted = set()
        for scope in wanted:
            _kind, name, actions = scope.split(":")
            granted |= {f"{name}:{one}" for one in actions.split(",")}
        if self.peer.read_only:
            granted = {one for one in granted if one.endswith(":pull")}
        token = uuid.uuid4().hex
        self.peer.tokens[token] = granted
        return self._answer(200, json.dumps({"token": token, "expires_in": 60}).encode())

    # Blobs

    def _blob(self, name: str, digest: str, query: dict[str, str]) -> None:
        content = self.peer.blobs.get((name, digest))
        if content is None:
            return self._refuse(404, "BLOB_UNKNOWN", "blob unknown to registry")
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        return self._answer(200, content, headers)

    def _begin(self, name: str, query: dict[str, str]) -> None:
        self._drain()
        peer = self.peer
        source = (query.get("from", ""), query.get("mount", ""))
        if source in peer.blobs and not peer.faults.no_mounts:
            peer.blobs[name, source[1]] = peer.blobs[source]
            return self._answer(201, headers={"Location": f"/v2/{name}/blobs/{source[1]}"})
        session = uuid.uuid4().hex
        peer.uploads[session] = bytearray()
        return self._session(202, name, session)

    def _status(self, name: str, id: str, query: dict[str, str]) -> None:  # noqa: A002
        if id not in self.peer.uploads:
            return self._refuse(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown")
        return self._session(204, name, id)

    def _forget(self, name: str, id: str, query: dict[str, str]) -> None:  # noqa: A002
        self.peer.uploads.pop(id, None)
        return self._answer(204)

    def _patch(self, name: str, id: str, query: dict[str, str]) -> None:  # noqa: A002
        upload = self.peer.uploads.get(id)
        if upload is None:
            self._drain()
            return self._refuse(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown")
        told = re.fullmatch(r"(\d+)-(\d+)", self.headers.get("Content-Range", ""))
        if told and int(told[1]) != len(upload):
            self._drain()
            return self._refuse(416, "RANGE_INVALID", "out of order")
        if upload and not told:
            self._drain()
            return self._refuse(400, "BLOB_UPLOAD_INVALID", "where does this belong?")
        with self.peer.lock:
            cuts = self.peer.faults.cut_uploads
            cut = cuts.pop(0) if cuts and cuts[0] < self._length() else None
        if cut is not None:
            upload += self.rfile.read(cut)
            self.peer.received += cut
            if self.peer.faults.forget_uploads:
                self.peer.uploads.pop(id)
            self.close_connection = True
            return None
        body = self._body()
        upload += body
        self.peer.received += len(body)
        return self._session(202, name, id)

    def _finish(self, name: str, id: str, query: dict[str, str]) -> None:  # noqa: A002
        body = self._body()
        upload = self.peer.uploads.get(id)
        if upload is None:
            return self._refuse(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown")
        upload += body
        if _digest(upload) != query.get("digest"):
            return self._refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.peer.blobs[name, query["digest"]] = bytes(self.peer.uploads.pop(id))
        with self.peer.lock:
            lost = self.peer.faults.lost_answers > 0
            self.peer.faults.lost_answers -= lost
        if lost:
            self.close_connection = True
            return None
        return self._answer(201, headers={"Location": f"/v2/{name}/blobs/{query['digest']}"})

    # Manifests

    def _manifest(self, name: str, point: str, query: dict[str, str]) -> None:
        found = self.peer.manifests.get((name, point))
        if found is None:
            known = any(one == name for one, _ in (*self.peer.manifests, *self.peer.blobs))
            code = "MANIFEST_UNKNOWN" if known else "NAME_UNKNOWN"
            return self._refuse(404, code, "not known to registry")
        media_type, content = found
        if self.peer.faults.rewrite and not point.startswith("sha256:"):
            content = self.peer.faults.rewrite
        headers = {"Content-Type": media_type, "Docker-Content-Digest": _digest(content)}
        return self._answer(200, content, headers)

    def _put_manifest(self, name: str, point: str, query: dict[str, str]) -> None:
        content = self._body()
        manifest = json.loads(content)
        lacking = [
            row["digest"]
            for row in manifest.get("manifests", ())
            if (name, row["digest"]) not in self.peer.manifests
        ]
        blobs = [manifest["config"], *manifest["layers"]] if "config" in manifest else []
        lacking += [row["digest"] for row in blobs if (name, row["digest"]) not in self.peer.blobs]
        if lacking or (point.startswith("sha256:") and point != _digest(content)):
            return self._refuse(400, "MANIFEST_BLOB_UNKNOWN", f"lacks {lacking}")
        for key in (point, _digest(content)):
            self.peer.manifests[name, key] = (self.headers.get("Content-Type", ""), content)
        return self._answer(201, headers={"Docker-Content-Digest": _digest(content)})

    # HTTP

    def _session(self, status: int, name: str, session: str) -> None:
        arrived = len(self.peer.uploads[session])
        place = f"/v2/{name}/blobs/uploads/{session}?_state=kept"
        self._answer(status, headers={"Location": place, "Range": f"0-{max(0, arrived - 1)}"})

    def _length(self) -> int:
        return int(self.headers.get("Content-Length", "0"))

    def _body(self) -> bytes:
        return self.rfile.read(self._length())

    def _drain(self) -> None:
        self._body()

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self._answer(status, body, {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        with suppress(ConnectionError):
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)


def _digest(content: bytes | bytearray) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
