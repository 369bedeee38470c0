from __future__ import annotations

from pathlib import Path

import pytest

from pulsar_arm.catalog import Catalog, LoaderNames, Override, folder, layered, load_catalog
from pulsar_arm.errors import CatalogError
from pulsar_arm.host.maven import Coordinate

SHA = "0123456789abcdef" * 4
WHOLE = f"""
schema = 1
summary = "made"

[[loader]]
class = "a.Loader"
machine = "aarch64"
libc = "glibc"
versions = ["2.*"]
names = ["lib-{{version}}.so", "lib.so"]

[[loader]]
machine = "*"
libc = "*"
names = ["any.so"]

[[severity]]
scopes = ["lib"]
level = "fatal"
reason = "it stops"
evidence = "seen"

[[severity]]
level = "harmless"
reason = "unused there"
evidence = "read"

[[remedy]]
scopes = ["lib"]
versions = ["2.0"]
action = "replace"
with = "g:a:2.1"
sha256 = "{SHA}"
licence = "Apache-2.0"
why = "it has aarch64"

[[remedy]]
action = "tolerate"
why = "it falls back"

[[bad]]
versions = ["2.7"]
level = "fatal"
reason = "it computes wrong"
"""


def load(place: Path, text: str = WHOLE) -> Override:
    (place / "made.toml").write_text(text)
    return load_catalog(place)["made"]


def test_all_shipped_overrides_load_and_say_what_and_why(catalog: Catalog) -> None:
    assert sorted(catalog) == sorted(path.stem for path in folder("jar_overrides").glob("*.toml"))
    assert {"rocksdbjni", "netty-tcnative-boringssl-static", "libprocname"} <= set(catalog)
    for override in catalog.values():
        assert override.judgements, override.path
        assert override.judgements[-1].scopes == override.judgements[-1].versions == ("*",), override.path


def test_every_shipped_replacement_is_a_coordinate_with_its_hash(catalog: Catalog) -> None:
    replacements = [row for one in catalog.values() for row in one.remedies if row.action != "tolerate"]
    assert replacements
    for row in replacements:
        assert str(Coordinate.parse(row.coordinate)) == row.coordinate
        assert len(row.sha256) == 64
        assert row.licence


def test_a_loader_asks_by_machine_libc_and_version(tmp_path: Path) -> None:
    override = load(tmp_path)
    assert override.asks("aarch64", "glibc", "2.5") == ("lib-2.5.so", "lib.so")
    assert override.asks("aarch64", "glibc", "3.0") == ("any.so",)
    assert override.asks("aarch64", "musl", "2.5") == ("any.so",)
    assert override.asks("x86_64", "glibc", "2.5") == ("any.so",)
    assert override.loaders[0] == LoaderNames("aarch64", "glibc", ("2.*",), ("lib-{version}.so", "lib.so"))


def test_a_loader_of_another_machine_says_nothing_of_this_one(tmp_path: Path) -> None:
    text = 'schema = 1\nsummary = "x"\n[[loader]]\nmachine = "s390x"\nlibc = "*"\nnames = ["a"]\n'
    assert load(tmp_path, text).asks("aarch64", "glibc", "1") == ()


def test_the_first_row_that_fits_is_taken(tmp_path: Path) -> None:
    override = load(tmp_path)
    first, second = override.judge("lib", "2.0"), override.judge("lib/presto/lib", "2.0")
    assert first is not None
    assert second is not None
    assert (first.severity, second.severity) == ("fatal", "harmless")
    (replace, _also), (tolerate,) = override.remedies_for("lib", "2.0"), override.remedies_for("lib", "2.1")
    assert replace is not None
    assert tolerate is not None
    assert (replace.coordinate, replace.sha256) == ("g:a:2.1", SHA)
    assert (tolerate.action, tolerate.coordinate) == ("tolerate", "")


