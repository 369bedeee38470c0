"""Read and write Java truststores (JKS version 2): the same bytes for the same certificates."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

_MAGIC = 0xFEEDFEED
_VERSION = 2
_TRUSTED = 2
_WHITENER = b"Mighty Aphrodite"
# The constant that sun.security.provider.JavaKeyStore mixes into the integrity check.


def write_truststore(certificates: Iterable[tuple[str, bytes]], password: str = "changeit") -> bytes:  # noqa: S107
    """The keystore file of `(alias, DER certificate)` pairs, sorted by alias, all dated 1970-01-01.

    The format is that of the JDK's sun.security.provider.JavaKeyStore: a header, an entry each (tag,
    alias, date, type, DER) and SHA-1 of password, whitener and content. Every JRE from 8 on reads it;
    the password protects nothing, it is the one the JDK itself uses for its truststore.
    """
    entries = sorted(certificates)
    body = struct.pack(">III", _MAGIC, _VERSION, len(entries))
    for alias, der in entries:
        body += struct.pack(">I", _TRUSTED) + _text(alias.lower()) + struct.pack(">Q", 0)
        body += _text("X.509") + struct.pack(">I", len(der)) + der
    # SHA-1 is the format's own integrity check, not ours to choose.
    return body + hashlib.sha1(password.encode("utf-16-be") + _WHITENER + body).digest()  # noqa: S324


def is_truststore(content: bytes) -> bool:
    """Whether it begins as a JKS does; newer JDKs also ship PKCS 12."""
    return content[:4] == struct.pack(">I", _MAGIC)


def read_truststore(content: bytes) -> list[tuple[str, bytes]]:
    """The `(alias, DER certificate)` pairs of a truststore; the integrity check is passed over.

    ValueError when it is no JKS version 2, is cut short, or holds anything but trusted certificates.
    """
    try:
        magic, version, count = struct.unpack_from(">III", content)
        if (magic, version) != (_MAGIC, _VERSION):
            raise ValueError(f"no JKS of version {_VERSION}")
        position, entries = 12, []
        for _ in range(count):
            (tag,) = struct.unpack_from(">I", content, position)
            if tag != _TRUSTED:
                raise ValueError("an entry is no trusted certificate")
            alias, position = _read_text(content, position + 4)
            kind, position = _read_text(content, position + 8)  # the date
            (size,) = struct.unpack_from(">I", content, position)
            der = content[position + 4 : position + 4 + size]
            position += 4 + size
            if kind != "X.509" or len(der) != size:
                raise ValueError("an entry is no X.509 certificate, or is cut short")
            entries.append((alias, der))
    except struct.error as error:
        raise ValueError("it is cut short") from error
    return entries


def _read_text(content: bytes, position: int) -> tuple[str, int]:
    (size,) = struct.unpack_from(">H", content, position)
    end = position + 2 + size
    return content[position + 2 : end].decode(errors="replace"), end


def _text(value: str) -> bytes:
    """Java's DataOutput.writeUTF: a length of two bytes, then UTF-8 (equal for what has no NUL or emoji)."""
    encoded = value.encode()
    return struct.pack(">H", len(encoded)) + encoded
