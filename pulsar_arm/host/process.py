"""Run other programs: one place that echoes the command, waits, and turns failure into a sentence."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pulsar_arm.errors import HostError

_log = logging.getLogger("pulsar_arm")
_LAST = 40
_PATIENCE = 15
"""Lines and seconds."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a program left behind."""

    returncode: int
    """Exit status; negative is the signal that ended it (subprocess's convention)."""
    stdout: bytes
    stderr: bytes


def run(
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    ok: Collection[int] | None = (0,),
) -> Finished:
    """Run `argv` to its end and give what it printed.

    `env` is added to the caller's environment; `timeout` is in seconds. HostError when the program
    is missing, takes too long, or ends with a status outside `ok` (None accepts any).
    """
    _log.debug("+ %s", shlex.join(argv))
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        if cwd and not cwd.exists():
            raise HostError(f"{argv[0]} cannot be run in {cwd}: there is no such folder.") from error
        raise _missing(argv) from error
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{argv[0]} did not end within {timeout:g} seconds: {shlex.join(argv)}.") from error
    except OSError as error:
        raise HostError(f"{argv[0]} cannot be run: {error.strerror}.") from error
    if ok is not None and done.returncode not in ok:
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        last = said[-1] if said else "it said nothing"
        command = shlex.join(argv)
        raise HostError(f"{argv[0]} ended with status {done.returncode}: {last} (command: {command}).")
    return Finished(done.returncode, done.stdout, done.stderr)


def follow(
    argv: Sequence[str], tell: Callable[[str], None], *, env: Mapping[str, str] | None = None
) -> tuple[int, tuple[str, ...]]:
    """Run `argv`, giving `tell` each line it prints as it comes; gives the exit status and the last lines.

    Standard output and error are one stream. However the block is left, by Ctrl-C too, the program has
    ended: it is asked to, so that it can clean up, and killed when it does not. HostError when it is missing.
    """
    _log.debug("+ %s", shlex.join(argv))
    last: deque[str] = deque(maxlen=_LAST)
    with _started(argv, env) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            for line in process.stdout:
                last.append(line.rstrip())
                tell(last[-1])
            return process.wait(), tuple(last)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()


def _started(argv: Sequence[str], env: Mapping[str, str] | None) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise _missing(argv) from error
    except OSError as error:
        raise HostError(f"{argv[0]} cannot be run: {error.strerror}.") from error


def _missing(argv: Sequence[str]) -> HostError:
    return HostError(f"{argv[0]} is not installed: install it and run again.")
