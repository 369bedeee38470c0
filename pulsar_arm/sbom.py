"""Write down what a ported tree consists of: a CycloneDX software bill of materials (ECMA-424, 1.6).

Every jar is a component, those inside NARs too, with its coordinate and hash. What the port brought in or
changed has its pedigree: what stood there before, and the patch. It tells no time: equal trees, equal bytes.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import uuid
from collections.abc import Iterator
from typing import Any

from pulsar_arm import __version__
from pulsar_arm.distribution import open_source
from pulsar_arm.errors import InputError
from pulsar_arm.formats.zip import ZIP_MAGICS, in_memory
from pulsar_arm.host.maven import Coordinate
from pulsar_arm.identity import Identity, identity, identity_of_name
from pulsar_arm.plan import PatchClass
from pulsar_arm.port import Change, Ported

_SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_SPDX = re.compile(r"[\w.+-]+(?: (?:AND|OR|WITH) [\w.+-]+)*")
_Row = dict[str, Any]


def sbom_json(ported: Ported) -> dict[str, Any]:
    """The bill of materials of a ported distribution, read from what was written."""
    distribution = ported.plan.inventory.distribution
    changes = _changes(ported.changes)
    source = open_source(str(ported.path), ported.path)
    components: list[_Row] = []
    for member, content in source.members():
        path = member.path.removeprefix(f"{ported.root}/") if ported.root else member.path
        if content is None:
            continue
        head = content.read(4)
        if head in ZIP_MAGICS and path.endswith((".jar", ".nar")):
            components += _components(path, head + content.read(), changes, ported)
    hashes = {"hashes": _hashes(distribution.sha256)} if distribution.sha256 else {}
    name = f"apache-pulsar-{distribution.kind}" if distribution.kind != "pulsar" else "apache-pulsar"
    whole = {"type": "application", "name": name, "version": distribution.version or "unknown"}
    target = ported.plan.inventory.target.name
    bill: dict[str, Any] = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "pulsar-arm", "version": __version__}]},
            "component": {
                **whole,
                "bom-ref": "distribution",
                "pedigree": {"ancestors": [{**whole, **hashes}], "notes": f"ported to {target}"},
            },
        },
        "components": sorted(components, key=lambda row: str(row["bom-ref"])),
    }
    # RFC 9562, 5.5: the number is made of the content, so that equal work makes equal bytes.
    number = uuid.uuid5(uuid.NAMESPACE_URL, _SCHEMA + hashlib.sha256(repr(bill).encode()).hexdigest())
    return {**bill, "serialNumber": f"urn:uuid:{number}"}


def _changes(changes: tuple[Change, ...]) -> dict[str, list[Change]]:
    """The changes by the archive that they make another one, and by all that it lies in."""
    found: dict[str, list[Change]] = {}
    for change in changes:
        parts = change.location.split("!/")
        for end in range(1, len(parts) + 1):
            found.setdefault("!/".join(parts[:end]), []).append(change)
    return found


def _components(
    location: str, content: bytes, changes: dict[str, list[Change]], ported: Ported
) -> Iterator[_Row]:
    """A jar or NAR, and those in it."""
    try:
        jar = in_memory(content)
        entries = list(jar.entries(".class"))
        known = identity(jar, entries, posixpath.basename(location))
        inside = [(one.name, jar.content(one)) for one in entries if one.name.endswith((".jar", ".nar"))]
    except InputError as error:
        raise InputError(f"{location} cannot be read: {error}") from error
    yield _component(location, content, known, changes.get(location, []), ported)
    for name, inner in inside:
        yield from _components(f"{location}!/{name}", inner, changes, ported)


def _component(location: str, content: bytes, known: Identity, changes: list[Change], ported: Ported) -> _Row:
    brought = next((one for one in changes if one.location == location), None)
    row = {
        "type": "library",
        "bom-ref": location,
        **(_named(known) if brought is None else _brought(Coordinate.parse(brought.origin))),
        "hashes": _hashes(hashlib.sha256(content).hexdigest()),
        "properties": [{"name": "pulsar-arm:location", "value": location}],
    }
    if brought is not None:
        row["licenses"] = [_licence(brought.licence)]
        if brought.sha256_before:
            before = _named(identity_of_name(posixpath.basename(location)))
            ancestor = {"type": "library", **before, "hashes": _hashes(brought.sha256_before)}
            row["pedigree"] = {"ancestors": [ancestor], "notes": _why(location, ported)}
        else:
            row["pedigree"] = {"notes": _why(location, ported)}
    elif changes:
        row["pedigree"] = _rewritten(known, location, changes, ported)
    return row


def _rewritten(known: Identity, location: str, changes: list[Change], ported: Ported) -> _Row:
    """The pedigree of an archive in which something was changed."""
    names = ", ".join(change.location.removeprefix(f"{location}!/") for change in changes)
    pedigree: _Row = {
        "ancestors": [{"type": "library", **_named(known)}],
        "notes": f"the same but for {names}",
    }
    applied = {change.origin for change in changes if change.action == "patch"}
    patches = [one.patch for one in ported.plan.actions if isinstance(one, PatchClass)]
    rows = {
        patch.name: {
            "type": "unofficial",
            "diff": {"text": {"contentType": "text/x-diff", "content": patch.source_diff.read_text("utf-8")}},
        }
        for patch in patches
        if patch.name in applied
    }
    return {**pedigree, "patches": list(rows.values())} if rows else pedigree


def _why(location: str, ported: Ported) -> str:
    found = (
        one.why for one in ported.plan.actions if not isinstance(one, PatchClass) and one.location == location
    )
    return next(found, "")


def _brought(coordinate: Coordinate) -> _Row:
    named = _named(Identity(coordinate.group, coordinate.artifact, coordinate.version))
    classifier = f"?classifier={coordinate.classifier}" if coordinate.classifier else ""
    return {**named, "purl": named["purl"] + classifier}


def _named(known: Identity) -> _Row:
    """Name and package URL (purl-spec, type maven): without a group there is none."""
    row: _Row = {"group": known.group} if known.group else {}
    row["name"] = known.artifact
    if known.version:
        row["version"] = known.version
    if known.group and known.version:
        # `+` is the one character of coordinates that a package URL must escape (purl-spec, encoding).
        version = known.version.replace("+", "%2B")
        row["purl"] = f"pkg:maven/{known.group}/{known.artifact}@{version}"
    return row


def _hashes(sha256: str) -> list[_Row]:
    return [{"alg": "SHA-256", "content": sha256}]


def _licence(text: str) -> _Row:
    """An SPDX expression as such, any other words as a name."""
    return {"expression": text} if _SPDX.fullmatch(text) else {"license": {"name": text}}
