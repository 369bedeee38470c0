"""Logs as users have them, and what they are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pulsar_arm.cli import cli
from pulsar_arm.diagnosis import diagnose, known_diagnoses, telling_lines
from pulsar_arm.errors import CatalogError

ROCKSDB = """\
10:00:01.000 [main] ERROR org.apache.bookkeeper.bookie.Bookie - Failed to start
java.io.IOException: Failed to load RocksDB JNI library
\tat org.apache.bookkeeper.bookie.storage.ldb.KeyValueStorageRocksDB.<init>(X.java:101)
Caused by: java.lang.UnsatisfiedLinkError: /tmp/librocksdbjni1.so: can't load AMD 64-bit .so
"""
# One line as it was seen, for each row that a user can meet.
SEEN = {
    "rocksdb-missing": "java.io.IOException: Failed to load RocksDB JNI library",
    "wrong-machine-library": "/tmp/libfoo.so: can't load AMD 64-bit .so on a AARCH64-bit platform",
    "glibc-too-old": "/lib/aarch64-linux-gnu/libc.so.6: version `GLIBC_2.32' not found",
    "libstdcxx-too-old": "/usr/lib64/libstdc++.so.6: version `GLIBCXX_3.4.21' not found",
    "libstdcxx-missing": "libstdc++.so.6: cannot open shared object file: No such file or directory",
    "musl-base": "Error relocating /tmp/libnetty.so: __getauxval: symbol not found",
    "snappy-missing": "org.xerial.snappy.SnappyError: [FAILED_TO_LOAD_NATIVE_LIBRARY]",
    "page-size": "<jemalloc>: Unsupported system page size",
    "exec-format": "standard_init_linux.go:228: exec user process caused: exec format error",
    "no-arm64-image": "no matching manifest for linux/arm64/v8 in the manifest list entries",
    "java-home-amd64": "/usr/lib/jvm/java-11-openjdk-amd64/bin/java: No such file or directory",
    "sve-crash": "#  SIGILL (0x4) at pc=0x0000ffff8f7f5c5c, pid=7, tid=8",
    "java-too-old": "Error: Pulsar requires Java 17 or later.",
    "class-too-new": "java.lang.UnsupportedClassVersionError: a/B has been compiled by a more recent version",
    "jvm-option": "Unrecognized VM option 'PrintGCDateStamps'",
    "quoted-memory": 'Error: Could not find or load main class "',
    "nslookup-missing": "sh: 1: nslookup: not found",
    "python-missing": "/usr/bin/env: ‘python’: No such file or directory",
    "yaml-loader": "TypeError: load() missing 1 required positional argument: 'Loader'",
    "presto-machine": "ERROR: Presto requires x86-64 or amd64 on Linux (found aarch64)",
    "presto-vendor": "ERROR: Presto requires an Oracle or OpenJDK JVM (found Debian)",
    "zookeeper-quorum": "Unable to read additional data from server sessionid 0x0, likely closed",
    "cookie": "org.apache.bookkeeper.bookie.BookieException$InvalidCookieException: Cookie for this bookie",
    "too-few-bookies": "ManagedLedgerException: Not enough non-faulty bookies available",
    "bookie-alive": "Bookie: pulsarCluster8:3181 is not shutdown yet",
    "port-taken": "java.io.IOException: Failed to bind to /0.0.0.0:18100 ... Address already in use",
    "daemon-zombie": "bookie running as process 82.  Stop it first.",
    "not-writable": "mkdir: cannot create directory ‘data/bookkeeper’: Permission denied",
    "memory": "There is insufficient memory for the Java Runtime Environment",
    "podscrape": 'resource mapping not found: no matches for kind "VMPodScrape" in version "x/v1"',
    "slow-machine": "KeeperErrorCode = Session expired for /namespace",
    "epoll": "WARN  o.a.p.common.util.netty.EventLoopUtil - Could not use Netty Epoll event loop: x",
    "tcnative": "Failed to load any of the given libraries: [netty_tcnative_linux_aarch_64, netty_tcnative]",
    "conscrypt": "WARN Conscrypt isn't available. Using JDK default security provider.",
    "circe": "Failed to load Circe JNI library. Falling back to Java based CRC32c provider",
    "native-io": "NativeIO - Unable to read fd field from java.io.FileDescriptor",
    "closed-session": "WARN Unable to read additional data from client sessionid 0x100005d6a7b0003",
    "rackaware": "RackawareEnsemblePlacementPolicyImpl - Failed to initialize DNS Resolver",
    "first-start": "ERROR lastMark file /x does not exist (this is okay if it is the first time)",
}


def names(log: str) -> list[str]:
    return [one.known.name for one in diagnose(log.splitlines(), known_diagnoses())]


@pytest.mark.parametrize("name", [row.name for row in known_diagnoses()])
def test_each_known_failure_is_told_by_its_own_words_alone(name: str) -> None:
    assert names(SEEN[name]) == [name]


def test_a_log_without_failures_is_not_given_one() -> None:
    log = "INFO  started\nINFO  messaging service is ready\nINFO ERROR_COUNT=0 quorum 0x0\n"
    assert names(log) == []


def test_failures_come_before_warnings_and_tell_their_first_line_and_count() -> None:
    log = SEEN["epoll"] + "\n" + ROCKSDB
    found = diagnose(log.splitlines(), known_diagnoses())
    assert [(one.known.name, one.line, one.count) for one in found] == [
        ("rocksdb-missing", 3, 2),
        ("epoll", 1, 1),
    ]


def test_a_clean_close_is_not_taken_for_a_missing_quorum() -> None:
    """Only session 0x0 is the failure; every sound client's end reads almost the same."""
    assert names(SEEN["closed-session"]) == ["closed-session"]
    assert names(SEEN["zookeeper-quorum"]) == ["zookeeper-quorum"]


