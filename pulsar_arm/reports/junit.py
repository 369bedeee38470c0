"""A verification as JUnit XML: one suite for each level, one case for each check, for CI to show."""

from __future__ import annotations

from collections.abc import Sequence

from lxml import etree

from pulsar_arm.checks import LEVELS, Check
from pulsar_arm.printable import printable
from pulsar_arm.verify import Verification


def render(verification: Verification) -> str:
    """The whole file, in the form that Jenkins and GitLab read (testsuites, testsuite, testcase).

    A check that is neither passed nor failed is a skipped case with its reason. Equal verifications give
    equal bytes.
    """
    top = etree.Element("testsuites", name=_text(f"pulsar-arm verify {verification.subject}"))
    _count(top, verification.checks)
    for level in LEVELS:
        checks = [check for check in verification.checks if check.level == level]
        if checks:
            suite = etree.SubElement(top, "testsuite", name=level)
            _count(suite, checks)
            for check in checks:
                _case(suite, check)
    text: bytes = etree.tostring(top, pretty_print=True, xml_declaration=True, encoding="UTF-8")
    return text.decode()


def _count(element: etree._Element, checks: Sequence[Check]) -> None:
    outcomes = [check.outcome for check in checks]
    failures = outcomes.count("failed")
    element.set("tests", str(len(outcomes)))
    element.set("failures", str(failures))
    element.set("errors", "0")
    if element.tag == "testsuite":  # the outer element has no such attribute
        element.set("skipped", str(len(outcomes) - failures - outcomes.count("passed")))


def _case(suite: etree._Element, check: Check) -> None:
    name = _text(check.subject)
    case = etree.SubElement(suite, "testcase", classname=f"pulsar-arm.verify.{check.level}", name=name)
    evidence = _text(check.evidence)
    if check.outcome == "failed":
        failure = etree.SubElement(case, "failure", message=evidence, type=check.level)
        failure.text = evidence
    elif check.outcome == "passed":
        etree.SubElement(case, "system-out").text = evidence
    else:
        etree.SubElement(case, "skipped", message=evidence)


def _text(text: str) -> str:
    """Without what XML cannot hold (XML 1.0, 2.2): invisible characters are spelled out, lines kept."""
    return "\n".join(printable(line) for line in text.split("\n"))
