from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders import Made, jar_bytes, pom, tarball
from builders_port import NEW_JAR, OLD_JAR, PRESTO_JAR, made_world, parts, sha256
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pulsar_arm.port import Ported
from pulsar_arm.report import dump
from pulsar_arm.sbom import sbom_json

PLAIN = jar_bytes({"a.txt": b"a", **pom("plain", "1.0")})


@pytest.fixture(params=["out.tar.gz", "out"])
def ported(request: pytest.FixtureRequest, tmp_path: Path) -> Ported:
    files: dict[str, Made] = {**parts(), "lib/org.made-plain-1.0.jar": PLAIN}
    source = tarball(
        tmp_path / "x.tar.gz", {f"apache-pulsar-9.9.9/{name}": made for name, made in files.items()}
    )
    with made_world(tmp_path) as world:
        return world.port(source, tmp_path / request.param)


def components(bill: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["bom-ref"]: row for row in bill["components"]}


def test_it_keeps_to_the_official_schema(ported: Ported) -> None:
    text = dump(sbom_json(ported))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    broken = text.replace('"SHA-256"', '"SHA-257"')
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None


def test_every_jar_is_a_component_with_its_hash_those_inside_nars_too(ported: Ported) -> None:
    found = components(sbom_json(ported))
    assert set(found) == {
        "lib/org.rocksdb-rocksdbjni-5.1.jar",
        "lib/presto/plugin/p/rocksdbjni-5.1.jar",
        "lib/presto/lib/presto-main-0.1.jar",
        "lib/org.made-tolerated-1.0.jar",
        "lib/org.made-plain-1.0.jar",
        "connectors/c.nar",
        "connectors/c.nar!/META-INF/bundled/rocksdbjni-5.1.jar",
        "connectors/c.nar!/META-INF/bundled/presto-main-0.1.jar",
    }
    plain = found["lib/org.made-plain-1.0.jar"]
    assert plain["purl"] == "pkg:maven/org.made/plain@1.0"
    assert plain["hashes"] == [{"alg": "SHA-256", "content": sha256(PLAIN)}]
    assert "pedigree" not in plain


def test_what_was_brought_in_has_its_coordinate_its_licence_and_what_stood_there(ported: Ported) -> None:
    found = components(sbom_json(ported))
    for place in (
        "lib/org.rocksdb-rocksdbjni-5.1.jar",
        "connectors/c.nar!/META-INF/bundled/rocksdbjni-5.1.jar",
    ):
        row = found[place]
        assert row["purl"] == "pkg:maven/org.rocksdb/rocksdbjni@5.2"
        assert row["hashes"][0]["content"] == sha256(NEW_JAR)
        assert row["licenses"] == [{"expression": "Apache-2.0"}]
        (before,) = row["pedigree"]["ancestors"]
        assert (before["version"], before["hashes"][0]["content"]) == ("5.1", sha256(OLD_JAR))
        assert row["pedigree"]["notes"] == "it has aarch64"


def test_a_patched_jar_has_the_source_patch_and_its_archive_says_what_changed(ported: Ported) -> None:
    found = components(sbom_json(ported))
    jar = found["lib/presto/lib/presto-main-0.1.jar"]
    assert jar["hashes"][0]["content"] != sha256(PRESTO_JAR)
    assert jar["pedigree"]["patches"][0]["diff"]["text"]["content"] == "--- a\n+++ b\n"
    notes = found["connectors/c.nar"]["pedigree"]["notes"]
    assert "META-INF/bundled/rocksdbjni-5.1.jar" in notes
    assert "presto-main-0.1.jar!/" in notes


def test_equal_work_makes_equal_bytes(ported: Ported) -> None:
    first = dump(sbom_json(ported))
    assert first == dump(sbom_json(ported))
    assert json.loads(first)["serialNumber"].startswith("urn:uuid:")
