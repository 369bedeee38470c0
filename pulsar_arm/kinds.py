"""Tell what a distribution is by the paths it holds: Pulsar's server and parts, Presto, Trino, BookKeeper."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "pulsar",
    "offloaders",
    "connectors",
    "connector",
    "shell",
    "sql",
    "presto",
    "trino",
    "bookkeeper",
    "jar",
    "java",
]
"""`connector` is one NAR, `connectors` a folder of them, `sql` Pulsar SQL alone, `java` anything else."""
_V = r"(\d[\w.-]*)"
# What must be there below the top folder, and the jar that tells the version. The first kind that fits is it:
# Pulsar's server holds much of the others.
_KINDS: Mapping[Kind, tuple[tuple[str, ...], str]] = {
    "pulsar": (
        (r"bin/pulsar", r"conf/broker\.conf"),
        rf"lib/(?:org\.apache\.pulsar-)?pulsar-broker-{_V}\.jar",
    ),
    "offloaders": ((r"offloaders/[^/]+\.nar",), rf"offloaders/tiered-storage-[a-z-]+-{_V}\.nar"),
    "connectors": ((r"connectors/[^/]+\.nar",), rf"connectors/pulsar-io-[a-z0-9-]+?-{_V}\.nar"),
    "shell": ((r"bin/pulsar-shell",), rf"lib/(?:org\.apache\.pulsar-)?pulsar-client-tools-{_V}\.jar"),
    "sql": (
        (r"plugin/pulsar-presto-connector/.+\.jar", r"lib/(?:presto|trino)-main-[^/]+\.jar"),
        rf"plugin/pulsar-presto-connector/(?:.+/)?pulsar-presto-connector-(?:original-)?{_V}\.jar",
    ),
    "trino": ((rf"lib/(?:io\.trino_)?trino-main-{_V}\.jar",), rf"lib/(?:io\.trino_)?trino-main-{_V}\.jar"),
    "presto": ((rf"lib/presto-main-{_V}\.jar",), rf"lib/presto-main-{_V}\.jar"),
    "bookkeeper": (
        (r"bin/bookkeeper", r"conf/bk_server\.conf"),
        rf"lib/(?:org\.apache\.bookkeeper-)?bookkeeper-server-{_V}\.jar",
    ),
}
_PATTERNS = {
    pattern: re.compile(rf"((?:.*?/)?){pattern}")
    for needs, told in _KINDS.values()
    for pattern in (*needs, told)
}
_MARK = re.compile(rf"(?:.*?/)?(?:{'|'.join(_PATTERNS)})")
_NAME_VERSION = re.compile(
    r".*?-v?(\d[\w.]*?(?:-(?:\d+|rc|candidate|alpha|beta|SNAPSHOT)[\w.-]*?)?)(?:-bin|-dist)?"
)
_LONGEST = 512
"""Of a path that is looked at here; a hostile one may have 64 KiB and keep a regular expression busy."""
_SUFFIX = re.compile(r"\.(?:tar(?:\.\w+)?|tgz|txz|zip|jar|nar|war|ear)$")


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a distribution is."""

    kind: Kind
    version: str
    """Empty when nothing tells it."""
    top: str
    """The folder it lies in, empty for the top itself."""


def recognise_tree(
    paths: Iterable[str], name: str, *, anywhere: bool = False, below: bool = True
) -> Recognised:
    """What a tree of these paths is; `name` is what its file or folder is called.

    It lies at the top, with `below` in the one folder that is there if there is one, with `anywhere` in any
    folder, as in an image.
    """
    given = list(paths)
    root = _common_root(given) if below and not anywhere else ""
    found = defaultdict[str, dict[str, str]](dict)
    for path in given:
        if len(path) <= _LONGEST and _MARK.fullmatch(path):
            for told, pattern in _PATTERNS.items():
                if match := pattern.fullmatch(path):
                    found[told].setdefault(match[1].rstrip("/"), match[2] if pattern.groups > 1 else "")
    for kind, (needs, told) in _KINDS.items():
        tops = set.intersection(*(set(found[need]) for need in needs))
        for top in sorted(tops if anywhere else tops & {root}, key=len):
            return Recognised(kind, found[told].get(top, "") or name_version(top or name), top)
    return Recognised("java", name_version(root) or name_version(name), root)


def recognise_jar(entries: Iterable[str], name: str) -> Recognised:
    """What a single jar or NAR of these entries is; `name` is its file's."""
    there = set(entries)
    kind: Kind = "connector" if name.endswith(".nar") else "jar"
    if "META-INF/services/pulsar-io.yaml" in there:
        kind = "connector"
    elif "META-INF/services/pulsar-offloader.yaml" in there:
        kind = "offloaders"
    return Recognised(kind, name_version(name), "")


def name_version(name: str) -> str:
    """The version that a file's or folder's name ends with: `x-1.2-bin.tar.gz` has 1.2; else empty."""
    stem = _SUFFIX.sub("", name.rsplit("/", 1)[-1])
    match = _NAME_VERSION.fullmatch(stem) if len(stem) <= _LONGEST else None
    return match[1] if match else ""


def _common_root(paths: list[str]) -> str:
    roots = {path.split("/", 1)[0] for path in paths} - {"."}
    nested = any("/" in path for path in paths)
    return roots.pop() if len(roots) == 1 and nested else ""
