"""A Maven repository and a proxy, both real HTTP servers on 127.0.0.1, with faults to switch on."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import re
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Faults:
    """What goes wrong for files (never for checksums); each list entry is used up by one GET."""

    cuts: list[int] = field(default_factory=list)
    """Close the connection after so many bytes of the body."""
    statuses: list[int] = field(default_factory=list)
    """Answer with this status instead."""
    retry_after: str = ""
    ranges: bool = True
    etag: str = ""
    chunked: bool = False
    lengthless: bool = False
    """End the body by closing the connection, as HTTP/1.0 did."""
    encoding: str = ""
    """A Content-Encoding that is claimed."""
    delay: float = 0.0
    """Seconds before each answer."""
    login: tuple[str, str] | None = None
    redirect: str = ""
    """Send every request for a file to this base URL."""


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Server:
    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    asked: list[Asked] = field(default_factory=list)

    def publish(self, path: str, content: bytes, sha1: str | None = "") -> None:
        """Put a file there; `sha1` is computed unless given, None publishes none."""
        self.files[path] = content
        if sha1 is not None:
            self.files[f"{path}.sha1"] = (sha1 or hashlib.sha1(content).hexdigest()).encode()

    def gets(self, path: str) -> list[Asked]:
        return [one for one in self.asked if one.method == "GET" and one.path == f"/{path}"]


@contextmanager
def maven_server() -> Iterator[Server]:
    """A repository without any artifact yet."""
    with _serve(_Files) as (address, state):
        server = Server(address)
        state.append(server)
        yield server


@contextmanager
def proxy_server() -> Iterator[Server]:
    """A forwarding HTTP proxy; `asked` has the absolute URLs as paths."""
    with _serve(_Forward) as (address, state):
        server = Server(address)
        state.append(server)
        yield server


def zip_bytes(entries: Mapping[str, bytes]) -> bytes:
    """A zip of these entries, in this order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


@contextmanager
def _serve(kind: type[BaseHTTPRequestHandler]) -> Iterator[tuple[str, list[Server]]]:
    state: list[Server] = []
    httpd = _Quiet(("127.0.0.1", 0), type("Handler", (kind,), {"state": state}))
    thread = threading.Thread(target=lambda: httpd.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_address[1]}", state
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: list[Server]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent."""

    @property
    def server_state(self) -> Server:
        return self.state[0]

    def note(self) -> None:
        self.server_state.asked.append(Asked(self.command, self.path, dict(self.headers.items())))

    def refuse(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()


class _Files(_Handler):
    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.note()
        faults = self.server_state.faults
        name = self.path.removeprefix("/")
        body = self.server_state.files.get(name)
        if faults.login:
            wanted = "Basic " + base64.b64encode(":".join(faults.login).encode()).decode()
            if self.headers.get("Authorization") != wanted:
                return self.refuse(401, WWW_Authenticate='Basic realm="x"')
        if faults.redirect:
            return self.refuse(302, Location=f"{faults.redirect}{self.path}")
        if name.endswith(".sha1"):
            return self.refuse(404) if body is None else self.answer(body, Faults())
        time.sleep(faults.delay)
        if faults.statuses:
            return self.refuse(
                faults.statuses.pop(0), **({"Retry_After": faults.retry_after} if faults.retry_after else {})
            )
        return self.refuse(404) if body is None else self.answer(body, faults)

    def answer(self, body: bytes, faults: Faults) -> None:
        start, end = 0, len(body)
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        fits = self.headers.get("If-Range", faults.etag) == faults.etag
        if asked and faults.ranges and fits:
            if asked[1]:
                start, end = int(asked[1]), min(int(asked[2]) + 1, len(body)) if asked[2] else len(body)
            else:
                start = max(0, len(body) - int(asked[2]))
            if start >= len(body):
                return self.refuse(416, Content_Range=f"bytes */{len(body)}")
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
        else:
            self.send_response(200)
        if faults.etag:
            self.send_header("ETag", faults.etag)
        if faults.encoding:
            self.send_header("Content-Encoding", faults.encoding)
        part = body[start:end]
        if faults.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif faults.lengthless:
            self.close_connection = True
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "HEAD":
            return None
        cut = faults.cuts.pop(0) if faults.cuts else None
        sent = part if cut is None else part[:cut]
        with suppress(ConnectionError):
            if faults.chunked:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(sent), sent) + (b"0\r\n\r\n" if cut is None else b""))
            else:
                self.wfile.write(sent)
        if cut is not None:
            self.close_connection = True
        return None


class _Forward(_Handler):
    def do_GET(self) -> None:
        self.note()
        parts = urlsplit(self.path)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        headers = {k: v for k, v in self.headers.items() if k not in ("Proxy-Authorization", "Connection")}
        connection.request("GET", parts.path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        self.send_response(response.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
