"""Rewrite a few entries of a jar or NAR, and leave every other byte of its entries as it was."""

from __future__ import annotations

import copy
import io
import re
import zipfile
from collections.abc import Callable, Mapping

from pulsar_arm.errors import InputError

_SIGNATURE = re.compile(r"META-INF/[^/]+\.(?:SF|DSA|RSA|EC)", re.IGNORECASE)


def edit_entries(content: bytes, edits: Mapping[str, Callable[[bytes], bytes]]) -> bytes:
    """The zip file `content` with the named entries' contents replaced by what their edit makes of them.

    Order, names, times, attributes and comment stay. Entries that do not change are copied packed, as
    they are; a changed one is stored, since stored bytes are the same on every machine, which deflated
    ones are not. InputError when an entry is missing, the zip is damaged, or the jar is signed.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as old:
            return _rewrite(old, content, edits)
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise InputError(f"its zip structure is damaged: {error}") from error


def _rewrite(old: zipfile.ZipFile, content: bytes, edits: Mapping[str, Callable[[bytes], bytes]]) -> bytes:
    names = set(old.namelist())
    if missing := sorted(set(edits) - names):
        raise InputError(f"it holds no {missing[0]}")
    if any(_SIGNATURE.fullmatch(name) for name in names):
        raise InputError("it is signed, and Java would refuse it after a change: take an unsigned build")
    by_place = sorted(old.filelist, key=lambda info: info.header_offset)
    ends = [info.header_offset for info in by_place[1:]] + [old.start_dir]
    moved: dict[int, zipfile.ZipInfo] = {}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as new:
        for info, end in zip(by_place, ends, strict=True):
            if info.filename in edits:
                moved[info.header_offset] = _stored(new, info, edits[info.filename](old.read(info)))
                continue
            same = copy.copy(info)
            same.header_offset = out.tell()
            out.write(content[info.header_offset : end])
            moved[info.header_offset] = same
        # zipfile writes the directory of what stands in `filelist`, from `start_dir` on: the one way it
        # leaves to copy packed entries without unpacking them.
        new.filelist[:] = [moved[info.header_offset] for info in old.filelist]
        new.start_dir = out.tell()
        new.comment = old.comment
    return out.getvalue()


def _stored(new: zipfile.ZipFile, info: zipfile.ZipInfo, content: bytes) -> zipfile.ZipInfo:
    fresh = zipfile.ZipInfo(info.filename, info.date_time)
    fresh.create_system = info.create_system
    fresh.comment = info.comment
    new.fp.seek(0, io.SEEK_END)  # type: ignore[union-attr]
    new.start_dir = new.fp.tell()  # type: ignore[union-attr]
    new.writestr(fresh, content, zipfile.ZIP_STORED)
    fresh.external_attr = info.external_attr  # writestr turns none into 0600
    return fresh