def test_known_bad_versions_are_named(tmp_path: Path) -> None:
    override = load(tmp_path)
    bad = override.known_bad("2.7")
    assert bad is not None
    assert (bad.severity, bad.reason) == ("fatal", "it computes wrong")
    assert override.known_bad("2.6") is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("schema = 1", "schema = 2", r"made\.toml: schema must be 1"),
        ('summary = "made"', "", r"made\.toml: summary must"),
        ('summary = "made"', 'summary = "made"\nnews = 1', r"made\.toml: the key news is not known"),
        ('libc = "glibc"', 'libc = "dietlibc"', r"made\.toml, \[\[loader\]\] 1: libc is 'dietlibc'"),
        ('machine = "aarch64"', "", r"made\.toml, \[\[loader\]\] 1: machine must"),
        ('names = ["any.so"]', "names = []", r"made\.toml, \[\[loader\]\] 2: names must"),
        (
            'names = ["any.so"]',
            'names = ["any.so"]\nname = ""',
            r"\[\[loader\]\] 2: the key name is not known",
        ),
        (
            'level = "harmless"',
            'level = "bad"',
            r"\[\[severity\]\] 2: level is 'bad', but must be one of fatal,",
        ),
        ('evidence = "read"', "", r"\[\[severity\]\] 2: evidence must"),
        ('reason = "it stops"', "", r"\[\[severity\]\] 1: reason must"),
        (
            'evidence = "read"',
            'evidence = "read"\nproof = ""',
            r"\[\[severity\]\] 2: the key proof is not known",
        ),
        ('action = "tolerate"', 'action = "ignore"', r"\[\[remedy\]\] 2: action is 'ignore'"),
        ('why = "it falls back"', "", r"\[\[remedy\]\] 2: why must"),
        (
            'why = "it falls back"',
            f'why = "x"\nsha256 = "{SHA}"',
            r"\[\[remedy\]\] 2: the key sha256 is not known",
        ),
        ('with = "g:a:2.1"', 'with = "g:a"', r"\[\[remedy\]\] 1: with must have the form"),
        (SHA, "abc", r"\[\[remedy\]\] 1: sha256 must have the form"),
        ('licence = "Apache-2.0"', "", r"\[\[remedy\]\] 1: licence must"),
        ('reason = "it computes wrong"', "", r"\[\[bad\]\] 1: reason must"),
        ('versions = ["2.7"]', "", r"\[\[bad\]\] 1: versions must"),
        ("[[bad]]", "[[worse]]", r"made\.toml: the key worse is not known"),
        ("[[loader]]", "[[loader", r"made\.toml cannot be read"),
    ],
)
def test_every_wrong_key_is_named_with_its_file_and_table(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in WHOLE
    with pytest.raises(CatalogError, match=says):
        load(tmp_path, WHOLE.replace(old, new))


def test_a_data_folder_that_is_missing_is_told() -> None:
    with pytest.raises(CatalogError, match="nonsense is missing here: install pulsar-arm again"):
        folder("nonsense")


def test_a_users_file_takes_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "rocksdbjni.toml").write_text(WHOLE)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "mine.toml").write_text(WHOLE)
    shipped, both = load_catalog(), layered(tmp_path)
    assert set(both) == {*shipped, "mine"}
    assert both["rocksdbjni"].summary == "made"
    assert both["snappy-java"] == shipped["snappy-java"]
    assert layered(None) == shipped


def test_two_overrides_for_one_library_in_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "made.toml").write_text(WHOLE)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "Made.toml").write_text(WHOLE)
    with pytest.raises(CatalogError, match=r"two overrides for \w+: remove made\.toml or old/Made\.toml"):
        load_catalog(tmp_path)


@pytest.mark.parametrize("pattern", ["[1.0,2.0)", "2.[9-0]", "2.[", "(,1]", "", "1.0 2.0", ">=2"])
def test_a_version_range_that_is_none_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(
        CatalogError, match=r"made\.toml, \[\[remedy\]\] 1: versions has .*no version can fit"
    ):
        load(tmp_path, WHOLE.replace('versions = ["2.0"]', f'versions = ["{pattern}"]'))


@pytest.mark.parametrize(
    "pattern", ["2.[0-3].*", "1.1.10.7", "0.4.4-hotfix1-allinone", "4.?.[!1]*", "1.0+build"]
)
def test_shell_patterns_of_versions_are_taken(tmp_path: Path, pattern: str) -> None:
    text = WHOLE.replace('versions = ["2.0"]', f'versions = ["{pattern}"]')
    assert load(tmp_path, text).remedies[0].versions == (pattern,)
