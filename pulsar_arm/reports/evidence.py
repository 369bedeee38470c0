"""The page one attaches to a change request: what was wrong, what was done, and the proof that it runs.

It is the page of a scan, with the verification and the receipt before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pulsar_arm.catalog import SEVERITIES
from pulsar_arm.errors import InputError
from pulsar_arm.plan import Plan
from pulsar_arm.reports import html
from pulsar_arm.reports.findings import Report
from pulsar_arm.reports.html import Evidence

_NEEDED = {
    "actions": ("location", "action", "sha256_after", "origin"),
    "verdicts": ("severity", "verdict", "reason"),
}


def render(evidence: Evidence, after: Plan) -> str:
    """The whole page; `after` is what a plan says of the verified tree. Equal evidence gives equal bytes."""
    return html.render([Report(after)], evidence)


def beside(name: str) -> Path | None:
    """The receipt that `port` or `build` wrote beside SOURCE, if it is there."""
    path = Path(name)
    stem = path.name.removesuffix(".tar")
    places = (path.with_name(f"{path.name}.receipt.json"), path.with_name(f"{stem}.receipt.json"))
    return next((place for place in places if place.is_file()), None)


def read_receipt(path: Path) -> tuple[Mapping[str, Any], ...]:
    """The parts of a receipt; InputError when the file is none."""
    try:
        receipt = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"{path} is no receipt: {error}.") from error
    if not isinstance(receipt, dict) or receipt.get("schema_version") != 1:
        raise InputError(f"{path} is no receipt of this version: schema_version must be 1.")
    parts = receipt.get("parts", [receipt])
    if not isinstance(parts, list):
        raise InputError(f"{path} is no receipt: parts must be a list.")
    for part in parts:
        _check(part, path)
    return tuple(parts)


def _check(part: Any, path: Path) -> None:
    if not isinstance(part, dict) or not isinstance(part.get("distribution"), dict):
        raise InputError(f"{path} is no receipt: a part has no distribution.")
    for key, needed in _NEEDED.items():
        rows = part.get(key)
        if not isinstance(rows, list) or not all(
            isinstance(row, dict) and all(isinstance(row.get(name), str) for name in needed) for row in rows
        ):
            raise InputError(f"{path} is no receipt: {key} must be a list of rows with {', '.join(needed)}.")
    if unknown := {row["severity"] for row in part["verdicts"]} - set(SEVERITIES):
        raise InputError(f"{path} is no receipt: the severity {min(unknown)} is not known.")
