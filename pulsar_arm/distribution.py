"""Open what the user has: a release tarball, a folder, a jar or NAR, or a release number."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pulsar_arm.errors import InputError, UsageError
from pulsar_arm.formats import archive
from pulsar_arm.formats.archive import Content, Member
from pulsar_arm.formats.packed import is_packed
from pulsar_arm.formats.tar import read_tar
from pulsar_arm.formats.zip import ZIP_MAGICS

_FORMS = (
    "a release tarball (.tar.gz, .tar.xz, .tar.zst, .tar), an unpacked folder, a jar or NAR, "
    "or a release number"
)
_RELEASE = re.compile(r"\d+\.\d+\.\d+(?:[.-][\w.-]+)?")
_BROKER = re.compile(r"lib/org\.apache\.pulsar-pulsar-broker-(\d[\w.-]*)\.jar")
_TOP = re.compile(r"apache-pulsar(?:-offloaders)?-(\d[\w.-]*)")
_NAR_VERSION = re.compile(r"-(\d[\w.-]*?)\.(?:nar|jar)$")

Kind = Literal["pulsar", "offloaders", "connector", "jar", "java"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """What was opened, as reports name it."""

    kind: Kind
    """`java` is any other tarball or folder with jars in it."""
    version: str
    """The release, or empty when nothing tells it."""
    source: str
    """As the user wrote it."""
    sha256: str
    """Of the file; empty for a folder."""
    root: str
    """The top folder inside the archive, which locations leave out; empty when there is none."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something to read members from; opening it again is free, reading it again is not."""

    name: str
    """As the user wrote it."""
    path: Path
    form: Literal["tar", "directory", "zip"]

    def members(self, advance: Callable[[int], None] | None = None) -> Iterator[Content]:
        """Every member with its content, in order; a single jar or NAR is the only member.

        `advance` is told the bytes of the source that were read. InputError where it is damaged.
        """
        match self.form:
            case "tar":
                yield from read_tar(self.path, advance)
            case "directory":
                yield from archive.read_directory(self.path)
            case "zip":
                size = self.path.stat().st_size
                with self.path.open("rb") as content:
                    yield Member(self.path.name, "file", 0o644, size), content

    def size(self) -> int | None:
        """Bytes that `advance` will be told in all; None for a folder."""
        return None if self.form == "directory" else self.path.stat().st_size

    def sha256(self) -> str:
        """The digest of the file, or empty for a folder."""
        if self.form == "directory":
            return ""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def is_release(name: str) -> bool:
    """Whether SOURCE is meant as a release number: it looks like one, and no such file is there."""
    return bool(_RELEASE.fullmatch(name)) and not Path(name).exists()


def is_image(name: str) -> bool:
    """Whether a path is a container image: an OCI layout, or an archive that holds one."""
    path = Path(name)
    if path.is_dir():
        return (path / "oci-layout").exists()
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            return any(member.name in ("oci-layout", "manifest.json", "index.json") for member in tar)
    except (OSError, tarfile.TarError):
        return False


def open_source(name: str, path: Path) -> Source:
    """Find out what lies at `path`, which the user called `name`.

    UsageError when it is nothing we read, InputError when it cannot be read at all.
    """
    try:
        if path.is_dir():
            return Source(name, path, "directory")
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError as error:
        raise UsageError(f"There is no {name}: give {_FORMS}.") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}.") from error
    if head[:4] in ZIP_MAGICS:
        return Source(name, path, "zip")
    if is_packed(head) or head[257:262] == b"ustar":
        return Source(name, path, "tar")
    raise UsageError(f"{name} is none of the things that can be read: give {_FORMS}.")


def recognise(paths: Iterable[str], source: Source, sha256: str) -> Distribution:
    """What a source is, told by the paths of its members."""
    paths = list(paths)
    if source.form == "zip":
        match = _NAR_VERSION.search(source.path.name)
        kind: Kind = "connector" if source.name.endswith(".nar") else "jar"
        return Distribution(kind, match[1] if match else "", source.name, sha256, "")
    root = _common_root(paths) if source.form == "tar" else ""
    inside = {path.removeprefix(root + "/") if root else path for path in paths}
    top = _TOP.fullmatch(root or source.path.name)
    version = top[1] if top else ""
    if "bin/pulsar" in inside and "conf/broker.conf" in inside:
        broker = next((match for path in inside if (match := _BROKER.fullmatch(path))), None)
        return Distribution("pulsar", broker[1] if broker else version, source.name, sha256, root)
    if any(path.startswith("offloaders/") and path.endswith(".nar") for path in inside):
        return Distribution("offloaders", version, source.name, sha256, root)
    return Distribution("java", version, source.name, sha256, root)


def _common_root(paths: list[str]) -> str:
    roots = {path.split("/", 1)[0] for path in paths} - {"."}
    nested = any("/" in path for path in paths)
    return roots.pop() if len(roots) == 1 and nested else ""
