"""What each layer of an image holds and weighs: what is pushed and pulled, and what it takes on disk."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from pulsar_arm import report
from pulsar_arm.formats.layer import LayerEntry
from pulsar_arm.formats.oci import Image

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """A layer before it is written."""

    name: str
    """`base`, `third-party`, `native`, `pulsar`, `connectors`."""
    holds: str
    """In a few words."""


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A layer as it was written."""

    name: str
    holds: str
    digest: str
    diff_id: str
    compressed: int
    """Bytes, as a registry stores and sends it."""
    uncompressed: int
    """Bytes of the tar."""


def part(name: str, entries: Sequence[LayerEntry]) -> Part:
    """What is told of a layer: how many files, and under which folder all of them lie."""
    paths = [entry.path for entry in entries if entry.kind != "dir"]
    folder = posixpath.commonpath([posixpath.dirname(path) for path in paths]) if paths else ""
    return Part(name, f"{len(paths)} file{'' if len(paths) == 1 else 's'} in /{folder}")


def layer_rows(image: Image, base: str, parts: Sequence[Part]) -> tuple[LayerRow, ...]:
    """The layers of `image`, the lowest first: those of the base called `base`, then one for each part."""
    below = len(image.layers) - len(parts)
    told = [Part("base", base if below == 1 else f"{base}, {n} of {below}") for n in range(1, below + 1)]
    return tuple(
        LayerRow(one.name, one.holds, layer.digest, layer.diff_id, layer.size, layer.tar_size())
        for one, layer in zip((*told, *parts), image.layers, strict=True)
    )


def layers_json(digest: str, rows: Sequence[LayerRow]) -> dict[str, Any]:
    """`IMAGE.layers.json`: a row per layer, and the sums."""
    return {
        "schema_version": 1,
        "image": digest,
        "layers": [asdict(row) for row in rows],
        "compressed": sum(row.compressed for row in rows),
        "uncompressed": sum(row.uncompressed for row in rows),
    }


def layer_table(title: str, rows: Sequence[LayerRow]) -> RenderableType:
    """The rows for people, in MiB."""
    table = report.columns(4)
    for row in rows:
        table.add_row(row.name, Text(row.holds), *_sizes(row.compressed, row.uncompressed))
    sums = _sizes(sum(row.compressed for row in rows), sum(row.uncompressed for row in rows))
    table.add_row("", "all", *sums)
    return Group(Text(title, style="bold"), table)


def _sizes(compressed: int, uncompressed: int) -> tuple[str, str]:
    return f"{compressed / _MIB:.1f} MiB compressed", f"{uncompressed / _MIB:.1f} MiB unpacked"
