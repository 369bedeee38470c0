"""All that porting needs, made: a repository with a replacement, an override and a patch that know it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import AARCH64, X86_64, Made, elf_bytes, jar_bytes, rocksdb_jar
from builders_classfile import EQUALS, MATCHES, PRESTO, made_presto
from builders_maven import Server, maven_server

from pulsar_arm.catalog import Catalog, load_catalog
from pulsar_arm.distribution import Source, open_source
from pulsar_arm.errors import CatalogError
from pulsar_arm.host.maven import Coordinate, Repository
from pulsar_arm.host.progress import Silent
from pulsar_arm.patches import Patch, apply, load_patches
from pulsar_arm.plan import Plan, plan
from pulsar_arm.platforms import AARCH64 as TARGET
from pulsar_arm.port import Ported, port
from pulsar_arm.scan import scan

OLD_JAR = rocksdb_jar("5.1", X86_64)
NEW_JAR = rocksdb_jar("5.2", X86_64, AARCH64)
NEW = Coordinate.parse("org.rocksdb:rocksdbjni:5.2")
CHECK = f"{PRESTO}.class"
AMD64 = ['ldc "amd64"', "aload_3", EQUALS]
BOTH = ["aload_3", 'ldc "amd64|aarch64"', MATCHES]
OLD_CLASS = made_presto(AMD64).build()
PRESTO_JAR = jar_bytes({"a.txt": b"text " * 40, CHECK: OLD_CLASS, "z.bin": bytes(500)}, comment=b"made")
TOLERATED_JAR = jar_bytes({"t.so": elf_bytes(X86_64)})

_OVERRIDE = """
schema = 1
summary = "made"
[[loader]]
machine = "aarch64"
libc = "*"
names = ["librocksdbjni-linux-aarch64.so"]
[[severity]]
level = "fatal"
reason = "it stops"
evidence = "made"
[[remedy]]
versions = ["5.1"]
action = "replace"
with = "{coordinate}"
sha256 = "{sha256}"
licence = "Apache-2.0"
why = "it has aarch64"
"""
_TOLERATED = """
schema = 1
summary = "made"
[[severity]]
level = "feature"
reason = "slower"
evidence = "made"
[[remedy]]
action = "tolerate"
why = "it falls back"
"""
_PATCH = """
schema = 1
kind = "class"
summary = "aarch64 is accepted"
class = "{name}"
artifact = "presto-main"
os_arch = "aarch64"
source_diff = "p.patch"
[[revision]]
versions = ["0.1"]
accepts = "{accepts}"
result = "{result}"
[[edit]]
why = "it runs there"
method = "verifyJvmRequirements()V"
find = {find}
replace = {replace}
"""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def made_catalog(folder: Path, replacement: bytes = NEW_JAR) -> Catalog:
    """rocksdbjni 5.1 is replaced by 5.2, `tolerated` is tolerated."""
    folder.mkdir(parents=True, exist_ok=True)
    text = _OVERRIDE.format(coordinate=NEW, sha256=sha256(replacement))
    (folder / "rocksdbjni.toml").write_text(text)
    (folder / "tolerated.toml").write_text(_TOLERATED)
    return load_catalog(folder)


def made_patches(folder: Path) -> tuple[Patch, ...]:
    """The made Presto check comes to accept aarch64; the result's hash is found by asking."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "p.patch").write_text("--- a\n+++ b\n")
    fields = {"name": PRESTO.replace("/", "."), "accepts": sha256(OLD_CLASS), "find": AMD64, "replace": BOTH}
    (folder / "presto.toml").write_text(_PATCH.format(result="0" * 64, **fields))
    (wrong,) = load_patches(folder)
    with pytest.raises(CatalogError) as told:
        apply(wrong, OLD_CLASS)
    result = str(told.value).split("SHA-256 ")[1][:64]
    (folder / "presto.toml").write_text(_PATCH.format(result=result, **fields))
    return load_patches(folder)


@dataclass(frozen=True)
class World:
    """Everything around a port."""

    server: Server
    catalog: Catalog
    patches: tuple[Patch, ...]
    repository: Repository

    def plan(self, path: Path) -> tuple[Source, Plan]:
        source = open_source(path.name, path)
        return source, plan(scan(source, self.catalog, TARGET, Silent()), self.catalog, self.patches)

    def port(self, path: Path, out: Path, *, force: bool = False) -> Ported:
        source, made = self.plan(path)
        return port(source, made, out, self.repository, Silent(), force=force)


@contextmanager
def made_world(folder: Path) -> Iterator[World]:
    with maven_server() as server:
        server.publish(NEW.path, NEW_JAR)
        repository = Repository(
            folder / "cache", url=server.url, progress=Silent(), settings=folder / "no-settings.xml"
        )
        yield World(server, made_catalog(folder / "overrides"), made_patches(folder / "patches"), repository)


def parts() -> dict[str, Made]:
    """Files of a made Pulsar: each may be left out, and each is treated in its own way."""
    return {
        "README": b"text\n",
        "bin/pulsar": b"#!/bin/sh\n",
        "lib/org.rocksdb-rocksdbjni-5.1.jar": OLD_JAR,
        "lib/presto/plugin/p/rocksdbjni-5.1.jar": OLD_JAR,
        "lib/presto/lib/presto-main-0.1.jar": PRESTO_JAR,
        "lib/org.made-tolerated-1.0.jar": TOLERATED_JAR,
        "connectors/c.nar": jar_bytes(
            {
                "META-INF/bundled/rocksdbjni-5.1.jar": OLD_JAR,
                "META-INF/bundled/presto-main-0.1.jar": PRESTO_JAR,
            }
        ),
        "empty": None,
    }
