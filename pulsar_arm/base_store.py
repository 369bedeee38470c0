"""Bases that are kept: made once, and found again by what went into them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from pulsar_arm.errors import HostError, InputError
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.oci_archive import write_layout
from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.platforms import Platform

_LIST = "packages.json"


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package of the base."""

    name: str
    version: str
    architecture: str
    """dpkg's: `arm64` or `all`."""
    sha256: str
    """Of the .deb file; empty where only an image's package list is known."""


@dataclass(frozen=True, slots=True)
class Base:
    """What the image of Pulsar stands on."""

    name: str
    """`debian-trixie-sid-jre8`, `ubuntu-jre8`, or the image that was given: its reference or file name."""
    image: Image
    packages: tuple[Package, ...]
    """Sorted by name; empty when the image keeps no dpkg list."""
    java_home: str
    """Absolute, in the image."""
    java_vendor: str
    """`java.vendor` as far as it is known without running it, else empty."""
    libc: str
    """`glibc-2.41`, or `musl`."""

    @property
    def package_list(self) -> str:
        """The list to be kept beside the images, as JSON: equal lists make equal bases."""
        fields = {"schema_version": 1, "base": self.name, "image": self.image.digest, "libc": self.libc}
        fields |= {"java_home": self.java_home, "java_vendor": self.java_vendor}
        rows = [asdict(package) for package in self.packages]
        return json.dumps({**fields, "packages": rows}, indent=1) + "\n"


class BaseStore:
    """The folder of a cache in which bases lie: a layout each, named by its key."""

    def __init__(self, cache: Path, platform: Platform) -> None:
        """Nothing is made before the first `get`."""
        self.folder = cache / "bases"
        self._platform = platform

    def get(self, question: Any, make: Callable[[], str], *, refresh: bool = False) -> Base:
        """The base that answered `question` (any JSON) the last time, else what `make` gives the key of.

        HostError when the folder cannot be written, InputError when what is kept is damaged.
        """
        with _writable(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            fingerprint = key_of(question)
            with FileLock(self.folder / f"{fingerprint}.lock"):
                choice = self.folder / f"{fingerprint}.json"
                key = None if refresh else _remembered(choice)
                if key is None or not self.has(key):
                    key = make()
                    _remember(choice, key)
        return _kept(self.folder / key, self._platform)

    def has(self, key: str) -> bool:
        """Whether a base of that key is kept."""
        return (self.folder / key).is_dir()

    def keep(self, base: Base, key: str, work: Path) -> None:
        """Keep `base` under its key; its blobs lie in `work`, a folder beside."""
        layout = work / "layout"
        write_layout(base.image, layout, base.name)
        (layout / _LIST).write_text(base.package_list)
        layout.replace(self.folder / key)


def key_of(value: Any) -> str:
    """A name for any JSON: equal values have equal ones."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _kept(folder: Path, platform: Platform) -> Base:
    image = read_image(folder, platform)
    try:
        listed = json.loads((folder / _LIST).read_text())
        packages = tuple(Package(**row) for row in listed["packages"])
        texts = {key: str(listed[key]) for key in ("java_home", "java_vendor", "libc")}
        return Base(name=str(listed["base"]), image=image, packages=packages, **texts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The base kept in {folder} is damaged ({error}): remove that folder.") from error


def _remembered(choice: Path) -> str | None:
    try:
        return str(json.loads(choice.read_text())["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(choice: Path, key: str) -> None:
    partial = choice.with_suffix(".partial")
    partial.write_text(json.dumps({"key": key, "made": time.strftime("%Y-%m-%d", time.gmtime())}))
    partial.replace(choice)


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        sentence = f"The base cannot be kept in {folder}: {where}: {error.strerror or error}"
        raise HostError(f"{sentence}; free some space or choose another --cache.") from error
