"""What every format tells of a scan: the findings of one SOURCE, and what a baseline has left out."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from pulsar_arm import report
from pulsar_arm.catalog import SEVERITIES, Severity
from pulsar_arm.plan import Plan, Tolerated, Verdict
from pulsar_arm.scan import Gap


@dataclass(frozen=True, slots=True)
class Row:
    """How a gap or check is known again in another report."""

    library: str
    """A check's is the name of its class."""
    version: str
    """Empty for a check."""
    scope: str
    """The class path; a check's is the folder of its jar."""
    kind: str
    """As in the JSON; `check` for a platform check."""
    severity: str

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """All but the version: a library that moves to a newer one, and still lacks it, is no news."""
        return self.library, self.scope, self.kind, self.severity


@dataclass(frozen=True, slots=True)
class Finding:
    """One gap or platform check, with what would mend it."""

    row: Row
    severity: Severity
    name: str
    """What a reader calls it: library and version, or the class without its package."""
    locations: tuple[str, ...]
    present: tuple[str, ...]
    """The machines a library is there for, or that a check accepts."""
    reason: str
    remedy: str | None
    tolerated: bool
    """Whether the remedy is to leave it."""

    @property
    def places(self) -> tuple[str, ...]:
        """Where a reader looks for it: the class path of a library, the jar of a check."""
        return self.locations if self.row.kind == "check" else (self.row.scope,)


@dataclass(frozen=True, slots=True)
class Report:
    """One scanned SOURCE as it is told: what the baseline knew has left the plan."""

    plan: Plan
    known: tuple[Row, ...] | None = None
    """What the baseline has left out; None where no baseline was given."""

    @property
    def counts(self) -> tuple[tuple[Severity, int], ...]:
        """How many findings there are of each severity, the worst first."""
        return tuple(self.plan.inventory.summary().items())

    @property
    def groups(self) -> tuple[tuple[Finding, ...], ...]:
        """The findings, those together that say the same of one library in several class paths."""
        groups = dict[tuple[object, ...], list[Finding]]()
        for one in self.findings:
            groups.setdefault((one.severity, one.name, one.row.kind, one.reason, one.remedy), []).append(one)
        return tuple(map(tuple, groups.values()))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Gaps and checks together, the worst first."""
        verdicts = sorted(self.plan.verdicts, key=lambda one: SEVERITIES.index(one.subject.severity))
        return tuple(_finding(one) for one in verdicts)


def row(verdict: Verdict) -> Row:
    """What identifies the subject of a verdict."""
    subject = verdict.subject
    if isinstance(subject, Gap):
        return Row(subject.library, subject.version, subject.scope, subject.kind, subject.severity)
    scope = posixpath.dirname(subject.location) or "."
    return Row(subject.class_name, "", scope, "check", subject.severity)


def headline(told: Report) -> str:
    """The answer in one sentence, with its numbers."""
    if not told.known:
        return report.headline(told.plan.inventory)
    counts = ", ".join(f"{count} {severity}" for severity, count in told.counts if count)
    return f"{answer(told)}: {counts}." if counts else f"{answer(told)}."


def answer(told: Report) -> str:
    """The answer without its numbers; it never calls clean what a baseline has left out."""
    inventory = told.plan.inventory
    if not told.known:
        return report.answer(inventory)
    news = "new" if told.plan.verdicts else "nothing new"
    return f"{report.title(inventory)}: {news} on {inventory.target.name} against the baseline"


def left_out(told: Report) -> str:
    """One line that counts what the baseline knew; empty where it knew nothing of it."""
    count = len(told.known or ())
    return f"{count} known {_plural('gap', count)} of the baseline {_are(count)} left out." if count else ""


def _finding(verdict: Verdict) -> Finding:
    subject = verdict.subject
    return Finding(
        row=row(verdict),
        severity=subject.severity,
        name=report.name(subject),
        locations=subject.locations if isinstance(subject, Gap) else (subject.location,),
        present=subject.present if isinstance(subject, Gap) else subject.accepts,
        reason=subject.reason,
        remedy=report.remedy(verdict),
        tolerated=isinstance(verdict.outcome, Tolerated),
    )


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
