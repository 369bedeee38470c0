"""Open what the user has: a tarball or zip, a folder, a jar or NAR, a container image, a release number."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Literal

from pulsar_arm.errors import InputError, UsageError
from pulsar_arm.formats.archive import Content, Member, read_directory
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.formats.packed import is_packed
from pulsar_arm.formats.tar import read_tar
from pulsar_arm.formats.zip import ZIP_MAGICS, on_disk, read_zip
from pulsar_arm.image_members import JAVA_ARCHIVES, image_members
from pulsar_arm.kinds import Kind, recognise_jar, recognise_tree
from pulsar_arm.platforms import AARCH64, PLATFORMS, Platform

_FORMS = (
    "a release tarball (.tar.gz, .tar.xz, .tar.zst, .tar) or zip, an unpacked folder, a jar or NAR, "
    "a container image (OCI layout, OCI or docker archive), or a release number"
)
_RELEASE = re.compile(r"\d+\.\d+\.\d+(?:[.-][\w.-]+)?")
_IMAGE_PARTS = ("oci-layout", "manifest.json", "index.json")
# What a packed archive of an image begins with: its index, or a blob. To look further costs to unpack it all.
_IMAGE_FIRST = re.compile(
    r"oci-layout|(?:manifest|index)\.json|repositories|blobs(?:/.*)?|(?:sha256:)?[0-9a-f]{64}(?:[/.].*)?"
)


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
    inside: str = ""
    """Where in an image it lies, as `pulsar`; locations keep it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something to read members from; opening it again is free, reading it again is not."""

    name: str
    """As the user wrote it."""
    path: Path
    form: Literal["tar", "directory", "zip", "jar", "image"]
    image: Image | None = field(default=None, compare=False, repr=False)

    def members(self, advance: Callable[[int], None] | None = None) -> Iterator[Content]:
        """Every member with its content, in order; a single jar or NAR is the only member.

        `advance` is told the bytes of the source that were read. InputError where it is damaged.
        """
        match self.form:
            case "tar":
                yield from read_tar(self.path, advance)
            case "directory":
                yield from read_directory(self.path)
            case "zip":
                yield from read_zip(self.path, advance)
            case "image" if self.image:
                yield from image_members(self.image)
            case _:
                size = self.path.stat().st_size
                with self.path.open("rb") as content:
                    yield Member(self.path.name, "file", 0o644, size), content

    def size(self) -> int | None:
        """Bytes that `advance` will be told in all; None where it is told nothing."""
        return None if self.form in ("directory", "image") else self.path.stat().st_size

    def sha256(self) -> str:
        """The digest of the file; an image's is its ID (of its config), a folder has none."""
        if self.image:
            return self.image.config_digest.removeprefix("sha256:")
        if self.form == "directory":
            return ""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def is_release(name: str) -> bool:
    """Whether SOURCE is meant as a release number: it looks like one, and no such file is there."""
    return bool(_RELEASE.fullmatch(name)) and not Path(name).exists()


def is_image(name: str) -> bool:
    """Whether a path is a container image: an OCI layout, or an archive, packed or not, that holds one."""
    path = Path(name)
    if not path.is_file():
        return (path / "oci-layout").exists()
    try:
        with path.open("rb") as file:
            if not is_packed(file.read(6)):
                file.seek(0)
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    return any(member.name in _IMAGE_PARTS for member in tar)
        with closing(read_tar(path)) as members:
            return any(_IMAGE_FIRST.fullmatch(member.path) for member, _content in islice(members, 1))
    except (OSError, tarfile.TarError, InputError):
        return False


def open_source(name: str, path: Path, target: Platform = AARCH64) -> Source:
    """Find out what lies at `path`, which the user called `name`.

    Of an image it is the one for `target`, else one for another machine, whose jars may hold libraries for
    several. UsageError when it is nothing we read, InputError when it cannot be read at all.
    """
    try:
        if is_image(str(path)):
            return Source(name, path, "image", read_image(path, target, *PLATFORMS))
        if path.is_dir():
            return Source(name, path, "directory")
        with path.open("rb") as file:
            head = file.read(512)
            if head[:4] in ZIP_MAGICS:
                return Source(name, path, "jar" if _is_jar(path, file) else "zip")
    except FileNotFoundError as error:
        raise UsageError(f"There is no {name}: give {_FORMS}.") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}.") from error
    if is_packed(head) or head[257:262] == b"ustar":
        return Source(name, path, "tar")
    raise UsageError(f"{name} is none of the things that can be read: give {_FORMS}.")


def _is_jar(path: Path, file: IO[bytes]) -> bool:
    """Whether a zip file is one archive of Java's, by its name or its manifest, and no distribution."""
    return path.name.endswith(JAVA_ARCHIVES) or "META-INF/MANIFEST.MF" in _names(file)


def _names(file: IO[bytes]) -> set[str]:
    try:
        return {entry.name for entry in on_disk(file).entries(passing=".class")}
    except InputError:
        return set()  # a walk will tell


def recognise(paths: Iterable[str], source: Source, sha256: str) -> Distribution:
    """What a source is, told by the paths of its members; a single jar's, by those of its entries."""
    if source.form == "jar":
        with source.path.open("rb") as file:
            found = recognise_jar(_names(file), source.path.name)
    else:
        top = source.path.name if source.form == "directory" else source.name
        found = recognise_tree(paths, top, anywhere=source.form == "image", below=source.form != "directory")
    inside, root = (found.top, "") if source.form == "image" else ("", found.top)
    return Distribution(found.kind, found.version, source.name, sha256, root, inside)
