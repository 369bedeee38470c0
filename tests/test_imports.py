"""Imports point only downward, and only host/ and engines/ touch processes and the network."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pulsar_arm"
# From the top down; a module may import from its own row and from those below it. `x*` is a beginning.
ORDER = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("ordering",),
    ("options",),
    (
        "pipeline",
        "scanner",
        "report",
        "reports",
        "catalog_report",
        "overridefile",
        "build",
        "delivery",
        "eject",
        "doctor",
        "deploy",
        "sbom",
    ),
    ("verify", "where"),
    ("probe", "boot"),
    ("engines",),
    ("image",),
    ("authorities",),
    ("tree", "base*", "debian*"),
    ("templates",),
    ("port",),
    ("resolve",),
    ("proof", "search"),
    ("candidate",),
    ("plan", "linkage", "callers", "classpath", "hierarchy", "recheck"),
    (
        "scan",
        "walk",
        "lookup",
        "identity",
        "parts",
        "catalog",
        "releases",
        "patches",
        "requirements",
        "diagnosis",
    ),
    ("fitness", "families", "published", "licence"),
    ("distribution", "image_members", "kinds", "images", "publish"),
    ("host",),
    ("formats",),
    ("tables",),
    ("checks",),
    ("platforms",),
    ("errors", "printable"),
    ("inside", "patience"),
    ("__init__",),
)
OUTSIDE = {"subprocess", "socket", "requests", "urllib3", "docker", "http", "urllib", "remotezip", "jgo"}
MODULES = sorted(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py"))


def rank(module: str) -> int:
    part = module.split(".")[0]
    for number, row in enumerate(ORDER):
        if any(part == name or (name.endswith("*") and part.startswith(name[:-1])) for name in row):
            return number
    raise AssertionError(f"{module} has no place in ORDER")


def imported(module: str) -> set[str]:
    """Every name that an import statement of a module asks for, with those inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / (module.replace(".", "/") + ".py")).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from pulsar_arm import report` asks for a module, `... .report import dump` for a name.
            found |= {name if own(name) in MODULES else node.module for name in names}
    return found


def own(name: str) -> str:
    return name.removeprefix("pulsar_arm.")


def ours(module: str) -> set[str]:
    names = {own(name) for name in imported(module) if name.startswith("pulsar_arm")}
    return {f"{name}.__init__" if f"{name}.__init__" in MODULES else name for name in names} - {"pulsar_arm"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_its_own_row_and_those_below(module: str) -> None:
    upward = [name for name in ours(module) if rank(name) < rank(module)]
    assert upward == []


def test_there_is_no_cycle() -> None:
    graph = {module: ours(module) for module in MODULES}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(order) == set(MODULES)


def test_formats_know_nothing_of_pulsar() -> None:
    known = {name for module in MODULES if module.startswith("formats.") for name in ours(module)}
    assert {name.split(".")[0] for name in known} <= {"formats", "errors", "platforms"}


@pytest.mark.parametrize(
    "module", [name for name in MODULES if not name.startswith(("host.", "engines.", "inside."))]
)
def test_only_host_and_engines_touch_processes_and_the_network(module: str) -> None:
    assert {name.split(".")[0] for name in imported(module)} & OUTSIDE == set()


def test_the_order_names_no_module_that_is_gone() -> None:
    parts = {module.split(".")[0] for module in MODULES}
    for name in (name for row in ORDER for name in row):
        assert any(part == name or (name.endswith("*") and part.startswith(name[:-1])) for part in parts), (
            name
        )
