"""The formats in which a scan is told, by the name that `--format` takes; a format is one file here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pulsar_arm.reports import html, json_report, markdown, sarif, table
from pulsar_arm.reports.findings import Report

Renderer = Callable[[Sequence[Report]], str]
"""Gives the whole text of one report on all SOURCEs."""

FORMATS: Mapping[str, Renderer] = {
    "table": table.render,
    "json": json_report.render,
    "markdown": markdown.render,
    "sarif": sarif.render,
    "html": html.render,
}
