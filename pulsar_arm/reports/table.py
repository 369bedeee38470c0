"""The table for people at a terminal: the verdict first, then what breaks, the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from pulsar_arm import report
from pulsar_arm.reports.findings import Report, headline, left_out
from pulsar_arm.scan import Inventory
from pulsar_arm.walk import NOT_COVERED

_LISTED = 50
"""Unreadable entries that are named; the rest is counted, and the JSON has all."""


def render(reports: Sequence[Report]) -> str:
    """Plain text, 100 columns wide."""
    return report.as_text(list(scan_tables(reports)))


def scan_tables(reports: Sequence[Report]) -> Iterator[RenderableType]:
    """A table for each SOURCE, then what no scan looks at."""
    for told in reports:
        yield from _told(told)
    yield from _list("No scan looks at:", NOT_COVERED, "dim")


def _told(told: Report) -> Iterator[RenderableType]:
    yield report.words(headline(told), "bold")
    rows = report.columns(2)
    for verdicts in report.alike(told.plan.verdicts):
        first = verdicts[0]
        remedy = report.remedy(first)
        rows.add_row(*report.heading(verdicts))
        rows.add_row("", report.words(first.subject.reason))
        style = "green" if remedy else "bold"
        rows.add_row("", report.words(f"-> {remedy or 'no remedy is known'}", style))
    if told.plan.verdicts:
        yield rows
    if line := left_out(told):
        yield Text(line)
    yield from _list("Not looked at:", _unreadable(told.plan.inventory), "bold")


def _unreadable(inventory: Inventory) -> Iterator[str]:
    rows = inventory.unreadable
    for row in rows[:_LISTED]:
        yield f"{row.location or 'the rest'}: {row.reason}"
    if len(rows) > _LISTED:
        yield f"and {len(rows) - _LISTED} more, which --format json lists"


def _list(heading: str, lines: Iterable[str], style: str) -> Iterator[RenderableType]:
    lines = list(lines)
    if lines:
        yield Text(heading, style=style)
        for line in lines:
            yield Padding(report.words(line, "dim" if style == "dim" else ""), (0, 0, 0, 2))
