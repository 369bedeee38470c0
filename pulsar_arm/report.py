"""Say what was found, planned, built and proved: as a table for people, as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pulsar_arm.catalog import SEVERITIES
from pulsar_arm.plan import Action, Add, PatchClass, Plan, Replace, Resolved, Tolerated, Unresolved, Verdict
from pulsar_arm.port import Ported
from pulsar_arm.scan import Gap, Inventory, Native, PlatformCheck
from pulsar_arm.verify import Verification

SCHEMA_VERSION = 1
_STYLES = {"fatal": "bold red", "feature": "red", "degraded": "yellow", "harmless": "dim"}
_WIDTH = 100


def scan_json(plan: Plan) -> dict[str, Any]:
    """The `scan` object of the JSON contract; the plan says what would mend each row."""
    inventory = plan.inventory
    distribution = inventory.distribution
    rows = {id(one.subject): one for one in plan.verdicts}
    return {
        "schema_version": SCHEMA_VERSION,
        "target": inventory.target.name,
        "distribution": {
            "kind": distribution.kind,
            "version": distribution.version,
            "source": distribution.source,
            "sha256": distribution.sha256,
        },
        "libraries": [_library(native) for native in inventory.libraries],
        "gaps": [_gap(gap) | {"remedy": remedy(rows[id(gap)])} for gap in inventory.gaps],
        "checks": [
            {
                "location": check.location,
                "class": check.class_name,
                "severity": check.severity,
                "accepts": list(check.accepts),
                "reason": check.reason,
                "remedy": remedy(rows[id(check)]),
            }
            for check in inventory.checks
        ],
        "unreadable": [{"location": row.location, "reason": row.reason} for row in inventory.unreadable],
        "summary": inventory.summary(),
    }


def _library(native: Native) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "library": native.library,
        "version": native.version,
        "scope": native.scope,
        "location": native.location,
        "format": native.format,
        "machine": native.machine,
        "system": native.system,
        "libc": native.libc or None,
    }
    if native.page_align:
        fields |= {"requires": dict(native.requires), "page_align": native.page_align}
    return fields | ({"note": native.note} if native.note else {})


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "library": gap.library,
        "version": gap.version,
        "scope": gap.scope,
        "kind": gap.kind,
        "severity": gap.severity,
        "locations": list(gap.locations),
        "present": list(gap.present),
        "reason": gap.reason,
    }


def remedy(verdict: Verdict) -> str | None:
    """What mends a gap or check, in words; None when nothing known does."""
    match verdict.outcome:
        case Resolved(actions):
            return "; ".join(dict.fromkeys(_in_words(action) for action in actions))
        case Tolerated(reason):
            return f"leave it: {reason}"
        case _:
            return None


def _in_words(action: Action) -> str:
    match action:
        case Replace():
            return f"replace it by {action.coordinate}"
        case Add():
            return f"add {action.coordinate} beside it"
        case PatchClass():
            return f"patch the class ({action.patch.name})"


def receipt_json(ported: Ported) -> dict[str, Any]:
    """The receipt: what was changed, and what became of every gap. Equal work makes equal bytes."""
    inventory = ported.plan.inventory
    distribution = inventory.distribution
    return {
        "schema_version": SCHEMA_VERSION,
        "target": inventory.target.name,
        "distribution": {
            "kind": distribution.kind,
            "version": distribution.version,
            "sha256": distribution.sha256,
        },
        "actions": [
            {
                "location": change.location,
                "action": change.action,
                "sha256_before": change.sha256_before or None,
                "sha256_after": change.sha256_after,
                "origin": change.origin,
                "origin_sha256": change.origin_sha256 or None,
                "licence": change.licence or None,
            }
            for change in ported.changes
        ],
        "verdicts": [_verdict(one) for one in ported.plan.verdicts],
    }


def receipts_json(parts: Iterable[Ported]) -> dict[str, Any]:
    """The receipts of all parts of an image."""
    return {"schema_version": SCHEMA_VERSION, "parts": [receipt_json(part) for part in parts]}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    subject, outcome = verdict.subject, verdict.outcome
    name = (
        {"library": subject.library, "version": subject.version, "scope": subject.scope}
        if isinstance(subject, Gap)
        else {"check": subject.class_name, "location": subject.location}
    )
    reason = remedy(verdict) if isinstance(outcome, Resolved) else outcome.reason
    kind = type(outcome).__name__.lower()
    return {**name, "severity": subject.severity, "verdict": kind, "reason": reason}


def verification_json(verification: Verification) -> dict[str, Any]:
    """A row per check with its level, subject, outcome and evidence."""
    return {
        "schema_version": SCHEMA_VERSION,
        "subject": verification.subject,
        "level": verification.level,
        "passed": verification.passed,
        "checks": [
            {
                "level": check.level,
                "subject": check.subject,
                "outcome": check.outcome,
                "evidence": check.evidence,
            }
            for check in verification.checks
        ],
    }


def dump(value: Any) -> str:
    """JSON as it is printed and written everywhere."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def scan_table(plan: Plan) -> RenderableType:
    """The verdict first, then what breaks, worst first, then what could not be looked at."""
    inventory = plan.inventory
    rows = _table(2)
    for verdicts in _alike(plan.verdicts):
        first = verdicts[0]
        mend = Text(f"-> {remedy(first) or 'no remedy is known'}", style="green" if remedy(first) else "bold")
        rows.add_row(*_heading(verdicts))
        rows.add_row("", Text(first.subject.reason))
        rows.add_row("", mend)
    unread = [
        Text(f"Not looked at: {row.location or 'the rest'}: {row.reason}") for row in inventory.unreadable
    ]
    return Group(_headline(inventory), *([rows] if plan.verdicts else []), *unread)


