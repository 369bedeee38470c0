"""What this machine can do for pulsar-arm, and the command that mends what it cannot.

Nothing is installed or changed: programs are asked for their version, the kernel and the repository for
what they have.
"""

from __future__ import annotations

import os
import platform as machine
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pulsar_arm.errors import PulsarArmError
from pulsar_arm.host.emulation import find_emulator
from pulsar_arm.host.maven import Coordinate, Repository
from pulsar_arm.host.process import run
from pulsar_arm.platforms import Platform

State = Literal["fine", "missing", "note"]
_SECONDS = 20
"""Given to each program that is asked."""
_GIB = 1 << 30
_ROOM = {"images": 4 * _GIB, "cache": 3 * _GIB, "temporary files": 2 * _GIB}
"""Bytes free that a build of pulsar and pulsar-all with a few connectors was seen to need, with reserve."""
_MEMORY = 3 * _GIB
"""Bytes of memory that a standalone server under emulation was seen to need, with reserve."""
_BINFMT = "/proc/sys/fs/binfmt_misc"
_EM_OFFSET = 18
"""Of e_machine in the ELF header (gABI, ELF header)."""
_APT = "apt-get install --no-install-recommends"
_PROBE = Coordinate.parse("org.apache.pulsar:pulsar-server-distribution:2.6.0:tar.gz:bin")


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing a command may need."""

    subject: str
    state: State
    """`missing` is something that `serves` cannot do without; `note` is something to know."""
    seen: str
    serves: str
    """The commands and options that need it."""
    mend: str = ""
    """A command, or one sentence; empty where nothing is to be done."""
    optional: bool = False
    """Whether scan, port, build and verify do without it."""


def examine(
    target: Platform, repository: Repository, cache: Path, *, offline: bool, place: Path
) -> tuple[Ability, ...]:
    """Look at this machine; `place` is where images would be written.

    `repository` should have an empty cache, so that the repository itself is asked. Takes seconds.
    """
    looks: tuple[Callable[[], Iterator[Ability]], ...] = (
        lambda: _machine(target),
        lambda: _repository(repository, offline=offline),
        lambda: _disk({"images": place, "cache": cache, "temporary files": Path(tempfile.gettempdir())}),
        _mmdebstrap,
        lambda: _emulation(target),
        lambda: _binfmt(target),
        _memory,
        _engine,
        _buildx,
        _podman,
    )
    return tuple(ability for look in looks for ability in look())


def _machine(target: Platform) -> Iterator[Ability]:
    system, name, cores = machine.system(), machine.machine(), len(os.sched_getaffinity(0))
    said = f"{system} {machine.release()} on {name}, {cores} cores"
    yield Ability("machine", "fine", said, "scan, port")
    size = os.sysconf("SC_PAGESIZE")
    large = size > 4096 and name == target.name
    advice = f"scan with --page-size {size // 1024}k" if large else ""
    yield Ability("page size", "note" if large else "fine", f"{size // 1024} KiB", "natives", advice)


def _repository(repository: Repository, *, offline: bool) -> Iterator[Ability]:
    serves = "fetch, port, build, release numbers"
    if offline:
        yield Ability("Maven repository", "note", "not asked: --offline", serves)
        return
    advice = "name a mirror by --maven-url or in ~/.m2/settings.xml, or carry a cache over and use --offline"
    try:
        there = repository.has(_PROBE)
    except PulsarArmError as error:
        yield Ability("Maven repository", "missing", str(error), serves, advice)
        return
    if there:
        yield Ability("Maven repository", "fine", f"it has {_PROBE}", serves)
    else:
        yield Ability("Maven repository", "missing", f"it answers, but has no {_PROBE}", serves, advice)


def _disk(places: dict[str, Path]) -> Iterator[Ability]:
    for name, path in places.items():
        there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
        free = shutil.disk_usage(there).free
        said = f"{free / _GIB:.1f} GiB free in {there}"
        options = {"images": "--output", "cache": "--cache", "temporary files": "TMPDIR"}
        if free < _ROOM[name]:
            advice = f"free {_ROOM[name] / _GIB:.0f} GiB there, or name another place by {options[name]}"
            yield Ability(f"room for {name}", "missing", said, "build, verify", advice)
        elif not os.access(there, os.W_OK):
            advice = f"name a place that you may write by {options[name]}"
            yield Ability(f"room for {name}", "missing", f"{there} is not writable", "build, verify", advice)
        else:
            yield Ability(f"room for {name}", "fine", said, "build, verify")


def _mmdebstrap() -> Iterator[Ability]:
    yield _program(
        "mmdebstrap", ("mmdebstrap", "--version"), "build with Debian's base", f"{_APT} mmdebstrap"
    )


def _emulation(target: Platform) -> Iterator[Ability]:
    serves = "verify from load on"
    try:
        emulator = find_emulator(target)
    except PulsarArmError:
        yield Ability(
            "emulation", "missing", f"no qemu-user for {target.name}", serves, f"{_APT} qemu-user-static"
        )
        return
    if emulator.native:
        yield Ability("emulation", "fine", f"not needed: this machine is {target.name}", serves)
    else:
        yield Ability("emulation", "fine", _version((emulator.program, "--version")), serves)


def _binfmt(target: Platform) -> Iterator[Ability]:
    """Whether the kernel hands the target's programs to an emulator, in containers too (flag F)."""
    if machine.machine() == target.name:
        return
    serves, subject = "verify from probe on, bases that run programs", "emulation in containers"
    install = f"{_APT} qemu-user-static binfmt-support"
    if not Path(_BINFMT, "register").exists():
        seen = f"binfmt_misc is not mounted at {_BINFMT}"
        yield Ability(subject, "missing", seen, serves, f"mount -t binfmt_misc none {_BINFMT} && {install}")
        return
    for entry in sorted(Path(_BINFMT).iterdir()):
        if entry.name in ("register", "status"):
            continue
        text = entry.read_text(errors="replace")
        if not _is_for(target, text) or not text.startswith("enabled"):
            continue
        interpreter = re.search(r"^interpreter (.*)$", text, re.M)
        flags = re.search(r"^flags: *(.*)$", text, re.M)
        said = f"{interpreter[1] if interpreter else '?'}, flags {flags[1] if flags else ''}"
        if flags and "F" in flags[1]:
            yield Ability(subject, "fine", said, serves)
        else:
            seen = f"{said}: without F it is not found inside containers"
            yield Ability(subject, "missing", seen, serves, install)
        return
    seen = f"no emulator for {target.name} is registered: containers end with 'exec format error'"
    yield Ability(subject, "missing", seen, serves, install)


