"""Write outputs that appear whole or not at all: made beside their place, and renamed at the end."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pulsar_arm.errors import HostError, UsageError


@contextmanager
def whole_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a file beside `path` to write; it takes the place of `path` when the block ends well.

    UsageError when `path` exists and `force` is not given; HostError for a full disk or a place that
    cannot be written. Whatever happens, no half file is left and the old one stays until the end. What is
    no file, such as /dev/null or a pipe, is written to and never replaced.
    """
    with told(path):
        special = path.exists() and not path.is_file() and not path.is_dir()
    if special:
        with told(path), tempfile.TemporaryDirectory(prefix="pulsar-arm-") as place:
            file = Path(place, path.name)
            yield file
            with file.open("rb") as made, path.open("wb") as device:
                shutil.copyfileobj(made, device)
        return
    with _beside(path, force) as temporary:
        file = temporary / path.name
        yield file
        file.replace(path)


@contextmanager
def whole_directory(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `path` to fill; it takes the place of `path` when the block ends well.

    Errors as `whole_file`. With `force` the old folder is moved aside first and removed last.
    """
    with _beside(path, force) as temporary:
        folder = temporary / path.name
        folder.mkdir()
        yield folder
        old = temporary / "old"
        try:
            if path.exists():
                path.rename(old)
            folder.rename(path)
        finally:
            if old.exists() and not path.exists():
                old.rename(path)


def link(source: Path, target: Path) -> None:
    """Give the file `source` a second name, or a copy where the disk knows no links."""
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(source, target)


@contextmanager
def _beside(path: Path, force: bool) -> Iterator[Path]:
    with told(path):
        if path.exists() and not force:
            raise UsageError(f"{path} exists already: choose another name, or replace it with --force.")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        # Only mkdtemp's folder is private; what is made in it gets the user's usual permissions.
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the system says about writing at `path` into a HostError."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise HostError(f"No space is left while writing {path}: make room there.") from error
        said = os.strerror(error.errno) if error.errno else str(error)
        raise HostError(f"{error.filename or path} cannot be written: {said}.") from error
