"""SARIF 2.1.0 (OASIS) for code-scanning services: one run per SOURCE, one rule per library and kind of gap.

Services show a result only with a physical location that has a line: a binary file has none, so it is
line 1. They tell runs apart by their category, and results by `primaryLocationLineHash`.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pulsar_arm import __version__, report
from pulsar_arm.catalog import Severity
from pulsar_arm.printable import printable
from pulsar_arm.reports.findings import Finding, Report, headline
from pulsar_arm.walk import NOT_COVERED

# The identifier of the format, as the specification gives it; nothing is fetched from there.
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: dict[Severity, str] = {
    "fatal": "error",
    "feature": "error",
    "degraded": "warning",
    "harmless": "note",
}
_RESERVED = re.compile(r"[^A-Za-z0-9._~/-]")
_PROBLEMS = {"error": "error", "warning": "warning", "note": "recommendation"}
_SHORT = {
    "missing": "{library} has no library for {target}",
    "broken": "The {target} library of {library} is known to fail",
    "unfit": "The {target} library of {library} does not fit where it shall run",
    "check": "{library} refuses to run on {target}",
}
_FULL = {
    "missing": "The loader of {library} finds no library for {target} on the class path it stands in.",
    "broken": "{library} is there for {target}, but this version fails or computes wrong.",
    "unfit": "{library} is there for {target}, but not for this libc, base or page size.",
    "check": "The class {library} checks the machine or the JVM, and stops the program on {target}.",
}


def render(reports: Sequence[Report]) -> str:
    """One SARIF log; equal scans give equal bytes."""
    names = Counter[str]()
    runs = list[dict[str, Any]]()
    for told in reports:
        name = posixpath.basename(told.plan.inventory.distribution.source.rstrip("/")) or "."
        names[name] += 1
        runs.append(_run(told, name if names[name] == 1 else f"{name}-{names[name]}"))
    return report.dump({"$schema": _SCHEMA, "version": "2.1.0", "runs": runs})


def _run(told: Report, name: str) -> dict[str, Any]:
    inventory = told.plan.inventory
    found = told.findings
    rules = dict[str, list[Finding]]()
    for one in found:
        rules.setdefault(_rule_id(one), []).append(one)
    places = {rule: index for index, rule in enumerate(rules)}
    seen = Counter[tuple[str, ...]]()
    results = list[dict[str, Any]]()
    for one in found:
        seen[one.row.identity] += 1
        results.append(_result(one, places[_rule_id(one)], seen[one.row.identity]))
        if told.known is not None:
            results[-1]["baselineState"] = "new"
    distribution = inventory.distribution
    return {
        "tool": {
            "driver": {
                "name": "pulsar-arm",
                "version": __version__,
                "rules": [_rule(rule, alike, inventory.target.name) for rule, alike in rules.items()],
            }
        },
        "automationDetails": {
            "id": f"pulsar-arm/{_encoded(printable(name)).replace('/', '%2F')}/",
            "description": {"text": _plain(headline(told))},
        },
        "invocations": [
            {
                "executionSuccessful": not inventory.unreadable,
                "toolExecutionNotifications": [
                    *(_unreadable(row.location, row.reason) for row in inventory.unreadable),
                    *({"level": "note", "message": {"text": f"Not covered: {line}"}} for line in NOT_COVERED),
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {
            "target": inventory.target.name,
            "distribution": {
                "kind": distribution.kind,
                "version": distribution.version,
                "sha256": distribution.sha256,
            },
            "summary": inventory.summary(),
            "leftOutByBaseline": len(told.known or ()),
        },
    }


def _rule_id(one: Finding) -> str:
    library = one.name if one.row.kind == "check" else one.row.library
    return printable(f"{library}/{one.row.kind}")


def _rule(rule: str, alike: Sequence[Finding], target: str) -> dict[str, Any]:
    worst = alike[0]
    words = {"library": _plain(rule.rsplit("/", 1)[0]), "target": target}
    level = _LEVELS[worst.severity]
    reasons = list(dict.fromkeys(f"{one.severity}: {one.reason}" for one in alike))
    remedies = list(dict.fromkeys(_remedy(one) for one in alike))
    return {
        "id": rule,
        "name": "".join(part[:1].upper() + part[1:] for part in re.findall(r"[A-Za-z0-9]+", rule)),
        "shortDescription": {"text": _SHORT[worst.row.kind].format(**words)},
        "fullDescription": {"text": _FULL[worst.row.kind].format(**words)},
        "help": {
            "text": "\n".join(map(_plain, [*reasons, *remedies])),
            "markdown": "\n".join(f"- {_marked(line)}" for line in [*reasons, *remedies]),
        },
        "defaultConfiguration": {"level": level},
        "properties": {"tags": [target, "portability"], "problem.severity": _PROBLEMS[level]},
    }


def _result(one: Finding, place: int, number: int) -> dict[str, Any]:
    identity = "\0".join(one.row.identity).encode("utf-8", errors="surrogatepass")
    digest = hashlib.sha256(identity).hexdigest()
    where = "" if one.row.kind == "check" else f" in {one.row.scope}"
    return {
        "ruleId": _rule_id(one),
        "ruleIndex": place,
        "level": _LEVELS[one.severity],
        "message": {"text": _plain(f"{one.name}{where} ({one.severity}): {one.reason}. {_remedy(one)}.")},
        "locations": [_location(location) for location in one.locations],
        "partialFingerprints": {"primaryLocationLineHash": f"{digest[:32]}:{number}"},
        "properties": {
            "library": one.row.library,
            "version": one.row.version,
            "scope": one.row.scope,
            "kind": one.row.kind,
            "severity": one.severity,
            "present": list(one.present),
        },
    }


def _location(location: str) -> dict[str, Any]:
    """The file that lies in the distribution; what is nested in it is a logical location besides."""
    outer, nested, _ = location.partition("!/")
    place: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": _encoded(outer)}, "region": {"startLine": 1}}
    }
    if nested:
        place["logicalLocations"] = [{"fullyQualifiedName": printable(location), "kind": "module"}]
    return place


def _encoded(path: str) -> str:
    """A path as a relative reference (RFC 3986, 2.1 and 2.3); bytes that are no UTF-8 keep their value."""
    return _RESERVED.sub(
        lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode(errors="surrogateescape")), path
    )


def _unreadable(location: str, reason: str) -> dict[str, Any]:
    text = _plain(f"Not looked at: {location or 'the rest'}: {reason}")
    notification: dict[str, Any] = {"level": "error", "message": {"text": text}}
    return notification | ({"locations": [_location(location)]} if location else {})


def _remedy(one: Finding) -> str:
    return f"Remedy: {one.remedy}" if one.remedy else "No remedy is known"


def _plain(text: str) -> str:
    """A plain message: brackets would make links of names (SARIF 3.11.6), braces placeholders (3.11.5)."""
    text = re.sub(r"([\[\]])", r"\\\1", printable(text))
    return text.replace("{", "{{").replace("}", "}}")


def _marked(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~#])", r"\\\1", printable(text))
