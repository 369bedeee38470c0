"""The server of the image, started under emulation: a message through it, and SQL past its checks.

Minutes: an emulated JVM is 20 to 40 times slower than a native one, so time-outs are raised and the JVM
compiles no further than its first tier. The milestones are printed (`make e2e` shows them).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aarch64_root import AArch64Root, Running, prepare
from real import RELEASE

from pulsar_arm.formats.oci_read import read_image
from pulsar_arm.formats.root import unpack
from pulsar_arm.platforms import AARCH64

pytestmark = pytest.mark.e2e

_TIER = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xverify:none"
QUICK_SERVER = {"PULSAR_MEM": "-Xms512m -Xmx1g -XX:MaxDirectMemorySize=1g", "PULSAR_GC": _TIER}
# bin/pulsar-client takes its JVM's options from this variable alone.
QUICK_CLIENT = {"PULSAR_EXTRA_OPTS": _TIER}
# The defaults assume a machine that answers within seconds.
PATIENT = {
    "zooKeeperSessionTimeoutMillis": "300000",
    "zooKeeperOperationTimeoutSeconds": "300",
    "brokerShutdownTimeoutMs": "1000",
    "bookkeeperClientTimeoutInSeconds": "300",
    "managedLedgerMetadataOperationsTimeoutSeconds": "300",
    "PULSAR_PREFIX_zkTimeout": "60000",
}
PATIENT_FUNCTIONS = {
    "PF_zooKeeperSessionTimeoutMillis": "60000",
    "PF_zooKeeperOperationTimeoutSeconds": "300",
}

Start = Callable[..., Running]


def milestone(name: str, seconds: float) -> None:
    print(f"\nmilestone: {name} after {seconds:.0f} s", flush=True)  # noqa: T201 - what `make e2e` shows


@pytest.fixture(scope="module")
def start(images: Path, place: Path) -> Iterator[Start]:
    """Start commands in the unpacked image, whose own scripts raise the time-outs."""
    if reason := prepare():
        pytest.skip(reason)
    image = read_image(images / f"pulsar-{RELEASE}-linux-arm64.tar", AARCH64)
    root = place / "root"
    unpack(image, root)
    for name in ("proc", "dev", "run"):
        (root / name).mkdir(exist_ok=True)
    env = dict(line.split("=", 1) for line in image.settings["config"]["Env"])
    running = AArch64Root(root, env)
    try:
        applied = running.start("config", "bin/apply-config-from-env.py", "conf/standalone.conf", **PATIENT)
        assert applied.process.wait(timeout=120) == 0, applied.log.read_text()
        words = ("bin/gen-yml-from-env.py", "conf/functions_worker.yml")
        written = running.start("functions", *words, **PATIENT_FUNCTIONS)
        assert written.process.wait(timeout=120) == 0, written.log.read_text()
        yield running.start
    finally:
        running.close()


@pytest.fixture(scope="module")
def standalone(start: Start) -> Iterator[Running]:
    server = start("standalone", "bin/pulsar", "standalone", **QUICK_SERVER)
    try:
        _line, seconds = server.wait_for(r"messaging service is ready", 1200)
        milestone("bin/pulsar standalone: messaging service is ready", seconds)
        yield server
    finally:
        server.stop()


def test_a_message_goes_through_the_standalone_server(start: Start, standalone: Running) -> None:
    topic = "persistent://public/default/arm"
    consumer = start(
        "consumer", "bin/pulsar-client", "consume", topic, "-s", "sub", "-n", "1", **QUICK_CLIENT
    )
    try:
        _line, seconds = consumer.wait_for("Subscribed to topic on", 900)
        milestone("a consumer subscribed", seconds)
        words = ("bin/pulsar-client", "produce", topic, "-m", "hello-from-aarch64")
        producer = start("producer", *words, **QUICK_CLIENT)
        _line, seconds = producer.wait_for("1 messages successfully produced", 900)
        milestone("a message was produced", seconds)
        producer.stop()
        consumer.wait_for("hello-from-aarch64", 300)
        milestone("the message was consumed, with the server's start", time.monotonic() - standalone.started)
    finally:
        consumer.stop()
    assert "Failed to load RocksDB JNI library" not in standalone.log.read_text(errors="replace")


def test_the_server_runs_as_user_10000_on_aarch64(start: Start) -> None:
    told = start("id", "bash", "-c", "id -u; id -g; uname -m")
    assert told.process.wait(timeout=60) == 0
    assert told.log.read_text().split() == ["10000", "0", "aarch64"]


def test_the_container_scripts_changed_the_configuration(start: Start) -> None:
    told = start("conf", "cat", "conf/standalone.conf", "conf/functions_worker.yml")
    assert told.process.wait(timeout=60) == 0
    lines = told.log.read_text().splitlines()
    assert "zkTimeout=60000" in lines
    assert "zooKeeperOperationTimeoutSeconds: 300" in lines


def test_the_sql_worker_passes_its_requirement_checks(start: Start) -> None:
    worker = start("sql-worker", "bash", "-c", "exec bin/pulsar sql-worker run")
    try:
        # PrestoServer reads its configuration right after PrestoSystemRequirements has agreed.
        _line, seconds = worker.wait_for(r"Bootstrap\s+Loading configuration", 600)
        milestone("bin/pulsar sql-worker run is past its requirement checks", seconds)
    finally:
        worker.stop()
    assert "Presto requires" not in worker.log.read_text(errors="replace")
