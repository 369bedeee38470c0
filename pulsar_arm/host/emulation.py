"""Ask an image's own dynamic loader whether it takes a library: under qemu-user, or natively."""

from __future__ import annotations

import os
import platform as machine
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pulsar_arm.errors import HostError, InputError
from pulsar_arm.host.process import run
from pulsar_arm.platforms import Platform

_INSTALL = "apt-get install --no-install-recommends qemu-user-static"
_LIBRARY_FOLDERS = ("usr/lib/{triplet}", "usr/lib64", "usr/lib", "usr/local/lib")
_RESOLVED = re.compile(r"^\t(\S+) => (/.*) \(0x[0-9a-f]+\)$")
# What glibc's ld.so (elf/dl-*.c) and musl's (ldso/dynlink.c) say against a library; a library's own
# constructors, and qemu, may write other lines, which are no refusal.
_COMPLAINT = re.compile(
    r"error while loading shared libraries|cannot be preloaded|symbol lookup error|undefined symbol|"
    r"version `.*' not found|relocation error|=> not found|Error loading shared library|Error relocating"
)
_HOPS = 40
_BINFMT = Path("/proc/sys/fs/binfmt_misc")


@dataclass(frozen=True, slots=True)
class Emulator:
    """How programs of a platform are run on this machine."""

    platform: Platform
    program: str
    """The path of qemu's user-mode program; empty where the machine is of that platform itself."""

    @property
    def native(self) -> bool:
        """Whether nothing needs to be emulated."""
        return not self.program

    @property
    def description(self) -> str:
        """For reports: `natively on aarch64`, `under qemu-aarch64-static`."""
        if self.native:
            return f"natively on {self.platform.name}"
        return f"under {Path(self.program).name}"

    def command(
        self, root: Path, settings: Sequence[tuple[str, str]]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """What goes before a program of `root`, and the environment, so that it sees `settings`.

        qemu's `-L` makes absolute paths mean those in `root` where they exist there; natively only
        what the arguments name is taken from `root`.
        """
        if self.native:
            return (), dict(settings)
        # A qemu that is not static would obey LD_PRELOAD itself, so its program is told by option.
        told = tuple(word for name, value in settings for word in ("-E", f"{name}={value}"))
        return (self.program, "-L", str(root), "-U", "LD_LIBRARY_PATH", *told), {}


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The loader's answer for one library."""

    accepted: bool
    words: tuple[str, ...]
    """What the loader said against it, its own lines, paths of the root as the image has them."""
    resolved: tuple[tuple[str, str], ...]
    """Each library it needs and the file in the root that was taken for it."""


def find_emulator(platform: Platform) -> Emulator:
    """The way to run `platform`'s programs here; HostError with the command that brings qemu."""
    if machine.machine() == platform.name:
        return Emulator(platform, "")
    for name in (f"qemu-{platform.qemu}-static", f"qemu-{platform.qemu}"):
        if program := shutil.which(name):
            return Emulator(platform, program)
    raise HostError(f"Nothing here runs {platform.name} programs: as root, run `{_INSTALL}`.")


def kernel_runs(platform: Platform, registrations: Path = _BINFMT) -> bool:
    """Whether this kernel starts `platform`'s programs, inside containers too: natively or by binfmt_misc.

    Only a registration whose emulator was opened beforehand (flag F) reaches into containers
    (Linux, admin-guide/binfmt-misc.rst).
    """
    if machine.machine() == platform.name:
        return True
    # The beginning of a 64-bit little-endian ELF executable (System V gABI, "ELF Header").
    header = (
        b"\x7fELF\2\1\1" + bytes(9) + (2).to_bytes(2, "little") + platform.elf_machine.to_bytes(2, "little")
    )
    return any(_takes(file, header) for file in registrations.glob("*"))


def _takes(registration: Path, header: bytes) -> bool:
    try:
        lines = registration.read_text().splitlines()
    except (OSError, ValueError):
        return False
    told = dict(line.partition(" ")[::2] for line in lines)
    magic = bytes.fromhex(told.get("magic", ""))
    mask = bytes.fromhex(told.get("mask", "ff" * len(magic)))
    masked = [(a & m, b & m) for a, b, m in zip(header, magic, mask, strict=False)]
    fixed = "F" in told.get("flags:", "")
    return "enabled" in told and fixed and bool(magic) and all(a == b for a, b in masked)


def jvm_folders(root: Path, java_home: str) -> tuple[str, ...]:
    """Where the JRE at `java_home` in `root` keeps its libraries, libjvm.so's folder first.

    Paths as the image has them; empty when there is no JRE. `lib/server` from Java 9 on,
    `jre/lib/<architecture>/server` before.
    """
    home = _inside(root, java_home)
    for pattern in ("lib/server/libjvm.so", "jre/lib/*/server/libjvm.so", "lib/*/server/libjvm.so"):
        for library in sorted(home.glob(pattern)):
            folders = (library.parent, library.parent.parent, library.parent.parent / "jli")
            return tuple(_shown(str(folder), root) for folder in folders if folder.is_dir())
    return ()


def load_library(
    emulator: Emulator, root: Path, library: Path, search: Sequence[str] = (), timeout: float = 60
) -> LoadResult:
    """Have the loader of the image unpacked in `root` load the file `library`, binding every symbol now.

    `search` are further folders as the image has them (`jvm_folders`): a libjvm.so found there is
    loaded first, as `java` does, so that the symbols of the JVM resolve. The library's constructors
    run. Each library it needs must come from `root`, not from this machine. HostError when the
    emulator fails or `timeout` (seconds) passes; InputError when `root` has no loader.
    """
    root, library = root.resolve(), library.resolve()
    if not library.is_file():
        raise InputError(f"There is no library {library}: check the path.")
    if re.search(r"[\s:]", f"{root}{library}"):
        raise HostError(f"ld.so cannot be given {library}: use folders without spaces and colons (TMPDIR).")
    loader = _inside(root, emulator.platform.loader)
    if not loader.is_file():
        raise InputError(f"{root} has no {emulator.platform.loader}: load needs a root with glibc.")
    standard = (part.format(triplet=emulator.platform.triplet) for part in _LIBRARY_FOLDERS)
    folders = [folder for part in (*standard, *search) if (folder := _inside(root, part)).is_dir()]
    jvm = [file for folder in folders if (file := folder / "libjvm.so").is_file()][:1]
    start = (str(loader), "--inhibit-cache", "--library-path", ":".join(map(str, folders)))
    settings = (("LD_BIND_NOW", "1"), ("LD_PRELOAD", ":".join(map(str, jvm))))
    trace = (*settings, ("LD_WARN", "1"), ("LD_TRACE_LOADED_OBJECTS", "1"))
    listed, words = _ask(emulator, root, trace, (*start, str(library)), timeout)
    resolved = [match.groups() for line in listed if (match := _RESOLVED.match(line))]
    words += [
        f"{name} is taken from {path}, outside of the root"
        for name, path in resolved
        if not _is_in(root, path)
    ]
    if not words:
        # The trace only maps and binds; loaded into a program the constructors run too.
        preload = ("LD_PRELOAD", ":".join(map(str, (*jvm, library))))
        program = _inside(root, "/usr/bin/true")
        program = program if program.is_file() else _inside(root, "/bin/true")
        _, words = _ask(emulator, root, (settings[0], preload), (*start, str(program)), timeout)
    taken = tuple((name, _shown(path, root)) for name, path in resolved)
    return LoadResult(not words, tuple(_shown(line.strip(), root) for line in words), taken)


def _ask(
    emulator: Emulator, root: Path, settings: Sequence[tuple[str, str]], argv: Sequence[str], timeout: float
) -> tuple[list[str], list[str]]:
    """All that was said, and of it what was said against the library."""
    before, env = emulator.command(root, [(name, value) for name, value in settings if value])
    finished = run([*before, *argv], env={"LC_ALL": "C", **env}, timeout=timeout, ok=None)
    lines = (finished.stdout + finished.stderr).decode(errors="replace").splitlines()
    words = [line for line in lines if _COMPLAINT.search(line)]
    if finished.returncode != 0 and not words:
        words = [*lines, f"the loader ended with status {finished.returncode}"]
    return lines, words


def _is_in(root: Path, path: str) -> bool:
    return Path(os.path.normpath(path)).is_relative_to(root)


def _shown(text: str, root: Path) -> str:
    return text.replace(f"{root}/", "/")


def _inside(root: Path, path: str) -> Path:
    """Where `path` of the image lies on this machine, its links followed as if `root` were `/`."""
    done = root
    parts = [part for part in path.split("/") if part]
    for _ in range(_HOPS * 10):
        if not parts:
            break
        part = parts.pop(0)
        if part == ".":
            continue
        if part == "..":
            done = done.parent if done != root else root
            continue
        step = done / part
        if step.is_symlink():
            target = str(step.readlink())
            parts[:0] = [one for one in target.split("/") if one]
            done = root if target.startswith("/") else done
        else:
            done = step
    return done
