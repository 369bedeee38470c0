"""A cache that `fetch` has filled is carried to a machine without a network, and serves a port there."""

from __future__ import annotations

import hashlib
import shutil
import stat
from pathlib import Path

from builders import X86_64, pulsar_files, tarball
from builders_linkage import NATIVE, PUBLIC, Class, class_jar, jni_library
from builders_maven import maven_server
from click.testing import CliRunner, Result

from pulsar_arm.cli import cli
from pulsar_arm.errors import HostError
from pulsar_arm.host.maven import Coordinate
from pulsar_arm.parts import server_coordinate

STORE = Class("db/Store", declares={"put(I)V": PUBLIC | NATIVE})
EXPORTS = ["Java_db_Store_put"]
OLD = class_jar(STORE, files={"x86.so": jni_library(EXPORTS, machine=X86_64)})
NEW = class_jar(STORE, files={"arm.so": jni_library(EXPORTS)})
REMEDY = Coordinate.parse("org.made:db:1.1")
OVERRIDE = f"""
schema = 1
summary = "made"
[[severity]]
level = "fatal"
reason = "it stops"
evidence = "made"
[[remedy]]
action = "replace"
with = "{REMEDY}"
sha256 = "{hashlib.sha256(NEW).hexdigest()}"
licence = "Apache-2.0"
why = "made"
"""


def run(cache: Path, *words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["--cache", str(cache), *map(str, words)], standalone_mode=False)


def fetched(place: Path, *words: str | Path) -> Result:
    """Fetch a made release 9.9.9 with one fatal gap from a server that is gone afterwards."""
    (place / "own").mkdir()
    (place / "own" / "db.toml").write_text(OVERRIDE)
    files = {name: made for name, made in pulsar_files().items() if "rocksdb" not in name}
    files["lib/org.made-db-1.0.jar"] = OLD
    members = {f"apache-pulsar-9.9.9/{name}": made for name, made in files.items()}
    tar = tarball(place / "release.tar.gz", members)
    with maven_server() as server:
        server.publish(server_coordinate("9.9.9").path, tar.read_bytes())
        server.publish(REMEDY.path, NEW)
        asked = ("fetch", "9.9.9", "--catalog", place / "own", *words)
        return run(place / "cache", "--maven-url", server.url, *asked)


def test_fetch_brings_what_a_port_brings_in_and_says_so(tmp_path: Path) -> None:
    done = fetched(tmp_path)
    assert done.exception is None, done.output
    assert [Path(line).name for line in done.stdout.split()] == [
        "pulsar-server-distribution-9.9.9-bin.tar.gz",
        "db-1.1.jar",
    ]
    assert "A port of pulsar-server-distribution-9.9.9-bin.tar.gz brings in: db-1.1.jar." in done.stderr
    assert f"carry the whole cache, {tmp_path / 'cache'}." in done.stderr


def test_a_copied_cache_serves_a_port_without_a_network(tmp_path: Path) -> None:
    fetched(tmp_path)
    stick = tmp_path / "stick"
    shutil.copytree(tmp_path / "cache", stick)
    shutil.rmtree(tmp_path / "cache")
    for path in (stick, *stick.rglob("*")):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    words = ("--offline", "port", "9.9.9", "--catalog", tmp_path / "own", "-o", tmp_path / "out.tar")
    done = run(stick, *words)
    assert done.exception is None, done.output
    assert "replace it by org.made:db:1.1" in done.stdout
    assert (tmp_path / "out.tar").exists()


def test_a_cache_without_the_jar_is_told_by_what_it_lacks(tmp_path: Path) -> None:
    fetched(tmp_path)
    shutil.rmtree(tmp_path / "cache" / "maven" / "org" / "made")
    words = ("--offline", "port", "9.9.9", "--catalog", tmp_path / "own", "-o", tmp_path / "out.tar")
    refused = run(tmp_path / "cache", *words).exception
    assert isinstance(refused, HostError)
    assert "org.made:db:1.1" in str(refused)
    assert "pulsar-arm fetch" in str(refused)


def test_a_folder_gets_the_release_and_the_cache_the_rest(tmp_path: Path) -> None:
    done = fetched(tmp_path, "-o", tmp_path / "out")
    assert done.exception is None, done.output
    (copied,) = (tmp_path / "out").iterdir()
    assert copied.name == "pulsar-server-distribution-9.9.9-bin.tar.gz"
    assert str(tmp_path / "cache" / "maven" / REMEDY.path) in done.stdout
