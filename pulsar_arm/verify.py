"""Prove that an image or a ported tree will work on the target, level by level.

`static` reads: the config, a new scan, the machine of every program, owners and modes. `load` hands each
native that a loader would choose there to the image's own dynamic loader, emulated where needed.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pulsar_arm.catalog import Catalog
from pulsar_arm.distribution import Source
from pulsar_arm.errors import InputError
from pulsar_arm.formats.native import HEAD_SIZE, read_head
from pulsar_arm.host.emulation import Emulator, jvm_folders, load_library
from pulsar_arm.host.progress import Progress
from pulsar_arm.plan import BLOCKING
from pulsar_arm.platforms import Platform
from pulsar_arm.scan import Inventory, Native, scan

Level = Literal["static", "load"]
LEVELS: tuple[Level, ...] = ("static", "load")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    level: Level
    subject: str
    outcome: Literal["passed", "failed"]
    evidence: str


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
        return all(check.outcome == "passed" for check in self.checks)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is verified: an unpacked root, and where in it Pulsar lies."""

    name: str
    root: Path
    """The root of the file system that the server will see."""
    home: Path
    """The folder of the distribution: `ROOT/pulsar`, or a tree that will be put there."""
    java_home: str
    """Absolute in the root; its folders hold what natives link against."""
    settings: Mapping[str, Any] | None
    """The image's config, or None for a distribution that is no image yet."""


def verify(
    subject: Subject,
    level: Level,
    catalog: Catalog,
    target: Platform,
    emulator: Emulator | None,
    progress: Progress,
) -> Verification:
    """Run every check up to `level`; `emulator` runs the target's programs and is needed from `load` on."""
    inventory = scan(Source(str(subject.home), subject.home, "directory"), catalog, target, progress)
    checks = [*_config(subject, target), _rescan(inventory), _programs(subject, target)]
    if level == "load" and emulator is not None:
        checks += _load(subject, inventory, catalog, target, emulator, progress)
    return Verification(subject.name, level, tuple(checks), inventory)


def _config(subject: Subject, target: Platform) -> Iterator[Check]:
    if subject.settings is None:
        return
    settings = subject.settings
    found = f"{settings.get('os')}/{settings.get('architecture')}"
    yield _check("static", "platform", found == target.oci_platform, f"the config says {found}")
    user = str((settings.get("config") or {}).get("User") or "0")
    said = f"runs as user {user}" + (", which is root" if user.split(":")[0] in ("0", "root") else "")
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
    search = jvm_folders(subject.root, subject.java_home)
    chosen = _chosen(inventory, catalog, target)
    seen: dict[str, Check] = {}
    with tempfile.TemporaryDirectory(prefix="pulsar-arm-") as folder, progress.task("Loading natives", None):
        for native in chosen:
            content = _content(subject.home, native.location)
            digest = hashlib.sha256(content).hexdigest()
            if digest not in seen:
                library = Path(folder, f"{len(seen)}-{Path(native.location).name}")
                library.write_bytes(content)
                loaded = load_library(emulator, subject.root, library, search)
                said = "; ".join(loaded.words)
                needs = ", ".join(name for name, _path in loaded.resolved)
                taken = (
                    f"{emulator.description} the image's ld.so takes it, with {needs or 'no other library'}"
                )
                evidence = taken if loaded.accepted else said
                seen[digest] = _check("load", native.location, loaded.accepted, evidence)
            known = seen[digest]
            yield Check("load", native.location, known.outcome, known.evidence)


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
