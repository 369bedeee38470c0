"""Prove that an image or a ported tree will work on the target, level by level.

`static` reads: the config, a new scan, the machine of every program, owners and modes. `load` hands each
native that a loader would choose there to the image's own dynamic loader, emulated where needed. `probe`
uses the libraries in the image's JVM, `boot` starts the server.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pulsar_arm.boot import boot
from pulsar_arm.catalog import Catalog
from pulsar_arm.checks import Check, Level
from pulsar_arm.distribution import Source
from pulsar_arm.errors import InputError
from pulsar_arm.formats.native import HEAD_SIZE, read_head
from pulsar_arm.formats.oci import Image
from pulsar_arm.host.emulation import Emulator, LoadResult, jvm_folders, load_library
from pulsar_arm.host.machine import Machine
from pulsar_arm.host.progress import Progress
from pulsar_arm.patience import Patience
from pulsar_arm.plan import BLOCKING
from pulsar_arm.platforms import X86_64, Platform
from pulsar_arm.probe import probe
from pulsar_arm.scan import Gap, Inventory, Native, scan

TIMEOUT = 1800.0
"""Seconds; an emulated server needs 4 minutes on a quiet machine of two cores, more on a busy one."""


@dataclass(frozen=True, slots=True)
class Verification:
    """All checks of one image or tree."""

    subject: str
    level: Level
    checks: tuple[Check, ...]
    inventory: Inventory
    """What the new scan of it found: the scan after the port."""

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.outcome != "failed" for check in self.checks)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is verified: an unpacked root, and where in it Pulsar lies."""

    name: str
    root: Path
    """The root of the file system that the server will see."""
    home: Path
    """The folder of the distribution: `ROOT/pulsar`, or a tree that will be put there."""
    env: Mapping[str, str]
    """What its programs see; the folders of JAVA_HOME hold what natives link against."""
    user: str
    """Who they run as: `UID[:GID]`, or a name of the root's passwd."""
    image: Image | None
    """None for a distribution that is no image yet."""


def verify(
    subject: Subject,
    level: Level,
    catalog: Catalog,
    target: Platform,
    emulator: Emulator | None,
    progress: Progress,
    machine: Machine | None = None,
    timeout: float = TIMEOUT,
) -> Verification:
    """Run every check up to `level`.

    `emulator` runs the target's programs and is needed from `load` on; `machine` runs those of the subject
    and is needed from `probe` on. `timeout` is in seconds, for each JVM that is waited for.
    """
    inventory = scan(Source(str(subject.home), subject.home, "directory"), catalog, target, progress)
    checks = [*_config(subject, target), _rescan(inventory), _programs(subject, target)]
    if emulator is not None:
        checks += _load(subject, inventory, catalog, target, emulator, progress)
    if machine is not None:
        _announce(machine, emulator, progress)
        checks += probe(machine, subject.home, inventory, timeout)
    if machine is not None and level == "boot":
        checks += _boot(subject, checks, machine, emulator, progress, timeout)
    return Verification(subject.name, level, tuple(checks), inventory)


def _boot(
    subject: Subject,
    checks: Sequence[Check],
    machine: Machine,
    emulator: Emulator | None,
    progress: Progress,
    timeout: float,
) -> Iterator[Check]:
    if failed := [check.subject for check in checks if check.outcome == "failed"]:
        yield Check(
            "boot", "server", "skipped", f"not started, since this fails already: {', '.join(failed)}"
        )
        return
    patience = Patience(emulated=not (emulator and emulator.native))
    progress.note(f"Starting the server {machine.description}.")
    yield from boot(machine, subject.home, patience, timeout, progress)


def _announce(machine: Machine, emulator: Emulator | None, progress: Progress) -> None:
    slow = "" if emulator and emulator.native else ": emulated JVMs are 20 to 40 times slower than real ones"
    progress.note(f"Trying the libraries in the image's JVM, {machine.description}{slow}.")


def _config(subject: Subject, target: Platform) -> Iterator[Check]:
    if subject.image is None:
        return
    settings = subject.image.settings
    found = f"{settings.get('os')}/{settings.get('architecture')}"
    yield _check("static", "platform", found == target.oci_platform, f"the config says {found}")
    said = f"runs as user {subject.user}"
    said += ", which is root" if subject.user.split(":")[0] in ("0", "root") else ""
    yield Check("static", "user", "passed", said)


def _rescan(inventory: Inventory) -> Check:
    summary = inventory.summary()
    bad = [
        f"{gap.library} in {gap.scope}: {gap.reason}" for gap in inventory.gaps if gap.severity in BLOCKING
    ]
    bad += [check.reason for check in inventory.checks]
    bad += [f"{row.location}: {row.reason}" for row in inventory.unreadable]
    left = ", ".join(f"{count} {severity}" for severity, count in summary.items() if count) or "no gap"
    return _check("static", "scan", not bad, "; ".join(bad) or f"nothing fatal is left ({left})")


