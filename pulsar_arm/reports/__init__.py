"""The formats in which a scan is told, by the name that `--format` takes; a format is one file here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module

from pulsar_arm.reports.findings import Report

Renderer = Callable[[Sequence[Report]], str]
"""Gives the whole text of one report on all SOURCEs."""


class _Formats(Mapping[str, Renderer]):
    """A format is imported when it is asked for: a table need not wait for the page's templates."""

    def __init__(self, **modules: str) -> None:
        self._modules = modules

    def __getitem__(self, name: str) -> Renderer:
        render: Renderer = import_module(f"{__name__}.{self._modules[name]}").render
        return render

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


FORMATS: Mapping[str, Renderer] = _Formats(
    table="table", json="json_report", markdown="markdown", sarif="sarif", html="html"
)
