"""Level `boot`: start the server in the image, and have it do what it is for.

A standalone server comes up; a message goes through it; its bookie passes BookKeeper's sanity test; and where
the release has SQL, a worker starts and answers. Each step is a check with its seconds. A step that fails
ends the level: its evidence are the lines of the log that matter and, where it is known, what they mean.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pulsar_arm import inside
from pulsar_arm.checks import Check
from pulsar_arm.diagnosis import diagnose, known_diagnoses, telling_lines
from pulsar_arm.host.machine import Machine, Running, run
from pulsar_arm.host.progress import Progress
from pulsar_arm.patience import Patience

_TOPIC = "persistent://public/default/pulsar-arm"
_MESSAGE = "hello-from-pulsar-arm"
_WORKER = "http://127.0.0.1:8081"
_POLL = 0.5
_STARTS = 3
_PLACE = "/tmp/pulsar-arm"  # noqa: S108 - in the image's own root, not on this machine
_WRITE = 'mkdir -p "$1" && printf %s "$3" > "$1/$2"'
# BookKeeper from 4.12 on knows bookies by names, and a standalone server names its own.
_BOOKIE = re.compile(r"BookieInfoCache \(writable bookie\) ([\w.-]+) ->")
# What is told on the way, in the words of every release.
_MILESTONES = {
    "ZooKeeper is up": r"ZK started|ZooKeeper server up",
    "a bookie is up": r"BK\[\d+\] started",
    "the broker is up": r"messaging service is ready",
    "the worker is past the check of its machine": r"Bootstrap\s+Loading configuration",
    "the worker is up": r"SERVER STARTED",
}


class _StepError(Exception):
    """A step did not come to its end: why, and the log that tells."""

    def __init__(self, why: str, lines: Sequence[str]) -> None:
        super().__init__(why)
        self.why, self.lines = why, lines


@dataclass(frozen=True, slots=True)
class _Boot:
    machine: Machine
    home: Path
    patience: Patience
    timeout: float
    progress: Progress

    def checks(self) -> Iterator[Check]:
        began = time.monotonic()
        server = None
        try:
            server = self._server()
            ready = " ".join(("standalone", *self.patience.options))
            yield self._passed("standalone", f"`bin/pulsar {ready}` says `messaging service is ready`", began)
            for subject, step in (("message", self._message), ("bookie", self._bookie), ("SQL", self._sql)):
                began = time.monotonic()
                if words := step(server):
                    yield self._passed(subject, words, began)
        except _StepError as error:
            yield Check("boot", "server", "failed", _explained(error, server.lines() if server else ()))
        finally:
            if server:
                server.stop()

    def _passed(self, subject: str, words: str, began: float) -> Check:
        seconds = time.monotonic() - began
        return Check("boot", subject, "passed", f"{self.machine.description}: {words} ({seconds:.0f} s)")

    def _server(self) -> Running:
        patient = self.patience
        self._write("standalone.conf", patient.standalone(self._read("conf/standalone.conf")))
        env = {"PULSAR_STANDALONE_CONF": f"{_PLACE}/standalone.conf", **patient.server}
        server = self.machine.start(("bin/pulsar", "standalone", *patient.options), env)
        try:
            self._await(server, "bin/pulsar standalone", "messaging service is ready")
        except BaseException:
            server.stop()
            raise
        return server

    def _message(self, _server: Running) -> str:
        """A client that gives up is started again: the first ones may meet a server that is still cold."""
        client, env = "bin/pulsar-client", self.patience.client
        taking = (client, "consume", _TOPIC, "-s", "pulsar-arm", "-p", "Earliest", "-n", "1")
        giving = (client, "produce", _TOPIC, "-m", _MESSAGE)
        consumer = self._trying(taking, env, "Subscribed to topic on")
        try:
            self._trying(giving, env, "1 messages successfully produced").stop()
            self._await(consumer, f"{client} consume", re.escape(_MESSAGE))
        finally:
            consumer.stop()
        return "a message was produced and consumed"

    def _trying(self, argv: Sequence[str], env: Mapping[str, str], pattern: str) -> Running:
        """A program that has said `pattern`, at one of a few starts."""
        left = _STARTS
        while True:
            running = self.machine.start(argv, env)
            try:
                self._await(running, " ".join(argv[:2]), pattern)
            except BaseException as error:
                running.stop()
                left -= 1
                if not left or not isinstance(error, _StepError):
                    raise
                self.progress.note(f"      {error.why}: it is started again")
            else:
                return running

    def _bookie(self, server: Running) -> str:
        named = (match[1] for line in server.lines() if (match := _BOOKIE.search(line)))
        settings = self.patience.bookkeeper(self._read("conf/bookkeeper.conf"), next(named, ""))
        self._write("bookkeeper.conf", settings)
        words = ("bin/bookkeeper", "shell", "bookiesanity", "-timeout", f"{self.patience.answer}")
        env = {"BOOKIE_CONF": f"{_PLACE}/bookkeeper.conf", **self.patience.tool}
        finished = run(self.machine, words, self.timeout, env)
        if finished.status != 0 or not any("sanity test succeeded" in line for line in finished.lines):
            raise _StepError("bin/bookkeeper shell bookiesanity does not succeed", finished.lines)
        return "`Bookie sanity test succeeded`"

    def _sql(self, _server: Running) -> str:
        """Empty where the release has no SQL."""
        settings = self.home / "conf/presto/jvm.config"
        if not settings.is_file():
            return ""
        self._write("jvm.config", self.patience.sql(settings.read_text(encoding="utf-8")))
        worker = self.machine.start(
            ("bin/pulsar", "sql-worker", "run", "--jvm-config", f"{_PLACE}/jvm.config"), {}
        )
        try:
            self._await(worker, "bin/pulsar sql-worker run", "SERVER STARTED")
            text = Path(inside.__path__[0], "sql.py").read_text(encoding="utf-8")
            asked = ("python3", "-c", text, "select 1", f"{self.timeout:.0f}", _WORKER)
            answer = run(self.machine, asked, self.timeout)
            if answer.status != 0:
                last = answer.lines[-1] if answer.lines else "nothing"
                raise _StepError(f"the SQL worker does not answer `select 1`: {last}", worker.lines())
        finally:
            worker.stop()
        return f"a worker started and answered `select 1` with {answer.lines[-1]}"

    def _await(self, running: Running, name: str, pattern: str) -> None:
        """Until the log says `pattern`; what it says on the way is told."""
        began, read, told = time.monotonic(), 0, set[str]()
        while True:
            ended = running.status()
            lines = running.lines()
            seconds = time.monotonic() - began
            for line in lines[read:]:
                for words in (words for words, sign in _MILESTONES.items() if re.search(sign, line)):
                    if words not in told:
                        self.progress.note(f"{seconds:4.0f} s  {words}")
                    told.add(words)
                if re.search(pattern, line):
                    return
            # The last line may still be written: it is read again.
            read = max(read, len(lines) - 1)
            if ended is not None:
                raise _StepError(f"{name} ended with status {ended} after {seconds:.0f} s", lines)
            if seconds > self.timeout:
                raise _StepError(f"{name} did not say `{pattern}` within {self.timeout:.0f} s", lines)
            time.sleep(_POLL)

    def _read(self, path: str) -> str:
        return (self.home / path).read_text(encoding="utf-8")

    def _write(self, name: str, text: str) -> None:
        finished = run(self.machine, ("sh", "-c", _WRITE, "sh", _PLACE, name, text), self.timeout)
        if finished.status != 0:
            raise _StepError(f"{_PLACE}/{name} cannot be written in the image", finished.lines)


def boot(
    machine: Machine, home: Path, patience: Patience, timeout: float, progress: Progress
) -> Iterator[Check]:
    """Start it and use it; a row for each step, up to the first that fails.

    `home` is the distribution as this machine sees it; `timeout` is in seconds, for each program that is
    waited for. All that was started has ended when the iterator is done or closed.
    """
    yield from _Boot(machine, home, patience, timeout, progress).checks()


def _explained(error: _StepError, server: Sequence[str]) -> str:
    known = known_diagnoses()
    lines: Mapping[str, None] = dict.fromkeys((*error.lines, *server))
    means = [
        f"{one.known.what}: {one.known.remedy}"
        for one in diagnose(lines, known)
        if one.known.kind == "failure"
    ]
    return "\n".join((error.why, *telling_lines(error.lines, known), *means))