def _programs(subject: Subject, target: Platform) -> Check:
    """Every ELF file of the system around Pulsar is the target's; Pulsar's own were judged by the scan."""
    foreign, count = [], 0
    for folder, names, files in os.walk(subject.root):
        if Path(folder) == subject.home:
            names.clear()
            continue
        for name in files:
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file():
                continue
            with path.open("rb") as file:
                head = read_head(file.read(HEAD_SIZE))
            if head and head.format == "elf":
                count += 1
                if head.machines != (target.name,):
                    foreign.append(f"/{path.relative_to(subject.root)} ({head.machines[0]})")
    evidence = (
        f"{count} ELF files, all {target.name}"
        if not foreign
        else f"not {target.name}: {', '.join(foreign[:5])}"
    )
    return _check("static", "programs", not foreign and count > 0, evidence)


def _load(
    subject: Subject,
    inventory: Inventory,
    catalog: Catalog,
    target: Platform,
    emulator: Emulator,
    progress: Progress,
) -> Iterator[Check]:
    search = jvm_folders(subject.root, subject.env.get("JAVA_HOME", ""))
    chosen = _chosen(inventory, catalog, target)
    seen: dict[str, LoadResult] = {}
    with tempfile.TemporaryDirectory(prefix="pulsar-arm-") as folder, progress.task("Loading natives", None):

        def loaded(location: str) -> LoadResult:
            content = _content(subject.home, location)
            digest = hashlib.sha256(content).hexdigest()
            if digest not in seen:
                library = Path(folder, f"{len(seen)}-{Path(location).name}")
                library.write_bytes(content)
                result = load_library(emulator, subject.root, library, search)
                words = tuple(line.replace(f"{library.resolve()}", library.name) for line in result.words)
                seen[digest] = replace(result, words=words)
            return seen[digest]

        for native in chosen:
            yield _taken(native, loaded(native.location), emulator)
        for gap in inventory.gaps:
            if gap.kind == "missing" and gap.severity in BLOCKING:
                yield _missed(gap, inventory, loaded, emulator)


def _taken(native: Native, result: LoadResult, emulator: Emulator) -> Check:
    places: dict[str, list[str]] = {}
    for name, path in result.resolved:
        places.setdefault(str(Path(path).parent), []).append(name)
    needs = "; ".join(f"{', '.join(names)} of {folder}" for folder, names in places.items())
    taken = f"{emulator.description} the image's ld.so takes it, with {needs or 'no other library'}"
    return _check(
        "load", native.location, result.accepted, taken if result.accepted else "; ".join(result.words)
    )


def _missed(gap: Gap, inventory: Inventory, loaded: Callable[[str], LoadResult], emulator: Emulator) -> Check:
    """What ld.so says to the library that is there instead of the one that is needed."""
    others = [
        native
        for native in inventory.libraries
        if (native.library, native.scope) == (gap.library, gap.scope)
        and (native.format, native.system) == ("elf", "linux")
    ]
    # The 64-bit one of a PC is what every release was built on.
    others.sort(key=lambda native: native.machine != X86_64.name)
    name = f"{gap.library} {gap.version}".strip()
    lacks = f"{name} has no library for {inventory.target.name}: {gap.reason}"
    if not others:
        return Check("load", gap.locations[0], "failed", lacks)
    # To ld.so a library of another machine is none at all: it says that there is no such file.
    words = "; ".join(loaded(others[0].location).words)
    return Check(
        "load",
        others[0].location,
        "failed",
        f"{lacks}; {emulator.description} ld.so says to that of {others[0].machine}: {words}",
    )


def _chosen(inventory: Inventory, catalog: Catalog, target: Platform) -> list[Native]:
    """The natives a loader would pick: those it asks for, or all that fit where that is not known."""
    chosen = []
    for native in inventory.libraries:
        if native.format != "elf" or native.system != "linux" or native.machine != target.name:
            continue
        if native.libc not in ("glibc", ""):
            continue
        override = catalog.get(native.library)
        asks = override.asks(target.name, "glibc", native.version) if override else ()
        if not asks or native.location.rsplit("!/", 1)[-1] in asks:
            chosen.append(native)
    return chosen


def _content(home: Path, location: str) -> bytes:
    path, *entries = location.split("!/")
    content = (home / path).read_bytes()
    for entry in entries:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                content = archive.read(entry)
        except (zipfile.BadZipFile, KeyError) as error:
            raise InputError(f"{location} cannot be read: {error}.") from error
    return content


def _check(level: Level, subject: str, good: bool, evidence: str) -> Check:
    return Check(level, subject, "passed" if good else "failed", evidence)
