from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pulsar_arm.errors import CatalogError
from pulsar_arm.tables import Table, read_toml


def table(**rows: object) -> Table:
    return Table("x.toml", rows)


@pytest.mark.parametrize(
    ("ask", "rows", "says"),
    [
        (lambda one: one.text("k"), {}, "k must be a text that is not empty"),
        (lambda one: one.text("k"), {"k": " "}, "k must be a text that is not empty"),
        (lambda one: one.text("k"), {"k": 1}, "k must be a text that is not empty"),
        (lambda one: one.text("k", ""), {"k": 1}, "k must be a text that is not empty"),
        (lambda one: one.choice("k", ("a", "b")), {"k": "c"}, "k is 'c', but must be one of a, b"),
        (lambda one: one.number("k"), {}, "k must be a whole number"),
        (lambda one: one.number("k"), {"k": True}, "k must be a whole number"),
        (lambda one: one.number("k"), {"k": "1"}, "k must be a whole number"),
        (lambda one: one.matching("k", re.compile("a+")), {"k": "ab"}, r"k must have the form a\+"),
        (lambda one: one.texts("k"), {}, "k must be a list of texts that is not empty"),
        (lambda one: one.texts("k"), {"k": []}, "k must be a list of texts that is not empty"),
        (lambda one: one.texts("k"), {"k": ["a", 1]}, "k must be a list of texts that is not empty"),
        (lambda one: one.texts("k"), {"k": "abc"}, "k must be a list of texts that is not empty"),
        (lambda one: one.tables("k"), {"k": {"a": 1}}, r"k must be written as \[\[k\]\] tables"),
        (lambda one: one.pairs("k"), {"k": {"a": 1}}, "k must be a table of texts"),
        (lambda one: one.named("k"), {"k": {"a": 1}}, r"k must be written as \[k\.NAME\] tables"),
    ],
)
def test_a_wrong_value_is_told_by_file_and_key(
    ask: Callable[[Table], object], rows: dict[str, object], says: str
) -> None:
    with pytest.raises(CatalogError, match=rf"^x\.toml: {says}\.$"):
        ask(table(**rows))


def test_right_values_are_given() -> None:
    one = table(text="a", number=2, texts=["b"], pairs={"c": "d"}, named={"e": {"f": "g"}}, rows=[{"h": 1}])
    assert one.text("text") == "a"
    assert one.number("number") == 2
    assert one.texts("texts") == ("b",)
    assert one.pairs("pairs") == (("c", "d"),)
    ((name, inner),) = one.named("named")
    assert (name, inner.keys(), inner.text("f")) == ("e", ("f",), "g")
    (row,) = one.tables("rows")
    assert row.number("h") == 1
    for table_read in (one, inner, row):
        table_read.end()


def test_what_is_absent_has_its_default() -> None:
    one = table()
    assert (one.text("k", ""), one.texts("k", ("*",)), one.tables("k"), one.pairs("k"), one.named("k")) == (
        "",
        ("*",),
        [],
        (),
        [],
    )


def test_a_key_that_nobody_asked_for_is_a_mistake() -> None:
    with pytest.raises(CatalogError, match=r"^x\.toml: the key sumary is not known"):
        table(sumary="x").end()


def test_inner_tables_are_told_by_their_number_and_name() -> None:
    one = table(row=[{"a": "b"}, {}], named={"n": {}})
    with pytest.raises(CatalogError, match=r"^x\.toml, \[\[row\]\] 2: a must"):
        one.tables("row")[1].text("a")
    with pytest.raises(CatalogError, match=r"^x\.toml, \[named\.n\]: a must"):
        one.named("named")[0][1].text("a")


@pytest.mark.parametrize("content", [b"a = ", b"a = 1\na = 2\n", b"\xff\xfe"])
def test_what_is_no_toml_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(CatalogError, match=r"^x\.toml cannot be read: "):
        read_toml(tmp_path / "x.toml")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"^x\.toml cannot be read: "):
        read_toml(tmp_path / "x.toml")
