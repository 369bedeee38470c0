"""Run other programs: one place that echoes the command, waits, and turns failure into a sentence."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pulsar_arm.errors import HostError

_log = logging.getLogger("pulsar_arm")


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
        raise HostError(f"{argv[0]} is not installed: install it and run again.") from error
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
