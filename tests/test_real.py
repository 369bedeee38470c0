"""One pass over the real Pulsar 2.6.0: scan, port, image, load. It is downloaded once, into the cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from real import RELEASE, pulsar_arm

pytestmark = pytest.mark.real

# The ground truth: found by unpacking everything and asking `file`; severities by running the server.
GAPS = {
    ("rocksdbjni", "lib"): "fatal",
    ("rocksdbjni", "lib/presto/plugin/pulsar-presto-connector"): "harmless",
    ("netty-tcnative-boringssl-static", "lib"): "degraded",
    ("netty-tcnative-boringssl-static", "lib/presto/plugin/pulsar-presto-connector"): "degraded",
    ("netty-transport-native-epoll", "lib"): "degraded",
    ("netty-transport-native-epoll", "lib/presto/plugin/pulsar-presto-connector"): "degraded",
    ("circe-checksum", "lib"): "degraded",
    ("circe-checksum", "lib/presto/plugin/pulsar-presto-connector"): "degraded",
    ("cpu-affinity", "lib"): "harmless",
    ("cpu-affinity", "lib/presto/plugin/pulsar-presto-connector"): "harmless",
    ("jline", "lib/presto/lib"): "harmless",
    ("libprocname", "lib/presto/bin/procname"): "harmless",
}


def scanned(source: str | Path, code: int) -> dict[str, Any]:
    return json.loads(pulsar_arm("scan", source, "--format", "json", code=code))


def test_the_scan_finds_exactly_the_twelve_and_the_presto_check() -> None:
    found = scanned(RELEASE, code=1)
    assert {(gap["library"], gap["scope"]): gap["severity"] for gap in found["gaps"]} == GAPS
    assert len(found["gaps"]) == len(GAPS)
    assert [(check["class"].rsplit(".")[-1], check["accepts"]) for check in found["checks"]] == [
        ("PrestoSystemRequirements", ["amd64"])
    ]
    assert found["summary"] == {"fatal": 1, "feature": 1, "degraded": 6, "harmless": 5}
    assert found["unreadable"] == []


def test_the_ported_release_has_nothing_fatal_and_no_presto_check(ported: Path) -> None:
    found = scanned(ported, code=0)
    assert found["checks"] == []
    assert found["summary"] == {"fatal": 0, "feature": 0, "degraded": 4, "harmless": 4}


def test_porting_twice_equals_porting_once(ported: Path, place: Path) -> None:
    pulsar_arm("port", ported, "-o", place / "twice.tar.gz")
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (ported, place / "twice.tar.gz")}
    assert len(digests) == 1
    assert json.loads((place / "twice.tar.gz.receipt.json").read_text())["actions"] == []


def test_the_receipt_tells_every_change(ported: Path) -> None:
    receipt = json.loads(Path(f"{ported}.receipt.json").read_text())
    assert sorted((row["action"], row["origin"]) for row in receipt["actions"]) == [
        ("patch", "presto-main-0.206-aarch64"),
        ("replace", "io.netty:netty-tcnative-boringssl-static:2.0.31.Final"),
        ("replace", "io.netty:netty-tcnative-boringssl-static:2.0.31.Final"),
        ("replace", "org.rocksdb:rocksdbjni:5.18.4"),
        ("replace", "org.rocksdb:rocksdbjni:5.18.4"),
    ]
    assert {row["verdict"] for row in receipt["verdicts"]} == {"resolved", "tolerated"}


def test_the_natives_of_both_images_load_on_aarch64(images: Path) -> None:
    for name in ("pulsar", "pulsar-all"):
        told = json.loads(
            pulsar_arm("verify", images / f"{name}-{RELEASE}-linux-arm64.tar", "--format", "json")
        )
        loaded = {check["subject"].rsplit("/", 1)[-1] for check in told["checks"] if check["level"] == "load"}
        assert {"librocksdbjni-linux-aarch64.so", "libnetty_tcnative_linux_aarch_64.so"} <= loaded
        assert told["passed"]


def test_pulsar_all_stands_on_the_very_pulsar(images: Path) -> None:
    layers = {}
    for name in ("pulsar", "pulsar-all"):
        path = images / f"{name}-{RELEASE}-linux-arm64.tar"
        with subprocess.Popen(["tar", "xOf", path, "manifest.json"], stdout=subprocess.PIPE) as tar:
            layers[name] = json.load(tar.stdout)[0]["Layers"]  # type: ignore[arg-type]
    assert layers["pulsar-all"][: len(layers["pulsar"])] == layers["pulsar"]
    assert len(layers["pulsar-all"]) == len(layers["pulsar"]) + 2


def test_two_builds_in_two_folders_give_the_same_bytes(images: Path, place: Path) -> None:
    name = f"pulsar-{RELEASE}-linux-arm64.tar"
    pulsar_arm("build", "--from", RELEASE, "--output", place / "again")
    first, second = (
        hashlib.sha256((folder / name).read_bytes()).digest() for folder in (images, place / "again")
    )
    assert first == second


@pytest.mark.skipif(not shutil.which("skopeo"), reason="an independent reader: needs skopeo")
def test_skopeo_reads_the_image(images: Path) -> None:
    archive = images / f"pulsar-{RELEASE}-linux-arm64.tar"
    config = json.loads(subprocess.check_output(["skopeo", "inspect", "--config", f"oci-archive:{archive}"]))
    assert (config["os"], config["architecture"]) == ("linux", "arm64")
    assert config["config"]["User"] == "10000"
    assert config["config"]["WorkingDir"] == "/pulsar"


def _docker_runs() -> bool:
    docker = shutil.which("docker")
    return bool(docker) and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _docker_runs(), reason="an independent reader: needs a Docker Engine")
def test_a_docker_engine_takes_the_image(images: Path) -> None:
    archive = images / f"pulsar-all-{RELEASE}-linux-arm64.tar"
    reference = f"pulsar-arm/pulsar-all:{RELEASE}"
    subprocess.run(["docker", "load", "-i", archive], check=True, capture_output=True)
    told = json.loads(subprocess.check_output(["docker", "image", "inspect", reference]))[0]
    assert (told["Os"], told["Architecture"], told["Config"]["User"]) == ("linux", "arm64", "10000")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("umoci"), reason="owners need root and umoci")
def test_unpacked_by_umoci_owners_and_modes_are_the_intended(images: Path, place: Path) -> None:
    archive = images / f"pulsar-{RELEASE}-linux-arm64.tar"
    layout = place / "layout"
    subprocess.run(
        ["skopeo", "copy", "-q", f"oci-archive:{archive}", f"oci:{layout}:x"], check=True, capture_output=True
    )
    subprocess.run(
        ["umoci", "unpack", "--image", f"{layout}:x", place / "bundle"], check=True, capture_output=True
    )
    home = place / "bundle/rootfs/pulsar"
    told = {
        name: (status.st_uid, status.st_gid, oct(status.st_mode & 0o7777))
        for name in (".", "conf", "conf/broker.conf", "logs", "data", "lib", "bin/pulsar", "lib/presto")
        for status in [(home / name).lstat()]
    }
    assert told == {
        ".": (10000, 0, "0o775"),
        "conf": (10000, 0, "0o775"),
        "conf/broker.conf": (10000, 0, "0o664"),
        "logs": (10000, 0, "0o775"),
        "data": (10000, 0, "0o775"),
        "lib": (0, 0, "0o755"),
        "bin/pulsar": (0, 0, "0o755"),
        "lib/presto": (10000, 0, "0o775"),
    }