def plan_table(plan: Plan) -> RenderableType:
    """What a port does about each gap and check, worst first."""
    rows = _table(3)
    for verdicts in _alike(plan.verdicts):
        first = verdicts[0]
        outcome = first.outcome
        reason = remedy(first) if isinstance(outcome, Resolved) else outcome.reason
        severity, what = _heading(verdicts)
        rows.add_row(severity, Text(type(outcome).__name__.lower(), style=_VERDICTS[type(outcome)]), what)
        rows.add_row("", "", reason)
    return Group(_headline(plan.inventory), *([rows] if plan.verdicts else []))


_VERDICTS = {Resolved: "green", Tolerated: "yellow", Unresolved: "bold red"}


def _alike(verdicts: Sequence[Verdict]) -> list[list[Verdict]]:
    """Verdicts that say the same of one library in several class paths, together; the worst first."""
    groups: dict[tuple[object, ...], list[Verdict]] = {}
    for one in sorted(verdicts, key=lambda one: SEVERITIES.index(one.subject.severity)):
        key = (one.subject.severity, _name(one.subject), one.subject.reason, remedy(one))
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def _heading(verdicts: Sequence[Verdict]) -> tuple[Text, Text]:
    subject = verdicts[0].subject
    places = [one.subject.scope if isinstance(one.subject, Gap) else one.subject.location for one in verdicts]
    what = Text(_name(subject), style="bold").append(f" in {', '.join(places)}", style="not bold")
    return Text(subject.severity, style=_STYLES[subject.severity]), what


def _name(subject: Gap | PlatformCheck) -> str:
    if isinstance(subject, Gap):
        return f"{subject.library} {subject.version}".strip()
    return subject.class_name.rsplit(".", 1)[-1]


def verification_table(verification: Verification) -> RenderableType:
    """The answer first, then a row for each check."""
    rows = _table(3)
    for check in verification.checks:
        outcome = Text(check.outcome, style="green" if check.outcome == "passed" else "bold red")
        rows.add_row(outcome, check.level, Text(check.subject, style="bold"))
        rows.add_row("", "", check.evidence)
    failed = sum(check.outcome == "failed" for check in verification.checks)
    count = len(verification.checks)
    answer = f"passes all {count} checks" if not failed else f"FAILS {failed} of {count} checks"
    return Group(Text(f"{verification.subject} {answer} (level {verification.level})."), rows)


def _headline(inventory: Inventory) -> Text:
    distribution = inventory.distribution
    known = distribution.kind in ("pulsar", "offloaders") and distribution.version
    name = f"{distribution.kind} {distribution.version}" if known else distribution.source
    counts = ", ".join(f"{count} {severity}" for severity, count in inventory.summary().items() if count)
    if not counts:
        return Text(f"{name}: nothing found that would break on {inventory.target.name}.")
    fatal = inventory.summary()["fatal"]
    verdict = "does not run" if fatal else "runs, with losses,"
    return Text(f"{name} {verdict} on {inventory.target.name} as it is: {counts}.")


def _table(columns: int) -> Table:
    """Rows without lines; only the last column may be folded."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for number in range(1, columns + 1):
        table.add_column(overflow="fold", no_wrap=number < columns)
    return table


def print_out(parts: Iterable[RenderableType], *, colour: bool | None = None) -> None:
    """Print tables to stdout, 100 columns wide at most where that is no narrower terminal."""
    console = Console(highlight=False, no_color=colour is False or None)
    console.width = min(console.width, _WIDTH) if console.is_terminal else _WIDTH
    for part in parts:
        console.print(part)


def as_text(parts: Sequence[RenderableType]) -> str:
    """The same tables as plain text."""
    console = Console(highlight=False, width=_WIDTH, no_color=True, force_terminal=False, record=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return captured.get()