def test_a_library_that_the_c_library_refuses_is_not_called_missing() -> None:
    log = SEEN["glibc-too-old"] + "\njava.io.IOException: Failed to load RocksDB JNI library"
    assert names(log) == ["glibc-too-old"]


def test_the_lines_that_matter_leave_out_frames_noise_and_repetition() -> None:
    noise = SEEN["rackaware"]
    chatter = [f"10:00:{number:02} INFO fine" for number in range(50)]
    repeated = [f"10:01:{number:02} ERROR cannot reach 10.0.0.{number}" for number in range(30)]
    lines = [*chatter, noise, *repeated, *ROCKSDB.splitlines(), *chatter]
    telling = telling_lines(lines, known_diagnoses())
    assert len(telling) <= 10
    assert sum("cannot reach" in line for line in telling) == 1
    assert noise not in telling
    assert "java.io.IOException: Failed to load RocksDB JNI library" in telling
    assert not any(line.startswith("\tat ") for line in telling)


def test_a_log_without_errors_gives_its_last_lines() -> None:
    letters = [f"step {chr(97 + number)}" for number in range(20)]
    assert telling_lines(letters, known_diagnoses()) == tuple(letters[-10:])


def test_a_line_of_megabytes_is_searched_at_its_beginning_only() -> None:
    assert names("x" * 5_000_000 + "Failed to load RocksDB JNI library") == []


def test_explain_reads_standard_input_and_names_the_remedy() -> None:
    told = CliRunner().invoke(cli, ["explain", "-"], input=ROCKSDB, standalone_mode=False)
    assert told.return_value == 0
    assert "pulsar-arm port" in " ".join(told.stdout.split())


def test_explain_shows_what_may_matter_when_it_knows_nothing(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"INFO fine\nERROR the \x1b[2J moon fell\xff down\n")
    told = CliRunner().invoke(cli, ["explain", str(log)], standalone_mode=False)
    assert told.return_value == 1
    assert "moon fell" in told.stdout
    assert "\x1b" not in told.stdout


def test_explain_gives_json() -> None:
    told = CliRunner().invoke(cli, ["explain", "-", "--format", "json"], input=ROCKSDB, standalone_mode=False)
    first = json.loads(told.stdout)["diagnoses"][0]
    assert (first["id"], first["kind"], first["line"]) == ("rocksdb-missing", "failure", 2)


ROW = """
[[diagnosis]]
id = "a"
kind = "failure"
says = ["x"]
what = "w"
remedy = "r"
evidence = "e"
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("schema = 2\n" + ROW, "schema must be 1"),
        ("schema = 1\n" + ROW + ROW, "the id a is given to two diagnoses"),
        ("schema = 1\n" + ROW.replace('"x"', '"("'), "is no regular expression"),
        ("schema = 1\n" + ROW.replace("failure", "death"), "kind is 'death'"),
        ("schema = 1\n" + ROW + "more = 1\n", "the key more is not known"),
    ],
)
def test_a_wrong_table_is_told_with_its_file_and_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "d.toml"
    path.write_text(text)
    with pytest.raises(CatalogError, match=says):
        known_diagnoses(path)
