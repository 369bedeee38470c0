"""Members, as every form of distribution gives them; folders as a stream of members, and tarballs written.

Nothing is unpacked: a member's content is given once, in the order of the archive. What would be
unsafe to unpack (an escaping path, a device) is told by `unsafe`, and left to the caller to judge.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

from zlib_ng import gzip_ng

from pulsar_arm.errors import InputError

Kind = Literal["file", "dir", "symlink", "hardlink", "special"]
_GZIP_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a tarball or folder."""

    path: str
    """As written, without a leading `./`; a folder's has no trailing slash."""
    kind: Kind
    mode: int
    """Permission bits."""
    size: int = 0
    mtime: int = 0
    """Seconds since 1970."""
    link: str = ""
    """A symbolic link's target as written, or the path of the member a hard link repeats."""
    uid: int = 0
    gid: int = 0
    uname: str = ""
    gname: str = ""


Content = tuple[Member, IO[bytes] | None]


def unsafe(member: Member) -> str | None:
    """Why this member must not be unpacked, or None when it may be."""
    if member.kind == "special":
        return "it is a device, fifo or socket"
    if _escapes(member.path):
        return "its path leads outside the archive"
    if member.kind == "hardlink" and _escapes(member.link):
        return f"it is a hard link to {member.link}, outside the archive"
    if member.kind == "symlink" and _leads_out(member):
        return f"it is a symbolic link to {member.link}, outside the archive"
    return None


def _leads_out(link: Member) -> bool:
    """Whether a link's target may lie outside; `..` behind a name counts, as that name may be a link too."""
    parts = [part for part in link.link.split("/") if part not in ("", ".")]
    ups = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    return link.link.startswith("/") or ".." in parts[ups:] or ups > link.path.count("/")


def _escapes(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/")


def read_directory(top: Path) -> Iterator[Content]:
    """Every member of a folder, each folder's sorted by name; a file is open while it is the one yielded.

    Links are told, never followed. InputError where a folder or file cannot be read.
    """
    try:
        for folder, names, files in os.walk(top, onerror=_raise):
            names.sort()
            links = [name for name in names if (Path(folder) / name).is_symlink()]
            for name in sorted([*files, *names]):
                path = Path(folder) / name
                member = _from_stat(path, path.relative_to(top).as_posix())
                if member.kind == "file":
                    with path.open("rb") as content:
                        yield member, cast("IO[bytes]", Guarded(content, path))
                else:
                    yield member, None
            names[:] = [name for name in names if name not in links]
    except OSError as error:
        raise InputError(f"{error.filename or top} cannot be read: {error.strerror}.") from error


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def write_tar(path: Path) -> Iterator[Callable[[Member, IO[bytes] | None], None]]:
    """A tarball being written: call what is yielded with each member; gzip by the suffix `gz`.

    The bytes depend on the members alone: no time, name or host of the writing is kept.
    """
    with path.open("wb") as raw:
        plain = not path.name.endswith(("gz", "gz.part"))
        stream: IO[bytes] = raw if plain else _gzip_writer(raw)
        with stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            yield lambda member, content: tar.addfile(_tar_info(member), content)


def _gzip_writer(raw: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", gzip_ng.GzipNGFile("", "wb", _GZIP_LEVEL, raw, mtime=0))  # type: ignore[no-untyped-call]


class Guarded:
    """A member's content, whose damage is told like the archive's own."""

    def __init__(self, content: IO[bytes], path: Path, damage: tuple[type[Exception], ...] = ()) -> None:
        """Tell of `path` what `content` raises: `damage`, and what the system says."""
        self._content, self._path, self._damage = content, path, damage

    def read(self, size: int = -1) -> bytes:
        """The next bytes; InputError where they cannot be read."""
        try:
            return self._content.read(size)
        except self._damage as error:
            reason = str(error) or type(error).__name__
            raise InputError(f"{self._path} is damaged or cut off: {reason}.") from error
        except OSError as error:
            raise InputError(f"{self._path} cannot be read: {error.strerror or error}.") from error

    def seekable(self) -> bool:
        """Whether `seek` may be used: the content lies in a file of its own."""
        return self._content.seekable()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the content."""
        return self._content.seek(offset, whence)


def clean(name: str) -> str:
    """A member's path as it is told: no leading `./`, no trailing slash."""
    while name.startswith("./"):
        name = name[2:]
    return name.rstrip("/") or "."


def _from_stat(path: Path, name: str) -> Member:
    status = path.lstat()
    kinds: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "special")
    link = path.readlink().as_posix() if kind == "symlink" else ""
    size = status.st_size if kind == "file" else 0
    return Member(name, kind, stat.S_IMODE(status.st_mode), size, int(status.st_mtime), link)


_TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
}


def _tar_info(member: Member) -> tarfile.TarInfo:
    info = tarfile.TarInfo(member.path)
    info.type = _TYPES[member.kind]
    info.mode, info.size, info.mtime = member.mode, member.size, member.mtime
    info.linkname, info.uid, info.gid = member.link, member.uid, member.gid
    info.uname, info.gname = member.uname, member.gname
    return info
