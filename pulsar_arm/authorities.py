"""Let an image trust more authorities: a layer with its CA bundle and Java's truststore, both extended."""

from __future__ import annotations

import hashlib
import posixpath
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pulsar_arm.errors import InputError, UsageError
from pulsar_arm.formats.jks import is_truststore, read_truststore, write_truststore
from pulsar_arm.formats.layer import LayerEntry
from pulsar_arm.formats.oci import Image
from pulsar_arm.formats.root import root_entries, root_paths
from pulsar_arm.tree import Layer

_BUNDLES = (
    "etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "etc/pki/tls/certs/ca-bundle.crt",  # rpm systems
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/cert.pem",
    "etc/ssl/ca-bundle.pem",
)
"""Where OpenSSL, curl and Python look; several are often links to one."""
_STORES = ("lib/security/cacerts", "jre/lib/security/cacerts")
"""Where Java looks, under JAVA_HOME: from 9 on, and in 8."""
_PEM = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.+?-----END [A-Z0-9 ]+-----", re.DOTALL)
_HOPS = 40


def read_authorities(paths: Sequence[Path]) -> tuple[bytes, ...]:
    """The certificates (DER) in PEM files, each once.

    UsageError for a file without one, or with a private key: an image is no place for it.
    """
    found: dict[bytes, None] = {}
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UsageError(f"--extra-ca {path} cannot be read: {error.strerror}.") from error
        if b"PRIVATE KEY-----" in content:
            raise UsageError(f"--extra-ca {path} holds a private key: give its certificates alone.")
        ders = _certificates(content, f"--extra-ca {path}")
        if not ders:
            raise UsageError(f"--extra-ca {path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----).")
        for der in ders:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
            except ssl.SSLError as error:
                raise UsageError(
                    f"--extra-ca {path} holds what is no certificate: {error.reason}."
                ) from error
            found[der] = None
    return tuple(found)


def authority_layer(image: Image, java_home: str, authorities: Sequence[bytes]) -> Layer:
    """The layer `authorities` on top of `image`: every bundle and truststore it has, extended.

    A truststore that is no JKS is made anew out of the bundle. InputError when the image has no bundle or
    no truststore, or one that is damaged.
    """
    paths = root_paths(image)
    bundles = _present(paths, _BUNDLES)
    stores = _present(paths, [f"{java_home.strip('/')}/{place}" for place in _STORES])
    for found, what in ((bundles, "CA bundle"), (stores, f"truststore under {java_home}")):
        if not found:
            raise InputError(f"The base has no {what} that --extra-ca could extend: choose another base.")
    contents = _contents(image, {*bundles, *stores})
    extended = {path: _extended(contents[path], authorities) for path in bundles}
    trusted = _certificates(next(iter(extended.values())), f"/{bundles[0]}")
    for path in stores:
        extended[path] = _store(contents[path], trusted, authorities, path)
    files = [replace(paths[path], source=content) for path, content in extended.items()]
    folders = {str(parent) for path in extended for parent in PurePosixPath(path).parents} - {"."}
    return Layer("authorities", (*(paths[folder] for folder in sorted(folders)), *files))


def _present(paths: Mapping[str, LayerEntry], places: Sequence[str]) -> tuple[str, ...]:
    """The files that `places` lead to, each once."""
    found = (_followed(paths, place) for place in places)
    return tuple(dict.fromkeys(path for path in found if path and paths[path].kind == "file"))


def _followed(paths: Mapping[str, LayerEntry], place: str) -> str:
    """Where a path leads through symbolic links, of its folders too; empty when nothing is there."""
    done, waiting = "", place.split("/")
    for _ in range(_HOPS * 8):
        if not waiting:
            return done
        step = posixpath.normpath(posixpath.join(done, waiting.pop(0)))
        entry = paths.get(step)
        if entry is None:
            return ""
        if entry.kind == "symlink":
            target = posixpath.normpath(posixpath.join("/", done, entry.link)).lstrip("/")
            done, waiting = "", [*target.split("/"), *waiting]
        else:
            done = step
    return ""


def _contents(image: Image, wanted: set[str]) -> dict[str, bytes]:
    found = {}
    for one in root_entries(image):
        if one.content is not None and one.entry.path in wanted:
            found[one.entry.path] = one.content.read()
            if len(found) == len(wanted):
                break
    return found


def _certificates(content: bytes, where: str) -> list[bytes]:
    ders = []
    for match in _PEM.finditer(content):
        text = re.sub(rb"(X509|TRUSTED) CERTIFICATE", b"CERTIFICATE", match[0]).decode("ascii", "replace")
        try:
            ders.append(ssl.PEM_cert_to_DER_cert(text))
        except ValueError as error:
            raise InputError(f"{where} holds a damaged certificate: {error}.") from error
    return ders


def _extended(bundle: bytes, authorities: Sequence[bytes]) -> bytes:
    there = set(_certificates(bundle, "The base's CA bundle"))
    added = "".join(ssl.DER_cert_to_PEM_cert(der) for der in authorities if der not in there)
    return bundle.rstrip(b"\n") + b"\n" + added.encode() if added else bundle


def _store(content: bytes, trusted: Sequence[bytes], authorities: Sequence[bytes], path: str) -> bytes:
    if not is_truststore(content):
        return write_truststore((_alias(der), der) for der in dict.fromkeys(trusted))
    try:
        entries = read_truststore(content)
    except ValueError as error:
        raise InputError(f"The base's truststore /{path} cannot be extended: {error}.") from error
    there = {der for _, der in entries}
    return write_truststore((*entries, *((_alias(der), der) for der in authorities if der not in there)))


def _alias(der: bytes) -> str:
    return f"pulsar-arm:{hashlib.sha256(der).hexdigest()[:32]}"
