"""Print the catalog: its list, one override, and what a check of it found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Group, RenderableType

from pulsar_arm import report
from pulsar_arm.catalog import Catalog, Override, Remedy
from pulsar_arm.search import Outcome


def catalog_table(catalog: Catalog, own: Path | None) -> RenderableType:
    """A row for each library; the user's own are marked."""
    rows = report.columns(3)
    for library, override in sorted(catalog.items()):
        mark = " (yours)" if own and override.path.is_relative_to(own) else ""
        counts = Counter(remedy.action for remedy in override.remedies)
        actions = ", ".join(f"{action} {count}" for action, count in counts.items())
        rows.add_row(report.words(library, "bold"), actions, report.words(override.summary + mark))
    return rows


def override_table(override: Override) -> Iterator[RenderableType]:
    """All that one file says, in the order in which its rows are tried."""
    yield report.words(f"{override.library}: {override.summary}", "bold")
    yield report.words(f"{override.path}")
    rows = report.columns(2)
    for loader in override.loaders:
        names = ", ".join(loader.names)
        where = f"{loader.machine}, {_any(loader.libc, 'any libc')}{_of(loader.versions)}"
        rows.add_row("loader", report.words(f"asks on {where} for {names}"))
    for judgement in override.judgements:
        rows.add_row(judgement.severity, report.words(_where(judgement.scopes, judgement.versions)))
        rows.add_row("", report.words(f"{judgement.reason}. Known by: {judgement.evidence}"))
    for bad in override.bad:
        rows.add_row("bad", report.words(f"{', '.join(bad.versions)}: {bad.reason}"))
    for remedy in override.remedies:
        what = f"{_where(remedy.scopes, remedy.versions)}: {remedy.coordinate}".removesuffix(": ")
        rows.add_row(remedy.action, report.words(what))
        told = f"sha256 {remedy.sha256}; licence {remedy.licence}" if remedy.coordinate else ""
        if told:
            rows.add_row("", report.words(told))
        rows.add_row("", report.words(remedy.why))
    yield rows


def recheck_table(rows: Sequence[tuple[Override, Remedy, tuple[str, ...]]]) -> RenderableType:
    """The answer, then each jar with what is wrong."""
    table = report.columns(2)
    for _override, remedy, wrong in rows:
        table.add_row("wrong" if wrong else "right", report.words(remedy.coordinate, "bold"))
        for one in wrong:
            table.add_row("", report.words(one))
    bad = sum(bool(wrong) for _override, _remedy, wrong in rows)
    answer = f"{bad} of {len(rows)} jars are" if bad else f"None of {len(rows)} jars is"
    return Group(report.words(f"{answer} other than the catalog says."), table)


def search_table(outcomes: Sequence[Outcome], machine: str) -> Iterator[RenderableType]:
    """For each version that has the gap: what was found, or the first things against each candidate."""
    for outcome in outcomes:
        remedy = outcome.remedy
        found = f"{remedy.action} {remedy.coordinate}" if remedy else "nothing will do"
        yield report.words(f"{outcome.library} {outcome.version}: {found}", "bold")
        rows = report.columns(2)
        for one in outcome.refused:
            rows.add_row("refused", report.words(str(one.coordinate), "bold"))
            for objection in one.objections[:_SHOWN]:
                rows.add_row("", report.words(str(objection)))
            if len(one.objections) > _SHOWN:
                rows.add_row("", f"and {len(one.objections) - _SHOWN} more")
        if outcome.without:
            rows.add_row("lack", report.words(f"no library for {machine} in {', '.join(outcome.without)}"))
        if outcome.unseen:
            rows.add_row("unseen", f"{outcome.unseen} farther versions: name one to have it judged")
        if remedy:
            rows.add_row("licence", report.words(remedy.licence))
        yield rows


_SHOWN = 5
"""Objections to one candidate; a version that differs much has hundreds."""


def _where(scopes: tuple[str, ...], versions: tuple[str, ...]) -> str:
    places = "anywhere" if scopes == ("*",) else f"in {', '.join(scopes)}"
    return places + _of(versions)


def _of(versions: tuple[str, ...]) -> str:
    return "" if versions == ("*",) else f", versions {', '.join(versions)}"


def _any(pattern: str, words: str) -> str:
    return words if pattern == "*" else pattern
