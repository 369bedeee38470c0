"""Level `probe`: use the native libraries in the image's own JVM, through the distribution's own jars.

The probe is no class file but `inside/*.py`, sent along and run by the image's python3, which starts the
image's JVM in its own process and calls it through JNI. So nothing has to be compiled, here or there, no
binary stands in git, and one text serves every JRE from 8 on. Every image of Pulsar has python3: its
container scripts are written in it.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pulsar_arm import inside
from pulsar_arm.checks import Check, Outcome
from pulsar_arm.host.machine import Machine, run
from pulsar_arm.inside.probe import PROBES
from pulsar_arm.patience import QUICK
from pulsar_arm.plan import BLOCKING
from pulsar_arm.requirements import REQUIREMENT_CLASSES
from pulsar_arm.scan import Gap, Inventory

_SERVER = "lib"
_SQL = ("lib/presto/lib", "trino/lib")
_JVM = "JVM"
_CODECS = ("LZ4", "ZLIB", "ZSTD", "SNAPPY")
_SEND = """
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/pulsar_arm/inside"
printf %s "$1" > "$folder/pulsar_arm/inside/jni.py"
printf %s "$2" > "$folder/pulsar_arm/inside/probe.py"
shift 2
PYTHONPATH=$folder PYTHONDONTWRITEBYTECODE=1 python3 -m pulsar_arm.inside.probe "$@"
"""
_NO_CALL = "Function not implemented"
"""What strerror says of ENOSYS: qemu-user has no io_uring, which says nothing of the library."""
_LINE = re.compile(r"@(begin|passed|failed) (\S+) ?(.*)")


def probe(machine: Machine, home: Path, inventory: Inventory, timeout: float) -> Iterator[Check]:
    """Try each native library of the server's class path, Pulsar's codecs, and the check of Presto or Trino.

    `home` is the distribution as this machine sees it. A library that does not work is tolerated where the
    scan knows its gap and calls it `degraded` or `harmless`. `timeout` is in seconds, for each JVM.
    """
    libraries = {native.library for native in inventory.libraries if native.scope == _SERVER}
    names = [*sorted(libraries & PROBES.keys()), *(f"codec:{name}" for name in _CODECS)]
    gaps = {gap.library: gap for gap in inventory.gaps if gap.scope == _SERVER}
    yield from _tried(machine, f"{_SERVER}/*", names, gaps, timeout)
    for folder in _SQL:
        if names := [f"requirements:{name}" for name in _requirements(home / folder)]:
            yield from _tried(machine, f"{folder}/*", names, {}, timeout)


def _tried(
    machine: Machine, class_path: str, names: Sequence[str], gaps: dict[str, Gap], timeout: float
) -> Iterator[Check]:
    """One JVM for all; after one that ends with a library, another for the rest."""
    texts = [Path(inside.__path__[0], name).read_text(encoding="utf-8") for name in ("jni.py", "probe.py")]
    todo = list(names)
    while todo:
        finished = run(machine, ("sh", "-c", _SEND, "sh", *texts, class_path, QUICK, *todo), timeout)
        told = [match.groups() for line in finished.lines if (match := _LINE.match(line))]
        answers = {name: (kind == "passed", words) for kind, name, words in told if kind != "begin"}
        last = next((name for kind, name, _words in reversed(told) if kind == "begin"), "")
        ended = _last_words(finished.lines)
        ended = f"the JVM ended with status {finished.status}: {ended}"
        if finished.status is None:
            ended = f"it did not answer within {timeout:.0f} s"
        works, words = answers.get(_JVM, (False, ended))
        if len(todo) == len(names) or not works:
            place = f"{machine.description}: {words}"
            yield Check("probe", f"{_JVM} for {class_path}", "passed" if works else "failed", place)
        if not works:
            return
        for name in (name for name in todo if name in answers):
            yield _check(name, *answers[name], gaps.get(name))
        if last not in answers:
            yield _check(last, False, ended, gaps.get(last))
        todo = [name for name in todo if name not in answers and name != last]


def _check(name: str, works: bool, words: str, gap: Gap | None) -> Check:
    outcome: Outcome = "passed" if works else "failed"
    if not works and gap and gap.severity not in BLOCKING:
        outcome = "tolerated"
    elif not works and _NO_CALL in words:
        outcome, words = "skipped", f"the kernel here, or its emulator, lacks a system call: {words}"
    reason = f"; {gap.reason}" if gap and not works else ""
    subject = name.replace("codec:", "codec ").replace("requirements:", "")
    return Check("probe", subject, outcome, f"{words}{reason}")


def _last_words(lines: Sequence[str]) -> str:
    """What the last probe that began left behind besides its own lines."""
    start = max((number for number, line in enumerate(lines) if line.startswith("@begin")), default=-1)
    said = [line.strip() for line in lines[start + 1 :] if line.strip()]
    return " / ".join(said[:3]) if start >= 0 else " / ".join(said[-2:]) or "it said nothing"


def _requirements(folder: Path) -> Iterator[str]:
    """The classes of Presto's or Trino's check in the jars of a folder, with dots."""
    for jar in sorted(folder.glob("*-main-*.jar")):
        with zipfile.ZipFile(jar) as archive:
            names = set(archive.namelist())
        for name in REQUIREMENT_CLASSES:
            if name in names:
                yield name.removesuffix(".class").replace("/", ".")
