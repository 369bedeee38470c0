from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pulsar_arm.boot import boot
from pulsar_arm.checks import Check
from pulsar_arm.host.progress import Silent
from pulsar_arm.inside import sql
from pulsar_arm.patience import Patience

READY = "12:00:00 INFO  messaging service is ready\n"
ROCKS = "java.io.IOException: Failed to load RocksDB JNI library\n"


@dataclass
class Told:
    """A program with what it was made to say; a status of None means that it goes on."""

    text: str
    code: int | None = 0
    stopped: bool = False

    def lines(self) -> list[str]:
        return self.text.splitlines()

    def status(self) -> int | None:
        return self.code

    def stop(self) -> None:
        self.stopped = True


@dataclass
class Made:
    """A machine whose programs say what stands beside the word that their command holds."""

    server: Told
    says: dict[str, Told] = field(default_factory=dict)
    started: list[tuple[Sequence[str], Mapping[str, str], Told]] = field(default_factory=list)
    description: str = "on a made machine"

    def start(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Told:
        usual = {
            "standalone": self.server,
            "produce": Told("1 messages successfully produced\n"),
            "consume": Told("Subscribed to topic on x\ncontent:hello-from-pulsar-arm\n"),
            "bookiesanity": Told("Bookie sanity test succeeded\n"),
            "sql-worker": Told("======== SERVER STARTED ========\n", None),
            "select 1": Told("[1]\n"),
        }
        told = next((one for word, one in {**usual, **self.says}.items() if word in argv), Told(""))
        self.started.append((argv, env or {}, told))
        return told

    def written(self) -> dict[str, str]:
        """The files that were written in it."""
        return {argv[-2]: argv[-1] for argv, _env, _told in self.started if argv[0] == "sh"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "standalone.conf").write_text("# a comment\nzookeeperServers=\nbrokerShutdownTimeoutMs=60000\n")
    (conf / "bookkeeper.conf").write_text("bookiePort=3181\nallowLoopback=false\nzkServers=elsewhere:2181\n")
    return tmp_path


def booted(machine: Made, home: Path, timeout: float = 0, emulated: bool = True) -> list[Check]:
    return list(boot(machine, home, Patience(emulated), timeout, Silent()))


def test_a_server_without_sql_is_used_and_stopped(home: Path) -> None:
    machine = Made(Told(READY, None))
    checks = booted(machine, home)
    assert [(check.subject, check.outcome) for check in checks] == [
        ("standalone", "passed"),
        ("message", "passed"),
        ("bookie", "passed"),
    ]
    assert checks[1].evidence == "on a made machine: a message was produced and consumed (0 s)"
    assert all(told.stopped for argv, _env, told in machine.started if "shell" not in argv)


def test_a_bookie_that_has_a_name_is_asked_by_it(home: Path) -> None:
    named = f"Update BookieInfoCache (writable bookie) bk0test -> BookieServiceInfo\n{READY}"
    addressed = f"Update BookieInfoCache (writable bookie) 127.0.0.1:3181 -> BookieServiceInfo\n{READY}"
    written = []
    for log in (named, addressed):
        machine = Made(Told(log, None))
        booted(machine, home)
        written.append("bookieId=bk0test" in machine.written()["bookkeeper.conf"])
    assert written == [True, False]


def test_a_release_with_sql_is_asked(home: Path) -> None:
    (home / "conf/presto").mkdir()
    (home / "conf/presto/jvm.config").write_text("-server\n-Xmx16G\n-XX:+UseG1GC\n")
    machine = Made(Told(READY, None))
    assert "a worker started and answered `select 1` with [1]" in booted(machine, home)[-1].evidence
    assert machine.written()["jvm.config"].split() == [
        *("-server", "-Xmx1G", "-XX:+UseG1GC", "-XX:TieredStopAtLevel=1"),
    ]
    assert all(told.stopped for argv, _env, told in machine.started if "sql-worker" in argv)


def test_a_server_that_ends_is_explained_by_its_log(home: Path) -> None:
    noise = "".join(f"12:00:{second} INFO  line {second}\n" for second in range(30))
    (check,) = booted(Made(Told(f"{noise}{ROCKS}{noise}", 1)), home)
    first, *lines = check.evidence.splitlines()
    assert check.outcome == "failed"
    assert first == "bin/pulsar standalone ended with status 1 after 0 s"
    assert ROCKS.strip() in lines
    assert lines[-1].startswith("the rocksdbjni jar holds no library for this machine")
    assert len(lines) <= 11


def test_a_server_that_hangs_is_stopped_when_the_time_is_over(home: Path) -> None:
    server = Told("starting\n", None)
    (check,) = booted(Made(server), home)
    assert check.evidence.splitlines()[0] == (
        "bin/pulsar standalone did not say `messaging service is ready` within 0 s"
    )
    assert server.stopped


@pytest.mark.parametrize("word", ["produce", "consume", "bookiesanity", "sql-worker", "select 1"])
def test_a_step_that_fails_ends_the_level_and_the_server(home: Path, word: str) -> None:
    (home / "conf/presto").mkdir()
    (home / "conf/presto/jvm.config").write_text("-server\n")
    server = Told(READY, None)
    machine = Made(server, {word: Told("12:00 ERROR it broke\n", 1)})
    last = booted(machine, home)[-1]
    assert last.outcome == "failed"
    assert server.stopped
    assert all(told.stopped for argv, _env, told in machine.started if argv[0] == "bin/pulsar-client")


def test_an_interruption_stops_the_server(home: Path) -> None:
    server = Told(READY, None)
    checks = boot(Made(server), home, Patience(True), 0, Silent())
    assert isinstance(checks, Iterator)
    next(checks)
    checks.close()  # type: ignore[attr-defined]
    assert server.stopped


def test_time_outs_are_raised_where_all_is_slow_and_only_there(home: Path) -> None:
    slow, real = Made(Told(READY, None)), Made(Told(READY, None))
    booted(slow, home)
    booted(real, home, emulated=False)
    told = slow.written()
    assert "brokerShutdownTimeoutMs=1000" in told["standalone.conf"].splitlines()
    assert "brokerShutdownTimeoutMs=60000" not in told["standalone.conf"]
    assert real.written()["standalone.conf"] == "zookeeperServers=\nbrokerShutdownTimeoutMs=60000\n"
    for machine in (slow, real):
        settings = machine.written()["bookkeeper.conf"].splitlines()
        assert {"bookiePort=3181", "zkServers=127.0.0.1:2181", "allowLoopback=true"} <= set(settings)
        assert "allowLoopback=false" not in settings
    assert "-XX:TieredStopAtLevel=1" in next(
        env["PULSAR_GC"] for argv, env, _told in slow.started if "standalone" in argv
    )
    assert not any("PULSAR_GC" in env for _argv, env, _told in real.started)
    assert "--no-functions-worker" in next(argv for argv, _env, _told in slow.started if "standalone" in argv)
    assert ("bin/pulsar", "standalone") in [argv for argv, _env, _told in real.started]


class Worker(BaseHTTPRequestHandler):
    """A Presto that has no nodes at first, and gives its answer on a second page."""

    asked: int = 0

    def do_POST(self) -> None:
        assert self.headers["X-Presto-User"] == self.headers["X-Trino-User"] == "pulsar-arm"
        type(self).asked += 1
        here = f"http://127.0.0.1:{self.server.server_address[1]}/2"
        self.answer({"nextUri": here} if self.asked > 1 else {"error": {"message": "No nodes available"}})

    def do_GET(self) -> None:
        self.answer({"data": [[1]]})

    def answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


def test_the_worker_is_asked_until_it_answers(capsys: Any) -> None:
    server = HTTPServer(("127.0.0.1", 0), Worker)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        assert sql.main("select 1", "60", f"http://127.0.0.1:{server.server_address[1]}") == 0
    finally:
        server.shutdown()
        server.server_close()
    assert capsys.readouterr().out == "[1]\n"


def test_a_worker_that_is_not_there_is_said() -> None:
    words = [sys.executable, sql.__file__, "select 1", "0", "http://127.0.0.1:1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "refused" in done.stdout
