"""What a verification leaves behind: JUnit for CI, and the page one attaches to a change request."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import junitparser
import pytest
from builders import pulsar_tarball
from click.testing import CliRunner
from lxml import etree
from test_report import HOSTILE, Page, full

from pulsar_arm.checks import Check
from pulsar_arm.cli import cli
from pulsar_arm.errors import InputError
from pulsar_arm.reports import junit
from pulsar_arm.reports.evidence import beside, read_receipt, render
from pulsar_arm.reports.html import Evidence
from pulsar_arm.verify import Verification


def verification(*checks: Check, subject: str = "images/pulsar.tar") -> Verification:
    return Verification(subject, "load", checks, full().plan.inventory)


PASSED = Check("static", "user", "passed", "runs as user 10000")
FAILED = Check("load", "lib/rocksdb.jar!/x.so", "failed", "version `GLIBC_2.32' not found\nsecond line")
RECEIPT: dict[str, Any] = {
    "schema_version": 1,
    "distribution": {"kind": "pulsar", "version": "2.6.0", "sha256": "1" * 64},
    "actions": [
        {
            "location": "lib/rocksdbjni-5.13.3.jar",
            "action": "replace",
            "sha256_before": "2" * 64,
            "sha256_after": "3" * 64,
            "origin": "org.rocksdb:rocksdbjni:5.18.4",
            "licence": "Apache-2.0",
        }
    ],
    "verdicts": [
        {
            "library": "rocksdbjni",
            "version": "5.13.3",
            "scope": "lib",
            "severity": "fatal",
            "verdict": "resolved",
            "reason": "replace it",
        },
        {
            "check": "a.Requirements",
            "location": "lib/x.jar",
            "severity": "feature",
            "verdict": "resolved",
            "reason": "patch it",
        },
    ],
}


def page(*checks: Check, parts: tuple[dict[str, Any], ...] = (RECEIPT,), subject: str = "x.tar") -> str:
    return render(Evidence(verification(*checks, subject=subject), parts), full().plan)


def test_a_junit_reader_counts_what_was_checked() -> None:
    told = junitparser.JUnitXml.fromstring(junit.render(verification(PASSED, FAILED)).encode())
    suites = {suite.name: suite for suite in told}
    assert {name: (suite.tests, suite.failures) for name, suite in suites.items()} == {
        "static": (1, 0),
        "load": (1, 1),
    }
    (case,) = suites["load"]
    assert case.name == FAILED.subject
    assert isinstance(case.result[0], junitparser.Failure)
    assert case.result[0].text == FAILED.evidence


def test_no_evidence_can_break_the_junit_file() -> None:
    text = junit.render(verification(Check("load", HOSTILE, "failed", HOSTILE), subject=HOSTILE))
    tree = etree.fromstring(text.encode())
    assert [one.tag for one in tree.iter()] == ["testsuites", "testsuite", "testcase", "failure"]
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x9b\u202e]", text)


def test_the_page_joins_proof_plan_receipt_and_the_scan_after() -> None:
    text = page(PASSED, FAILED)
    at = [text.index(words) for words in ("fails 1 of 2 checks", FAILED.subject, "replace it", "3" * 64)]
    assert at == sorted(at)
    assert text.index("3" * 64) < text.index("What breaks, the worst first")
    assert "org.rocksdb:rocksdbjni:5.18.4" in text
    assert "a.Requirements" in text


def test_the_links_of_the_page_lead_somewhere() -> None:
    for parts in ((RECEIPT,), ()):
        told = Page(page(PASSED, parts=parts))
        places = {attributes.get("id") for _tag, attributes in told.tags}
        links = [str(attributes["href"]) for tag, attributes in told.tags if tag == "a"]
        assert links
        assert {link.removeprefix("#") for link in links} <= places


def test_a_page_without_a_receipt_says_so() -> None:
    assert "No receipt was found" in page(PASSED, parts=())


def test_nothing_in_a_receipt_or_a_check_becomes_markup() -> None:
    odd = json.loads(json.dumps(RECEIPT).replace("replace it", "<img src=x onerror=y>"))
    odd["distribution"]["version"] = HOSTILE
    told = Page(page(Check("load", HOSTILE, "passed", HOSTILE), parts=(odd,), subject=HOSTILE))
    names = [tag for tag, _ in told.tags]
    assert names.count("script") == 1
    assert "img" not in names


def test_the_receipt_is_found_beside_an_image_and_beside_a_ported_archive(tmp_path: Path) -> None:
    for name, receipt in (
        ("pulsar-2.6.0-linux-arm64.tar", "pulsar-2.6.0-linux-arm64.receipt.json"),
        ("p.tar.gz", "p.tar.gz.receipt.json"),
    ):
        assert beside(str(tmp_path / name)) is None
        (tmp_path / receipt).write_text(json.dumps(RECEIPT))
        assert beside(str(tmp_path / name)) == tmp_path / receipt


def test_the_parts_of_an_image_and_a_single_receipt_are_read_alike(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(json.dumps(RECEIPT))
    (tmp_path / "all").write_text(json.dumps({"schema_version": 1, "parts": [RECEIPT, RECEIPT]}))
    assert len(read_receipt(tmp_path / "one")) == 1
    assert len(read_receipt(tmp_path / "all")) == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff", "is no receipt"),
        (b"[]", "schema_version must be 1"),
        (b'{"schema_version": 2}', "schema_version must be 1"),
        (b'{"schema_version": 1, "parts": 3}', "parts must be a list"),
        (b'{"schema_version": 1, "parts": [3]}', "has no distribution"),
        (json.dumps(RECEIPT | {"actions": [{"location": 3}]}).encode(), "actions must be a list of rows"),
        (json.dumps(RECEIPT).replace("fatal", "deadly").encode(), "the severity deadly is not known"),
    ],
)
def test_what_is_no_receipt_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_receipt(path)


def test_a_receipt_that_cannot_be_read_is_told_before_the_work_begins(tmp_path: Path) -> None:
    source = pulsar_tarball(tmp_path / "apache-pulsar-9.9.9-bin.tar.gz")
    (tmp_path / "r.json").write_text("{")
    words = [
        "verify",
        str(source),
        "--level",
        "static",
        "--format",
        "html",
        "--receipt",
        str(tmp_path / "r.json"),
    ]
    told = CliRunner().invoke(cli, words, standalone_mode=False)
    assert isinstance(told.exception, InputError)
    assert "is no receipt" in str(told.exception)
