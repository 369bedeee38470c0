"""Say what was planned, built and proved: as a table for people, as JSON for programs.

The reports of a scan, in all their formats, stand in `reports/` and share the words that stand here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pulsar_arm.catalog import SEVERITIES
from pulsar_arm.plan import (
    Action,
    Add,
    Graft,
    PatchClass,
    Plan,
    Replace,
    Resolved,
    Tolerated,
    Unresolved,
    Verdict,
)
from pulsar_arm.printable import printable
from pulsar_arm.scan import Gap, Inventory, PlatformCheck

if TYPE_CHECKING:  # rich is for tables only, and takes longer to import than a jar to scan
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from pulsar_arm.port import Ported
    from pulsar_arm.verify import Verification

SCHEMA_VERSION = 1
_STYLES = {"fatal": "bold red", "feature": "red", "degraded": "yellow", "harmless": "dim"}
_OUTCOMES = {"passed": "green", "tolerated": "yellow", "failed": "bold red", "skipped": "dim"}
_WIDTH = 100


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
        case Graft():
            return f"put the library of {action.coordinate} into it"
        case PatchClass():
            return f"patch the class ({action.patch.name})"


def receipt_json(ported: Ported) -> dict[str, Any]:
    """The receipt: what was changed, and what became of every gap. Equal work makes equal bytes."""
    inventory = ported.plan.inventory
    distribution = inventory.distribution
    whys = {one.location: one.why for one in ported.plan.actions if not isinstance(one, PatchClass)}
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
                "why": whys.get(change.location),
            }
            for change in ported.changes
        ],
        "complete": not ported.plan.blocking,
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
    linked = {"linked": outcome.linked} if isinstance(outcome, Resolved) and isinstance(subject, Gap) else {}
    return {**name, "severity": subject.severity, "verdict": kind, "reason": reason, **linked}


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
    """JSON as it is printed and written everywhere; what does not print is escaped (RFC 8259, 7)."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    lines = (line if line.isprintable() else _escaped(line) for line in text.split("\n"))
    return "\n".join(lines) + "\n"


def _escaped(line: str) -> str:
    # json.dumps leaves one control character of ASCII alone, the last.
    escapes = {one: json.dumps(one)[1:-1] for one in set(line) if not one.isprintable()} | {"\x7f": r"\u007f"}
    return "".join(escapes.get(one, one) for one in line)


def plan_table(plan: Plan) -> RenderableType:
    """What a port does about each gap and check, worst first."""
    from rich.console import Group
    from rich.text import Text

    rows = columns(3)
    for verdicts in alike(plan.verdicts):
        first = verdicts[0]
        outcome = first.outcome
        reason = remedy(first) if isinstance(outcome, Resolved) else outcome.reason
        severity, what = heading(verdicts)
        rows.add_row(severity, Text(type(outcome).__name__.lower(), style=_VERDICTS[type(outcome)]), what)
        rows.add_row("", "", words(f"{reason or ''}{_judged(first)}"))
    return Group(words(headline(plan.inventory)), *([rows] if plan.verdicts else []))


def _judged(verdict: Verdict) -> str:
    """Whether what is brought in was linked; a patch carries its own proof."""
    outcome = verdict.outcome
    if not isinstance(outcome, Resolved) or not isinstance(verdict.subject, Gap):
        return ""
    return "; it links" if outcome.linked else "; not linked yet, it has to be fetched first"


_VERDICTS = {Resolved: "green", Tolerated: "yellow", Unresolved: "bold red"}


