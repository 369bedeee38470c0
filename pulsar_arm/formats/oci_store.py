"""Find the named parts of an image, in a layout folder or inside an archive without unpacking it."""

from __future__ import annotations

import posixpath
import tarfile
import tempfile
from pathlib import Path
from typing import Protocol

from pulsar_arm.errors import HostError, InputError
from pulsar_arm.formats.blob import DAMAGED
from pulsar_arm.formats.packed import is_packed, unpacked

_LINKS = 8


def open_store(path: Path) -> Store:
    """The parts of the image at `path`; InputError when it is neither a folder nor a readable tar."""
    return _Folder(path) if path.is_dir() else _Archive(path)


class Store(Protocol):
    """Where the named parts of an image lie."""

    path: Path

    def has(self, name: str) -> bool:
        """Whether the part is there."""
        ...

    def find(self, name: str) -> tuple[Path, int, int, object]:
        """File, offset, size and what must be kept alive of a part that is there."""
        ...


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def find(self, name: str) -> tuple[Path, int, int, object]:
        file = self.path / name
        return file, 0, file.stat().st_size, None


class _Archive:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._keep: tempfile.TemporaryDirectory[str] | None = None
        try:
            with path.open("rb") as file:
                compressed = is_packed(file.read(6))
            self._file = self._unpack() if compressed else path
            with tarfile.open(self._file, "r:") as tar:
                members = {posixpath.normpath(one.name): one for one in tar if one.isfile() or one.issym()}
        except FileNotFoundError as error:
            raise InputError(f"There is no image at {path}: check the path.") from error
        except DAMAGED as error:
            raise InputError(
                f"{path} is no image: neither an OCI layout nor a readable archive ({error})."
            ) from error
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error
        self._members = members

    def _unpack(self) -> Path:
        self._keep = tempfile.TemporaryDirectory(prefix="pulsar-arm-")
        target = Path(self._keep.name) / "archive.tar"
        with self.path.open("rb") as packed, target.open("wb") as plain:
            for piece in unpacked(packed):
                try:
                    plain.write(piece)
                except OSError as error:
                    sentence = f"{self.path} cannot be unpacked into {target.parent}: {error.strerror}."
                    raise HostError(sentence) from error
        return target

    def has(self, name: str) -> bool:
        return self._member(name) is not None

    def find(self, name: str) -> tuple[Path, int, int, object]:
        member = self._member(name)
        if member is None:
            raise KeyError(name)
        return self._file, member.offset_data, member.size, self._keep

    def _member(self, name: str) -> tarfile.TarInfo | None:
        # `docker save` before 25 wrote a layer once and linked to it from the other images.
        for _ in range(_LINKS):
            member = self._members.get(posixpath.normpath(name))
            if member is None or not member.issym():
                return member
            name = posixpath.join(posixpath.dirname(member.name), member.linkname)
        return None
