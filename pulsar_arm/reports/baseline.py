"""Leave out what an earlier report has told already.

A gap is known again by library, class path, kind and severity, not by its version: a library that was
updated and still lacks the build is no news, one that got worse is. A second copy in the same class path
is news, since every row of the baseline answers for one.
"""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pulsar_arm.errors import InputError, UsageError
from pulsar_arm.plan import Plan, Verdict
from pulsar_arm.platforms import Platform
from pulsar_arm.report import SCHEMA_VERSION
from pulsar_arm.reports.findings import Report, Row, row
from pulsar_arm.scan import Gap

_KEYS = ("library", "version", "scope", "kind", "severity")


@dataclass(frozen=True, slots=True)
class Baseline:
    """What earlier reports knew."""

    rows: Counter[Row]
    """How often each stood in one report; of several reports, in the one that has it most often."""


def read_baseline(path: Path, target: Platform) -> Baseline:
    """Read a JSON report of `scan`, of one SOURCE or several; one made with a baseline counts whole.

    InputError when it is none, UsageError when it judged for another machine than `target`.
    """
    try:
        content = json.loads(path.read_bytes())
        reports = content.get("reports", [content])
        rows = Counter[Row]()
        for one in reports:
            if one["schema_version"] != SCHEMA_VERSION:
                raise InputError(f"{path} has another schema_version than {SCHEMA_VERSION}: make it anew.")
            if one["target"] != target.name:
                made = f"was made for {one['target']}, not {target.name}"
                raise UsageError(f"The baseline {path} {made}: give one with the same --target.")
            rows |= Counter(_rows(one))
    except OSError as error:
        raise InputError(f"The baseline {path} cannot be read: {error.strerror}.") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        made = "make one by scan --format json"
        raise InputError(f"The baseline {path} is no report of a scan ({_why(error)}): {made}.") from error
    return Baseline(rows)


def without(plan: Plan, baseline: Baseline) -> Report:
    """The plan with only what `baseline` does not know; unreadable entries always stay."""
    pool = Counter[tuple[str, str, str, str]]()
    for known, count in baseline.rows.items():
        pool[known.identity] += count
    left_out = dict[int, Row]()
    # A row of the very version answers first, so that of two copies the new one is the news.
    for verdict in sorted(plan.verdicts, key=lambda one: row(one) not in baseline.rows):
        known = row(verdict)
        if pool[known.identity]:
            pool[known.identity] -= 1
            left_out[id(verdict.subject)] = known
    fresh = tuple(one for one in plan.verdicts if id(one.subject) not in left_out)
    return Report(_only(plan, fresh), tuple(left_out.values()))


def _only(plan: Plan, verdicts: tuple[Verdict, ...]) -> Plan:
    subjects = [one.subject for one in verdicts]
    inventory = replace(
        plan.inventory,
        gaps=tuple(one for one in subjects if isinstance(one, Gap)),
        checks=tuple(one for one in subjects if not isinstance(one, Gap)),
    )
    return Plan(inventory, verdicts)


def _rows(one: Mapping[str, Any]) -> Iterable[Row]:
    for known in (*one["gaps"], *one.get("baseline", {"known": []})["known"]):
        yield Row(*(_text(known[key]) for key in _KEYS))
    for check in one["checks"]:
        scope = posixpath.dirname(_text(check["location"])) or "."
        yield Row(_text(check["class"]), "", scope, "check", _text(check["severity"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} stands where a text belongs")
    return value


def _why(error: Exception) -> str:
    match error:
        case UnicodeDecodeError():
            return "it is no text"
        case json.JSONDecodeError():
            return f"line {error.lineno} is no JSON"
        case KeyError():
            return f"{error.args[0]} is missing"
        case _:
            return "it has another structure"
