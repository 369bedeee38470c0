"""Rewrite a few entries of a jar or NAR, and leave every other byte of its entries as it was."""

from __future__ import annotations

import copy
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import cast

from zlib_ng import zlib_ng

from pulsar_arm.errors import InputError

ZIP_DAMAGE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    cast("type[Exception]", zlib_ng.error),
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    OSError,
)
"""What readers of zip files raise on bytes that are damaged, encrypted or packed in a strange way."""
_SIGNATURE = re.compile(r"META-INF/[^/]+\.(?:SF|DSA|RSA|EC)", re.IGNORECASE)


def add_entry(content: bytes, name: str, added: bytes, like: str) -> bytes:
    """The zip file `content` with one more entry at its end, stored, with the time and mode of `like`.

    InputError when the name is taken, `like` is missing, the zip is damaged, or the jar is signed.
    """
    return _changed(content, {}, {name: (like, added)})


def put_entry(content: bytes, name: str, put: bytes) -> bytes:
    """The zip file `content` with this entry, in the place of the one of its name or else at the end, stored.

    A new one takes time and mode from the first entry that is no folder. InputError when there is none, the
    zip is damaged, or the jar is signed.
    """
    names = entry_names(content)
    if name in names:
        return edit_entries(content, {name: lambda _old: put})
    like = next((one for one in names if not one.endswith("/")), "")
    return add_entry(content, name, put, like)


def is_signed(content: bytes) -> bool:
    """Whether a jar has a signature, which a change would break; InputError when the zip is damaged."""
    return any(_SIGNATURE.fullmatch(name) for name in entry_names(content))


def entry_names(content: bytes) -> list[str]:
    """The names in a zip file's directory, in order; InputError when it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as old:
            return old.namelist()
    except ZIP_DAMAGE as error:
        raise InputError(f"its zip structure is damaged: {error}") from error


def edit_entries(content: bytes, edits: Mapping[str, Callable[[bytes], bytes]]) -> bytes:
    """The zip file `content` with the named entries' contents replaced by what their edit makes of them.

    Order, names, times, attributes and comment stay. Entries that do not change are copied packed, as
    they are; a changed one is stored, since stored bytes are the same on every machine, which deflated
    ones are not. InputError when an entry is missing, the zip is damaged, or the jar is signed.
    """
    return _changed(content, edits, {})


def _changed(content: bytes, edits: _Edits, added: _Added) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as old:
            return _rewrite(old, content, edits, added)
    except ZIP_DAMAGE as error:
        raise InputError(f"its zip structure is damaged: {error}") from error


def read_entry(jar: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """An entry's content; no more is unpacked than its size says, which `ZipFile.read` does not promise."""
    with jar.open(info) as entry:
        content = entry.read(info.file_size)
    if len(content) != info.file_size:
        raise EOFError(f"{info.filename} ends early")
    return content


_Edits = Mapping[str, Callable[[bytes], bytes]]
_Added = Mapping[str, tuple[str, bytes]]


def _rewrite(old: zipfile.ZipFile, content: bytes, edits: _Edits, added: _Added) -> bytes:
    names = set(old.namelist())
    if missing := sorted(({*edits} | {like for like, _content in added.values()}) - names):
        raise InputError(f"it holds no {missing[0]}")
    if taken := sorted(names & set(added)):
        raise InputError(f"it holds a {taken[0]} already")
    if any(_SIGNATURE.fullmatch(name) for name in names):
        raise InputError("it is signed, and Java would refuse it after a change: take an unsigned build")
    if strange := [info.filename for info in old.filelist if not _same_when_written(info)]:
        raise InputError(f"a rewrite would change the name of its entry {strange[0]!r}")
    by_place = sorted(old.filelist, key=lambda info: info.header_offset)
    ends = [info.header_offset for info in by_place[1:]] + [old.start_dir]
    if any(info.header_offset >= end for info, end in zip(by_place, ends, strict=True)):
        raise InputError("its entries overlap")
    moved: dict[int, zipfile.ZipInfo] = {}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as new:
        for info, end in zip(by_place, ends, strict=True):
            if info.filename in edits:
                moved[info.header_offset] = _stored(new, info, edits[info.filename](read_entry(old, info)))
                continue
            same = copy.copy(info)
            same.header_offset = out.tell()
            out.write(content[info.header_offset : end])
            moved[info.header_offset] = same
        # zipfile writes the directory of what stands in `filelist`, from `start_dir` on: the one way it
        # leaves to copy packed entries without unpacking them.
        fresh = [_stored(new, _named(old.getinfo(like), name), raw) for name, (like, raw) in added.items()]
        new.filelist[:] = [moved[info.header_offset] for info in old.filelist] + fresh
        new.start_dir = out.tell()
        new.comment = old.comment
    return out.getvalue()


def _same_when_written(info: zipfile.ZipInfo) -> bool:
    """Whether zipfile writes the name it read; it turns names of old encodings into UTF-8 (APPNOTE 4.4.4)."""
    named_utf8 = bool(info.flag_bits & 0x800)
    return info.filename == info.orig_filename and (named_utf8 or info.filename.isascii())


def _named(info: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo:
    like = copy.copy(info)
    like.filename = name
    return like


def _stored(new: zipfile.ZipFile, info: zipfile.ZipInfo, content: bytes) -> zipfile.ZipInfo:
    fresh = zipfile.ZipInfo(info.filename, info.date_time)
    fresh.create_system = info.create_system
    fresh.comment = info.comment
    new.fp.seek(0, io.SEEK_END)  # type: ignore[union-attr]
    new.start_dir = new.fp.tell()  # type: ignore[union-attr]
    new.writestr(fresh, content, zipfile.ZIP_STORED)
    fresh.external_attr = info.external_attr  # writestr turns none into 0600
    return fresh