def alike(verdicts: Sequence[Verdict]) -> list[list[Verdict]]:
    """Verdicts that say the same of one library in several class paths, together; the worst first."""
    groups: dict[tuple[object, ...], list[Verdict]] = {}
    for one in sorted(verdicts, key=lambda one: SEVERITIES.index(one.subject.severity)):
        key = (one.subject.severity, name(one.subject), one.subject.reason, remedy(one), _judged(one))
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def heading(verdicts: Sequence[Verdict]) -> tuple[Text, Text]:
    """The severity, and the name with the places it stands in, of verdicts that are alike."""
    from rich.text import Text

    subject = verdicts[0].subject
    places = [one.subject.scope if isinstance(one.subject, Gap) else one.subject.location for one in verdicts]
    where = f"{kind(subject)} in {', '.join(places)}"
    what = words(name(subject), "bold").append(printable(where), style="not bold")
    return Text(subject.severity, style=_STYLES[subject.severity]), what


def name(subject: Gap | PlatformCheck) -> str:
    """What a reader calls it: library and version, or the class without its package."""
    if isinstance(subject, Gap):
        return f"{subject.library} {subject.version}".strip()
    return subject.class_name.rsplit(".", 1)[-1]


def kind(subject: Gap | PlatformCheck) -> str:
    """What follows a name: ` (broken)` and ` (unfit)`; nothing where it is plainly missing."""
    return f" ({subject.kind})" if isinstance(subject, Gap) and subject.kind != "missing" else ""


def verification_table(verification: Verification) -> RenderableType:
    """The answer first, then a row for each check."""
    from rich.console import Group
    from rich.text import Text

    rows = columns(3)
    for check in verification.checks:
        outcome = Text(check.outcome, style=_OUTCOMES[check.outcome])
        rows.add_row(outcome, check.level, words(check.subject, "bold"))
        for line in check.evidence.splitlines():
            rows.add_row("", "", words(line))
    failed = sum(check.outcome == "failed" for check in verification.checks)
    count = len(verification.checks)
    tolerated = sum(check.outcome == "tolerated" for check in verification.checks)
    answer = f"passes all {count} checks" if not failed else f"FAILS {failed} of {count} checks"
    answer += f", {tolerated} of them tolerated gaps" if tolerated and not failed else ""
    return Group(words(f"{verification.subject} {answer} (level {verification.level})."), rows)


def headline(inventory: Inventory) -> str:
    """The answer in one sentence, with its numbers."""
    counts = ", ".join(f"{count} {severity}" for severity, count in inventory.summary().items() if count)
    return f"{answer(inventory)}: {counts}." if counts else f"{answer(inventory)}."


def answer(inventory: Inventory) -> str:
    """The answer without its numbers and its full stop."""
    target = f"{inventory.target.name}{inventory.runtime.told}"
    if not any(inventory.summary().values()):
        where = " in what could be read" if inventory.unreadable else ""
        return f"{title(inventory)}: nothing found that would break on {target}{where}"
    verdict = "does not run" if inventory.summary()["fatal"] else "runs, with losses,"
    return f"{title(inventory)} {verdict} on {target} as it is"


def title(inventory: Inventory) -> str:
    """How a report calls what was scanned."""
    distribution = inventory.distribution
    known = distribution.kind in ("pulsar", "offloaders") and distribution.version
    return f"{distribution.kind} {distribution.version}" if known else distribution.source


def words(text: str, style: str = "") -> Text:
    """Text for a table, its markup and control characters without effect."""
    from rich.text import Text

    return Text(printable(text), style=style)


def columns(count: int) -> Table:
    """Rows without lines; only the last column may be folded."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for number in range(1, count + 1):
        table.add_column(overflow="fold", no_wrap=number < count)
    return table


def print_out(parts: Iterable[RenderableType], *, colour: bool | None = None) -> None:
    """Print tables to stdout, 100 columns wide at most where that is no narrower terminal."""
    from rich.console import Console

    console = Console(highlight=False, no_color=colour is False or None)
    console.width = min(console.width, _WIDTH) if console.is_terminal else _WIDTH
    for part in parts:
        console.print(part)


def as_text(parts: Sequence[RenderableType]) -> str:
    """The same tables as plain text."""
    from rich.console import Console

    console = Console(highlight=False, width=_WIDTH, no_color=True, force_terminal=False, record=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return captured.get()
