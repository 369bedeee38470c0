"""Find out which artifact a jar is: by what Maven left in it, its manifest, or its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pulsar_arm.formats.zip import Entry, Zip

_LONGEST_NAME = 255
"""Of a file; a hostile entry's name may have 64 KiB and cost hours in a regular expression."""
_LARGEST_TEXT = 1 << 20
"""Bytes of a manifest or pom.properties; nothing longer is one."""
_POM = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.properties")
_JAR_NAME = re.compile(
    r"(?P<artifact>.+?)-(?P<version>\d[\w.]*(?:-(?:\d[\w.]*|[A-Za-z]+\d+|SNAPSHOT))*)(?:-.*)?"
)
_GROUP_PREFIX = re.compile(r"^((?:[a-z0-9_]+\.)+[a-z0-9_]+)-(?=[a-zA-Z])")


@dataclass(frozen=True, slots=True)
class Identity:
    """The name of an artifact, as far as it is known."""

    group: str
    """Empty when nothing tells it."""
    artifact: str
    version: str
    """Empty when nothing tells it."""


def identity(jar: Zip, entries: Sequence[Entry], name: str) -> Identity:
    """Who a jar of this file name is: told by pom.properties, else by the manifest and the name."""
    stem = re.sub(r"\.(jar|nar)$", "", name)
    texts = [entry for entry in entries if entry.size <= _LARGEST_TEXT and entry.name.startswith("META-INF/")]
    poms = [_properties(jar.content(entry)) for entry in texts if _POM.fullmatch(entry.name)]
    named = [pom for pom in poms if pom.get("artifactId") and pom["artifactId"] in stem]
    named.sort(key=lambda pom: len(pom["artifactId"]), reverse=True)  # netty-all before netty
    for pom in named or (poms if len(poms) == 1 else []):
        if pom.get("artifactId") and pom.get("version"):
            return Identity(pom.get("groupId", ""), pom["artifactId"], pom["version"])
    known = identity_of_name(name)
    manifest = _manifest(jar, texts)
    told = manifest.get("Implementation-Version", "")
    # A jar that replaced another keeps that one's name; a manifest that names the library knows better.
    if told and manifest.get("Implementation-Title") == known.artifact:
        return replace(known, version=told)
    return replace(known, version=known.version or told or manifest.get("Bundle-Version", ""))


def identity_of_name(name: str) -> Identity:
    """What the file name of a jar or NAR tells alone; in a server's `lib` it begins with the group."""
    stem = re.sub(r"\.(jar|nar)$", "", name)
    match = _JAR_NAME.fullmatch(stem) if len(stem) <= _LONGEST_NAME else None
    artifact, version = (match["artifact"], match["version"]) if match else (stem, "")
    group = _GROUP_PREFIX.match(artifact)
    return Identity(group[1] if group else "", _GROUP_PREFIX.sub("", artifact, count=1), version)


def _properties(content: bytes) -> dict[str, str]:
    rows = (line.split("=", 1) for line in content.decode("latin-1").splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in rows}


def _manifest(jar: Zip, texts: Sequence[Entry]) -> dict[str, str]:
    """The main attributes whose values are short enough for one line (JAR File Specification)."""
    found = [entry for entry in texts if entry.name == "META-INF/MANIFEST.MF"]
    content = jar.content(found[-1]) if found else b""
    lines = content.decode("utf-8", errors="replace").split("\r\n\r\n", 1)[0].split("\n\n", 1)[0]
    return dict(re.findall(r"^([\w-]+): *(\S+)", lines, re.M))
