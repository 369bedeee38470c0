"""Tell what a log means: the known failures of Pulsar on aarch64, by their words.

What is known stands in `data/diagnoses.toml`, one table for `explain` and for a server that does not boot.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast, get_args

from pulsar_arm.catalog import folder
from pulsar_arm.errors import CatalogError
from pulsar_arm.tables import Table, read_toml

Kind = Literal["failure", "warning", "noise"]
_KINDS: tuple[Kind, ...] = get_args(Kind)
_LONGEST = 4000
"""Characters of a line that are searched: some servers log whole documents in one."""
_MATTERS = re.compile(
    r"\b(ERROR|FATAL|SEVERE|WARN)\b|Exception\b|\bError:|^Caused by|^# |[Ee]rror:|cannot|Could not"
)
_FRAME = re.compile(r"^\s+at |^\s*\.\.\. \d+ more")
_NUMBERS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Known:
    """A row of the table: the words of a failure, and what they mean."""

    name: str
    kind: Kind
    """`failure` ends or blocks something, `warning` is a loss that works, `noise` means nothing."""
    says: tuple[re.Pattern[str], ...]
    also: tuple[re.Pattern[str], ...]
    unless: tuple[re.Pattern[str], ...]
    what: str
    remedy: str
    evidence: str
    """Where this was seen."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A row of the table that a log agrees with."""

    known: Known
    line: int
    """The number of the first line that says so, from 1."""
    text: str
    """That line."""
    count: int
    """How many lines say so."""


@cache
def known_diagnoses(path: Path | None = None) -> tuple[Known, ...]:
    """The table, in its order; CatalogError names the file and key of a mistake."""
    path = path or folder("diagnoses.toml")
    top = Table(path.name, read_toml(path))
    if top.number("schema") != 1:
        raise CatalogError(f"{path.name}: schema must be 1, the only one this version knows.")
    rows = [_known(row, path.name) for row in top.tables("diagnosis")]
    top.end()
    if twice := [name for name, count in Counter(row.name for row in rows).items() if count > 1]:
        raise CatalogError(f"{path.name}: the id {twice[0]} is given to two diagnoses.")
    return tuple(rows)


def diagnose(lines: Iterable[str], known: Sequence[Known]) -> tuple[Diagnosis, ...]:
    """What of `known` a log says: failures first, each kind in the order of the log."""
    words = {pattern for row in known for pattern in (*row.says, *row.also, *row.unless)}
    any_word = re.compile("|".join(f"(?:{pattern.pattern})" for pattern in words))
    seen: dict[re.Pattern[str], list[tuple[int, str]]] = {}
    for number, line in enumerate(lines, 1):
        text = line[:_LONGEST].rstrip()
        if any_word.search(text):
            for pattern in words:
                if pattern.search(text):
                    seen.setdefault(pattern, []).append((number, text))
    found = [one for row in known if (one := _agreed(row, seen))]
    return tuple(sorted(found, key=lambda one: (_KINDS.index(one.known.kind), one.line)))


def telling_lines(lines: Iterable[str], known: Sequence[Known], count: int = 10) -> tuple[str, ...]:
    """The lines of a log that matter most, in its order: errors without stack frames, noise and repetition.

    A log without any gives its last lines.
    """
    noise = [pattern for row in known if row.kind == "noise" for pattern in row.says]
    signs = [pattern for row in known if row.kind == "failure" for pattern in row.says]
    signed, other, last = dict[str, int](), dict[str, int](), dict[str, int]()
    texts: list[str] = []
    for number, line in enumerate(lines):
        text = line[:_LONGEST].rstrip()
        texts.append(text)
        if not text.strip() or _FRAME.match(text) or any(one.search(text) for one in noise):
            continue
        gist = _NUMBERS.sub("0", text)
        if any(one.search(text) for one in signs):
            signed.setdefault(gist, number)
        elif _MATTERS.search(text):
            other.setdefault(gist, number)
        last[gist] = number
    chosen = list(signed.values())[:count]
    chosen += list(other.values())[-(count - len(chosen)) :] if len(chosen) < count else []
    return tuple(texts[number] for number in sorted(chosen or list(last.values())[-count:]))


def _agreed(row: Known, seen: dict[re.Pattern[str], list[tuple[int, str]]]) -> Diagnosis | None:
    lines = sorted({line for pattern in row.says for line in seen.get(pattern, ())})
    if not lines or any(pattern not in seen for pattern in row.also):
        return None
    if any(pattern in seen for pattern in row.unless):
        return None
    number, text = lines[0]
    return Diagnosis(row, number, text, len(lines))


def _known(row: Table, name: str) -> Known:
    known = Known(
        name=row.text("id"),
        kind=cast(Kind, row.choice("kind", _KINDS)),
        says=_patterns(row.texts("says"), name),
        also=_patterns(row.texts("also", ()) if "also" in row.keys() else (), name),  # noqa: SIM118
        unless=_patterns(row.texts("unless", ()) if "unless" in row.keys() else (), name),  # noqa: SIM118
        what=row.text("what"),
        remedy=row.text("remedy"),
        evidence=row.text("evidence"),
    )
    row.end()
    return known


def _patterns(texts: tuple[str, ...], name: str) -> tuple[re.Pattern[str], ...]:
    try:
        return tuple(re.compile(text) for text in texts)
    except re.error as error:
        raise CatalogError(f"{name}: {error.pattern!r} is no regular expression: {error.msg}.") from error
