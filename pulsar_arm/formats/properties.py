"""Edit `key=value` files by key, never by line number: everything else stays as it was."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LINE = re.compile(r"^(?P<off>#\s?)?(?P<key>[A-Za-z0-9_.-]+)=(?P<value>.*)$")


def read_properties(text: str) -> dict[str, str]:
    """The keys that are set, and their values; the last of a repeated key counts, as Java has it."""
    rows = (_LINE.match(line) for line in text.splitlines())
    return {row["key"]: row["value"].strip() for row in rows if row and not row["off"]}


def with_properties(text: str, values: Mapping[str, str]) -> str:
    """The file with these values.

    A key that is set changes in its place, one that is commented out is switched on there, and one that
    is missing is added at the end. ValueError for a value that would not stay on its line.
    """
    if broken := [key for key, value in values.items() if "\n" in value or "\r" in value]:
        raise ValueError(f"the value of {broken[0]} has more than one line")
    there = read_properties(text)
    left = dict(values)
    lines = []
    for line in text.splitlines():
        row = _LINE.match(line)
        key = row["key"] if row else ""
        if row and key in values and (not row["off"] or (key in left and key not in there)):
            lines.append(f"{key}={values[key]}")
            left.pop(key, None)
        else:
            lines.append(line)
    lines += [f"{key}={value}" for key, value in left.items()]
    return "\n".join(lines) + "\n"


def with_shell_default(text: str, name: str, value: str) -> str:
    """A shell file in which `NAME=${NAME:-"…"}` has another default; ValueError where there is no such line.

    The environment still goes first, as the file's author meant it.
    """
    pattern = re.compile(rf"^(\s*(?:export )?{re.escape(name)}=)\$\{{{re.escape(name)}:-.*\}}[ \t]*$", re.M)
    if not pattern.search(text):
        raise ValueError(f"no line gives {name} a default")
    return pattern.sub(lambda found: f'{found[1]}${{{name}:-"{value}"}}', text)
