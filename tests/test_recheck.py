from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import AARCH64, X86_64, rocksdb_jar
from builders_maven import Server, maven_server
from builders_port import NEW, NEW_JAR, made_catalog
from click.testing import CliRunner

from pulsar_arm.cli import cli
from pulsar_arm.errors import HostError, InputError
from pulsar_arm.host.maven import Coordinate, NotPublished, Repository
from pulsar_arm.host.progress import Silent
from pulsar_arm.licence import licence_of
from pulsar_arm.platforms import AARCH64 as TARGET
from pulsar_arm.published import libraries
from pulsar_arm.recheck import recheck

POM = NEW.path.replace(".jar", ".pom")


def pom(licence: str = "", parent: str = "") -> bytes:
    told = f"<licenses><license><name>{licence}</name></license></licenses>" if licence else ""
    group, artifact, version = parent.split(":") if parent else ("", "", "")
    above = (
        f"<parent><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></parent>"
        if parent
        else ""
    )
    return f'<project xmlns="http://maven.apache.org/POM/4.0.0">{above}{told}</project>'.encode()


@pytest.fixture
def server() -> Iterator[Server]:
    with maven_server() as server:
        server.publish(NEW.path, NEW_JAR)
        server.publish(POM, pom("Apache License, Version 2.0"))
        yield server


@pytest.fixture
def here(tmp_path: Path, server: Server) -> Repository:
    settings = tmp_path / "no-settings.xml"
    return Repository(tmp_path / "cache", url=server.url, progress=Silent(), settings=settings)


def wrong(tmp_path: Path, repository: Repository, replacement: bytes = NEW_JAR) -> tuple[str, ...]:
    known = made_catalog(tmp_path / "overrides", replacement)
    override = known["rocksdbjni"]
    return recheck(override, override.remedies[0], known, TARGET, repository)


def test_a_jar_that_is_as_the_catalog_says_is_right(tmp_path: Path, here: Repository) -> None:
    assert wrong(tmp_path, here) == ()


def test_a_jar_that_is_gone_or_another_is_told(tmp_path: Path, here: Repository, server: Server) -> None:
    server.files[NEW.path] = b"another"
    assert "is not the one of sha256" in wrong(tmp_path, here)[0]
    del server.files[NEW.path]
    assert wrong(tmp_path, here) == ("it is not published there",)


def test_a_jar_that_changed_since_it_was_fetched_is_told(
    tmp_path: Path, here: Repository, server: Server
) -> None:
    here.fetch(NEW)
    server.publish(NEW.path, b"another")
    assert wrong(tmp_path, here) == ("the repository has another file by now",)


@pytest.mark.parametrize(
    ("machines", "says"),
    [((X86_64,), "it holds no library for aarch64"), ((X86_64, AARCH64), "")],
)
def test_a_jar_must_hold_a_library_for_the_machine(
    tmp_path: Path, here: Repository, server: Server, machines: tuple[int, ...], says: str
) -> None:
    jar = rocksdb_jar("5.2", *machines)
    server.publish(NEW.path, jar)
    assert wrong(tmp_path, here, jar) == ((says,) if says else ())


def test_the_licence_is_compared_with_the_poms(tmp_path: Path, here: Repository, server: Server) -> None:
    server.publish(POM, pom("GNU General Public License, version 2"))
    assert wrong(tmp_path, here) == ("its pom tells the licence GPL-2.0-only, and the override Apache-2.0",)


def test_a_licence_is_found_in_a_parent(here: Repository, server: Server) -> None:
    server.publish(POM, pom(parent="org.made:above:1"))
    server.publish("org/made/above/1/above-1.pom", pom("The BSD 3-Clause License"))
    assert licence_of(NEW, here) == "BSD-3-Clause"


def test_a_pom_without_a_licence_or_that_is_none_tells_nothing(here: Repository, server: Server) -> None:
    other = Coordinate("org.made", "plain", "1")
    assert licence_of(other, here) == ""
    server.publish("org/made/plain/1/plain-1.pom", b"<settings/>")
    assert licence_of(other, here) == ""


def test_libraries_are_found_without_fetching_the_jar(here: Repository, server: Server) -> None:
    large = rocksdb_jar("5.2", X86_64, AARCH64)
    server.publish(NEW.path, large)
    assert libraries(NEW, TARGET, here) == ("librocksdbjni-linux-aarch64.so",)
    assert all("Range" in one.headers for one in server.gets(NEW.path))


def test_the_versions_come_from_the_repositorys_list(
    tmp_path: Path, here: Repository, server: Server
) -> None:
    rows = "".join(f"<version>{one}</version>" for one in ("1", "2"))
    text = f"<metadata><versioning><versions>{rows}</versions></versioning></metadata>"
    server.files["org/made/x/maven-metadata.xml"] = text.encode()
    assert here.versions("org.made", "x") == ("1", "2")
    offline = Repository(tmp_path / "cache", offline=True, progress=Silent())
    assert offline.versions("org.made", "x") == ("1", "2")
    with pytest.raises(HostError, match=r"versions of org\.made:y are not in the cache"):
        offline.versions("org.made", "y")
    with pytest.raises(NotPublished, match=r"org\.made:y is not published"):
        here.versions("org.made", "y")


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><p>log in", b"\xef\xbb\xbf \n<html lang='x'>", b"<HTML>"])
def test_a_web_page_with_status_200_is_no_artifact(here: Repository, server: Server, body: bytes) -> None:
    server.publish(NEW.path, body, sha1=None)
    with pytest.raises(HostError, match="is a web page where a file was asked for"):
        here.fetch(NEW)
    server.files["org/rocksdb/rocksdbjni/maven-metadata.xml"] = body
    with pytest.raises(InputError, match=r"maven-metadata.xml of org.rocksdb:rocksdbjni is"):
        here.versions("org.rocksdb", "rocksdbjni")


def test_the_command_answers_no_when_a_jar_is_wrong(tmp_path: Path, server: Server) -> None:
    made_catalog(tmp_path / "own")
    server.files[NEW.path] = b"another"
    # The shipped jars are not on this server: they are all told as gone, besides the one of --catalog.
    words = ["-q", "--cache", str(tmp_path / "cache"), "--maven-url", server.url, "catalog", "check"]
    done = CliRunner().invoke(cli, [*words, "--catalog", str(tmp_path / "own")], standalone_mode=False)
    assert done.return_value == 1
    assert "is not the one of sha256" in " ".join(done.stdout.split())
    assert "it is not published there" in done.stdout


def test_the_catalog_is_listed_and_shown_with_the_users_own_first(tmp_path: Path) -> None:
    made_catalog(tmp_path / "own")
    own = ["--catalog", str(tmp_path / "own")]
    listed = CliRunner().invoke(cli, ["catalog", "list", *own]).stdout
    assert "made (yours)" in listed
    assert "snappy-java" in listed
    shown = CliRunner().invoke(cli, ["catalog", "show", "rocksdbjni", *own]).stdout
    assert "org.rocksdb:rocksdbjni:5.2" in shown
    assert "5.18.4" not in shown
    refused = CliRunner().invoke(cli, ["catalog", "show", "nothing"], standalone_mode=False)
    assert "The catalog has no nothing" in str(refused.exception)
