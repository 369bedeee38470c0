"""What the Debian base is for one Java release and machine: a TOML file, filled in and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulsar_arm.errors import CatalogError, UsageError
from pulsar_arm.platforms import Platform

Pairs = tuple[tuple[str, str], ...]
_LISTS = ("drop", "keep", "folders", "java_tools", "packages")
_TABLES = ("env", "copies", "links", "alternatives", "append")
_ROW = {"release", "suites", "java_home", "apt_options"}


@dataclass(frozen=True, slots=True)
class Definition:
    """One row of the file, every placeholder replaced."""

    jre: int
    """The Java release: 8, 11, 17, 21."""
    suites: tuple[str, ...]
    """Debian's suites; each later one serves only what the earlier ones lack."""
    apt_options: tuple[str, ...]
    """Lines for apt.conf."""
    packages: tuple[str, ...]
    """Names that are asked for; what they depend on comes along."""
    java_home: str
    """Absolute, in the image."""
    java_vendor: str
    """What `java.vendor` says there."""
    user: str
    """A line of passwd(5)."""
    drop: tuple[str, ...]
    """Folders whose files are left out of the layer."""
    keep: tuple[str, ...]
    """File names that are kept even there."""
    folders: tuple[str, ...]
    """Folders to add where no package brings them."""
    java_tools: tuple[str, ...]
    """The first of these folders that exists has its programs linked from /usr/bin."""
    env: Pairs
    """The image's environment."""
    copies: Pairs
    """`(new file, file of a package)`, both relative to the root."""
    links: Pairs
    """`(new symbolic link, target as written)`."""
    alternatives: Pairs
    """`(link, program)`: the link goes through /etc/alternatives, as update-alternatives does it."""
    append: Pairs
    """`(file, line)` added at its end."""


def read_definition(path: Path, jre: int, platform: Platform) -> Definition:
    """The Debian base for Java `jre` on `platform`, as the TOML file at `path` tells it.

    CatalogError names the key that is missing, unknown or of the wrong type; UsageError lists the Java
    releases when `jre` is none of them.
    """
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path} cannot be read: {error}.") from error
    _check_keys(path, table, {"kind", "user", "java_vendor", "jre", *_LISTS, *_TABLES}, "the file")
    rows = table["jre"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise CatalogError(f"{path}: `jre` must be a list of tables; write [[jre]].")
    for row in rows:
        _check_keys(path, row, _ROW, "[[jre]]", optional={"apt_options"})
    row = next((row for row in rows if row["release"] == jre), None)
    if row is None:
        known = ", ".join(str(row["release"]) for row in rows)
        raise UsageError(
            f"There is no Debian base with Java {jre}: choose one of {known}, or give a base image."
        )
    words = {"architecture": platform.debian, "jre": str(jre)}
    words["java_home"] = _text(path, "java_home", row["java_home"], words)
    lists = {key: _texts(path, key, table[key], words) for key in _LISTS}
    pairs = {key: _pairs(path, key, table[key], words) for key in _TABLES}
    return Definition(
        jre=jre,
        suites=_texts(path, "suites", row["suites"], words),
        apt_options=_texts(path, "apt_options", row.get("apt_options", []), words),
        packages=lists["packages"],
        java_home=words["java_home"],
        java_vendor=_text(path, "java_vendor", table["java_vendor"], words),
        user=_text(path, "user", table["user"], words),
        drop=lists["drop"],
        keep=lists["keep"],
        folders=lists["folders"],
        java_tools=lists["java_tools"],
        env=pairs["env"],
        copies=pairs["copies"],
        links=pairs["links"],
        alternatives=pairs["alternatives"],
        append=pairs["append"],
    )


def _check_keys(
    path: Path, table: Mapping[str, Any], known: set[str], where: str, optional: set[str] | None = None
) -> None:
    for key in sorted(known - (optional or set()) - set(table)):
        raise CatalogError(f"{path}: {where} lacks the key `{key}`; add it.")
    for key in sorted(set(table) - known):
        raise CatalogError(f"{path}: {where} has the unknown key `{key}`; remove it or correct its spelling.")


def _text(path: Path, key: str, value: object, words: Mapping[str, str]) -> str:
    if not isinstance(value, str):
        raise CatalogError(f"{path}: `{key}` must be text, not {value!r}.")
    for name, word in words.items():
        value = value.replace("{" + name + "}", word)
    return value


def _texts(path: Path, key: str, values: object, words: Mapping[str, str]) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise CatalogError(f"{path}: `{key}` must be a list of texts.")
    return tuple(_text(path, key, value, words) for value in values)


def _pairs(path: Path, key: str, table: object, words: Mapping[str, str]) -> Pairs:
    if not isinstance(table, dict):
        raise CatalogError(f"{path}: `{key}` must be a table; write [{key}].")
    return tuple((_text(path, key, k, words), _text(path, key, v, words)) for k, v in table.items())
