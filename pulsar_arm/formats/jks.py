"""Write a Java truststore (JKS version 2) that is the same bytes for the same certificates."""

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


def _text(value: str) -> bytes:
    """Java's DataOutput.writeUTF: a length of two bytes, then UTF-8 (equal for what has no NUL or emoji)."""
    encoded = value.encode()
    return struct.pack(">H", len(encoded)) + encoded
