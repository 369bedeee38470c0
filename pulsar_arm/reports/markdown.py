"""Markdown for a pull request: the verdict, what blocks, and the rest folded away.

Kept below the length that code hosts take for a comment (65,536 characters), whatever was scanned.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from pulsar_arm.plan import BLOCKING
from pulsar_arm.printable import printable
from pulsar_arm.reports.findings import Finding, Report, answer, headline, left_out
from pulsar_arm.walk import NOT_COVERED

_LIMIT = 65_000
_ROOMS = (50_000, 20_000, 0)
"""Characters that the rows of all tables and lists share, tried in turn; what has no room is counted."""
_LONGEST = 500
"""Characters of one cell."""
_PLACES = 5
"""Class paths that one row names."""
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#!$])")
_TICKS = re.compile(r"`+")


def render(reports: Sequence[Report]) -> str:
    """A section for each SOURCE, then what no scan looks at."""
    for room in _ROOMS:
        text = "\n".join(_sections(reports, room))
        if len(text) <= _LIMIT:
            return text
    # So many sources that even their verdicts need most of the room.
    verdicts = (f"- {_prose(headline(told))}" for told in reports)
    return "\n".join([*_Room(_LIMIT // 2).fit(verdicts), "", *_folded(*_UNSEEN, _Room(_LIMIT // 4))])


class _Room:
    """What is left of the length that several lists share."""

    def __init__(self, left: int) -> None:
        self._left = left

    def fit(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines that have room, and how many had none."""
        lost = 0
        for line in lines:
            if len(line) < self._left:
                self._left -= len(line) + 1
                yield line
            else:
                lost += 1
        if lost:
            yield from ("", f"and {lost} more, which `--format json` lists")


def _sections(reports: Sequence[Report], size: int) -> Iterator[str]:
    for told in reports:
        yield from _section(told, _Room(size // len(reports)))
    yield from _folded(*_UNSEEN, _Room(_LIMIT))


def _section(told: Report, room: _Room) -> Iterator[str]:
    inventory = told.plan.inventory
    yield f"### {_prose(answer(told))}"
    yield ""
    found = told.groups
    if found:
        yield f"| {' | '.join(severity for severity, _ in told.counts)} |"
        yield "|" + "---:|" * len(told.counts)
        yield f"| {' | '.join(str(count) for _, count in told.counts)} |"
        yield ""
    blocking = [one for one in found if one[0].severity in BLOCKING]
    rest = [one for one in found if one[0].severity not in BLOCKING]
    if blocking:
        yield from (*_HEAD, *room.fit(map(_row, blocking)))
        yield ""
    if rest:
        named = ", ".join(f"{n} {severity}" for severity, n in told.counts if n and severity not in BLOCKING)
        yield from _folded(named, (*_HEAD, *map(_row, rest)), room)
    if line := left_out(told):
        yield from (line, "")
    if inventory.unreadable:
        title = f"Not looked at: {len(inventory.unreadable)} unreadable"
        lines = (
            f"- {_code(row.location) if row.location else 'the rest'}: {_prose(row.reason)}"
            for row in inventory.unreadable
        )
        yield from _folded(title, lines, room)


_HEAD = ("| severity | what | where | what happens | remedy |", "|---|---|---|---|---|")


def _row(alike: Sequence[Finding]) -> str:
    one = alike[0]
    places = [_cell(place) for finding in alike for place in finding.places]
    remedy = _prose(one.remedy) if one.remedy else "none is known"
    what = _cell(one.name) + (f" ({one.row.kind})" if one.row.kind in ("broken", "unfit") else "")
    cells = (one.severity, what, _some(places), _prose(one.reason), remedy)
    return f"| {' | '.join(cells)} |"


def _some(places: Sequence[str]) -> str:
    more = f" and {len(places) - _PLACES} more" if len(places) > _PLACES else ""
    return ", ".join(places[:_PLACES]) + more


def _folded(title: str, lines: Iterable[str], room: _Room) -> Iterator[str]:
    # The blank lines make the inside Markdown again.
    yield from (f"<details><summary>{title}</summary>", "")
    yield from room.fit(lines)
    yield from ("", "</details>", "")


def _prose(text: str) -> str:
    """Text without effect: no markup, no mention of people, no link."""
    text = _SPECIAL.sub(r"\\\1", _short(text))
    return re.sub(r"(@|://|www\.)", r"\1<!-- -->", text.replace("&", "&amp;"))


def _code(text: str) -> str:
    """A code span that nothing in the text can end (CommonMark 6.1)."""
    text = _short(text)
    longest = max((len(found) for found in _TICKS.findall(text)), default=0)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    fence = "`" * (longest + 1)
    return f"{fence}{pad}{text}{pad}{fence}" if text else ""


def _cell(text: str) -> str:
    """A code span in a table, where pipes end cells even in code (GFM, tables)."""
    return _code(text).replace("|", r"\|")


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


_UNSEEN = ("What no scan looks at", [f"- {_prose(line)}" for line in NOT_COVERED])
