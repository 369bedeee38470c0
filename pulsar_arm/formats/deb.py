"""Read Debian packages: the control fields, and the files with their owners, without running anything."""

from __future__ import annotations

import lzma
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import IO

from pulsar_arm.errors import InputError

_MAGIC = b"!<arch>\n"
_HEADER = 60
_OPEN: dict[str, Callable[[IO[bytes]], tarfile.TarFile]] = {
    "": lambda packed: tarfile.open(fileobj=packed, mode="r|"),  # noqa: SIM115  (closed by its reader)
    ".gz": lambda packed: tarfile.open(fileobj=packed, mode="r|gz"),  # noqa: SIM115
    ".xz": lambda packed: tarfile.open(fileobj=packed, mode="r|xz"),  # noqa: SIM115
}


@dataclass(frozen=True, slots=True)
class Control:
    """What a package says of itself (deb-control(5))."""

    stanza: str
    """The `control` file as written, without blank lines at the end."""
    members: tuple[tuple[str, bytes], ...]
    """The other files of the control archive by name: md5sums, conffiles, maintainer scripts, triggers."""

    def field(self, name: str) -> str:
        """The first line of a field; empty when the package lacks it."""
        for line in self.stanza.splitlines():
            key, colon, value = line.partition(":")
            if colon and key.lower() == name.lower() and not line.startswith((" ", "\t")):
                return value.strip()
        return ""


def read_control(path: Path) -> Control:
    """Read the control archive of the .deb at `path` (deb(5)); InputError when it is not a whole package."""
    stanza = ""
    members = []
    for member, content in _members(path, "control.tar"):
        name = member.name.removeprefix("./")
        if content is None:
            continue
        if name == "control":
            stanza = content.read().decode().rstrip("\n")
        else:
            members.append((name, content.read()))
    if not stanza:
        raise InputError(f"{path.name} has no control file: it is not a Debian package; download it again.")
    return Control(stanza, tuple(sorted(members)))


def read_files(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Each member of the .deb's file archive in its order; the stream (files only) lasts until the next.

    Names are as packed (`./usr/bin/bash`), owners numeric. InputError when the package is damaged.
    """
    return _members(path, "data.tar")


def _members(path: Path, archive: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    try:
        with path.open("rb") as stream, _tar(stream, path, archive) as tar:
            for member in tar:
                yield member, tar.extractfile(member) if member.isreg() else None
    except (tarfile.TarError, EOFError, lzma.LZMAError, ValueError) as error:
        raise InputError(f"{path.name} is damaged in {archive}: {error}; download it again.") from error


@contextmanager
def _tar(stream: BufferedReader, path: Path, archive: str) -> Iterator[tarfile.TarFile]:
    """The tar inside the outer ar(5) whose member is called `archive` and a compression suffix."""
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise InputError(f"{path.name} is not a Debian package: it does not begin with the mark of ar.")
    while len(header := stream.read(_HEADER)) == _HEADER:
        name = header[:16].decode("ascii", "replace").rstrip(" /")
        size = int(header[48:58])
        if not name.startswith(archive):
            stream.seek(size + size % 2, 1)
            continue
        suffix = name.removeprefix(archive)
        if suffix not in _OPEN:
            raise InputError(
                f"{path.name} packs {name} in a way that is not read here: use Debian's package."
            )
        packed = stream.read(size)
        if len(packed) < size:
            break
        with _OPEN[suffix](BytesIO(packed)) as tar:
            yield tar
        return
    raise InputError(f"{path.name} has no whole {archive}: it is cut short; download it again.")
