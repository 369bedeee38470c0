"""Write YAML as people read it: block style, literal blocks for several lines, keys in their order."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

_WIDTH = 1 << 20
"""No line is folded: a shell command broken in two reads worse than a long one."""


def yaml_text(documents: Sequence[object], comment: str) -> str:
    """The documents in one file, `comment` (one line or more) first."""
    writer = YAML()
    writer.default_flow_style = False
    writer.explicit_start = len(documents) > 1
    writer.indent(mapping=2, sequence=4, offset=2)
    writer.width = _WIDTH
    out = io.StringIO()
    for line in comment.splitlines():
        out.write(f"# {line}\n")
    writer.dump_all([_readable(one) for one in documents], out)
    return out.getvalue()


def _readable(value: object) -> Any:
    """Texts of several lines as blocks; texts that YAML 1.1 would take for something else in quotes."""
    match value:
        case dict():
            return {key: _readable(one) for key, one in value.items()}
        case list() | tuple():
            return [_readable(one) for one in value]
        case str() if "\n" in value:
            return LiteralScalarString(value)
        case str() if value.lower() in ("true", "false", "yes", "no", "on", "off") or value[:1].isdigit():
            # compose and Kubernetes read YAML 1.1, where `on` is true and 22:22 a number of base 60.
            return DoubleQuotedScalarString(value)
        case _:
            return value