def _is_for(target: Platform, entry: str) -> bool:
    magic = re.search(r"^magic ([0-9a-f]+)$", entry, re.M)
    machine_at = slice(_EM_OFFSET * 2, _EM_OFFSET * 2 + 4)
    wanted = target.elf_machine.to_bytes(2, "little").hex()
    return magic is not None and magic[1].startswith("7f454c46") and magic[1][machine_at] == wanted


def _memory() -> Iterator[Ability]:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    said = f"{total / _GIB:.1f} GiB"
    if total < _MEMORY:
        advice = f"use a machine with {_MEMORY / _GIB:.0f} GiB"
        yield Ability("memory", "missing", said, "verify --level boot", advice)
    else:
        yield Ability("memory", "fine", said, "verify --level boot")


def _engine() -> Iterator[Ability]:
    serves = "build --load, --engine buildx"
    install = f"{_APT} docker.io"
    if not shutil.which("docker"):
        yield Ability("Docker Engine", "missing", "docker is not installed", serves, install, optional=True)
        return
    asked = ("docker", "version", "--format", "{{.Server.Version}} for {{.Server.Os}}/{{.Server.Arch}}")
    said, good = _answer(asked)
    if good:
        yield Ability("Docker Engine", "fine", said, serves)
    else:
        advice = "start it (systemctl start docker), or be a member of the group docker"
        yield Ability("Docker Engine", "missing", said, serves, advice, optional=True)


def _buildx() -> Iterator[Ability]:
    asked = ("docker", "buildx", "version")
    yield _program("buildx", asked, "build --engine buildx", f"{_APT} docker-buildx", optional=True)


def _podman() -> Iterator[Ability]:
    found = [name for name in ("podman", "buildah") if shutil.which(name)]
    for name in found or ["podman"]:
        yield _program(name, (name, "--version"), "build --engine podman", f"{_APT} {name}", optional=True)


def _program(
    subject: str, argv: tuple[str, ...], serves: str, mend: str, *, optional: bool = False
) -> Ability:
    if not shutil.which(argv[0]):
        said, good = f"{argv[0]} is not installed", False
    else:
        said, good = _answer(argv)
    if good:
        return Ability(subject, "fine", said, serves)
    return Ability(subject, "missing", said, serves, mend, optional)


def _version(argv: tuple[str, ...]) -> str:
    return _answer(argv)[0]


def _answer(argv: tuple[str, ...]) -> tuple[str, bool]:
    """The first line a program says of itself, and whether it ended well."""
    try:
        done = run(argv, timeout=_SECONDS, ok=None)
    except PulsarArmError as error:
        return str(error), False
    good = done.returncode == 0
    lines = (done.stdout if good else done.stderr or done.stdout).decode(errors="replace").splitlines()
    return next((line.strip() for line in lines if line.strip()), "it says nothing"), good
