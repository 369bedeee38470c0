from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pulsar_arm import inside
from pulsar_arm.checks import Check
from pulsar_arm.distribution import Distribution
from pulsar_arm.inside.jni import Java, JavaError
from pulsar_arm.inside.probe import PROBES
from pulsar_arm.platforms import AARCH64
from pulsar_arm.probe import probe
from pulsar_arm.scan import Gap, Inventory, Native

CODECS = "".join(
    f"@begin codec:{name}\n@passed codec:{name} fine\n" for name in ("LZ4", "ZLIB", "ZSTD", "SNAPPY")
)


@dataclass
class Told:
    """A program that has ended with what it was made to say."""

    text: str
    code: int | None

    def lines(self) -> list[str]:
        return self.text.splitlines()

    def status(self) -> int | None:
        return self.code

    def stop(self) -> None:
        pass


@dataclass
class Replay:
    """A machine on which the JVMs start and leave these logs, one after the other."""

    logs: list[tuple[str, int | None]]
    asked: list[Sequence[str]] = field(default_factory=list)
    description: str = "on a made machine"

    def start(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Told:
        self.asked.append(argv)
        text, code = self.logs.pop(0)
        return Told(text if "python3" in text else f"@begin JVM\n@passed JVM Java 8 starts\n{text}", code)


def native(library: str, scope: str = "lib") -> Native:
    place = f"{scope}/{library}.jar!/lib{library}.so"
    return Native(library, "1", scope, place, "elf", "aarch64", "linux", "glibc", (), 0, "")


def inventory(*libraries: str, gaps: tuple[Gap, ...] = ()) -> Inventory:
    distribution = Distribution("pulsar", "2.6.0", "x", "", "")
    return Inventory(AARCH64, distribution, tuple(map(native, libraries)), gaps, (), ())


def gap(library: str, severity: str) -> Gap:
    return Gap(library, "1", "lib", "missing", severity, ("lib/x.jar",), ("x86_64",), f"{library} hurts")  # type: ignore[arg-type]


def probed(machine: Replay, home: Path, found: Inventory, timeout: float = 5) -> dict[str, Check]:
    return {check.subject: check for check in probe(machine, home, found, timeout)}


def test_only_libraries_that_the_server_s_class_path_holds_are_tried(tmp_path: Path) -> None:
    machine = Replay([(f"@begin jna\n@passed jna called\n{CODECS}", 0)])
    checks = probed(machine, tmp_path, inventory("jna", "nobody-knows-this"))
    assert list(checks) == ["JVM for lib/*", "jna", "codec LZ4", "codec ZLIB", "codec ZSTD", "codec SNAPPY"]
    assert {check.outcome for check in checks.values()} == {"passed"}
    assert checks["JVM for lib/*"].evidence == "on a made machine: Java 8 starts"
    assert checks["jna"].evidence == "called"


@pytest.mark.parametrize(
    ("severity", "outcome"),
    [("fatal", "failed"), ("feature", "failed"), ("degraded", "tolerated"), ("harmless", "tolerated")],
)
def test_a_gap_decides_whether_a_failure_is_tolerated(tmp_path: Path, severity: str, outcome: str) -> None:
    machine = Replay([(f"noise\n@begin jna\nmore noise\n@failed jna no such .so\n{CODECS}", 0)])
    check = probed(machine, tmp_path, inventory("jna", gaps=(gap("jna", severity),)))["jna"]
    assert (check.outcome, check.evidence) == (outcome, "no such .so; jna hurts")


def test_a_library_that_fails_without_a_gap_is_a_failure(tmp_path: Path) -> None:
    machine = Replay([(f"@begin jna\n@failed jna damaged\n{CODECS}", 0)])
    assert probed(machine, tmp_path, inventory("jna"))["jna"].outcome == "failed"


def test_a_system_call_that_is_missing_here_says_nothing_of_the_library(tmp_path: Path) -> None:
    """As io_uring under qemu-user: Pulsar 4.0.8's library for it, tried there."""
    said = "failed to create io_uring ring fd: Function not implemented"
    machine = Replay([(f"@begin jna\n@failed jna {said}\n{CODECS}", 0)])
    check = probed(machine, tmp_path, inventory("jna"))["jna"]
    assert check.outcome == "skipped"
    assert said in check.evidence


def test_a_library_that_kills_the_jvm_is_named_and_the_rest_is_tried_in_another(tmp_path: Path) -> None:
    died = "@begin jna\n@passed jna called\n@begin rocksdbjni\n# SIGSEGV (0xb) at pc=0x00\n"
    machine = Replay([(died, -11), (CODECS, 0)])
    checks = probed(machine, tmp_path, inventory("jna", "rocksdbjni"))
    assert checks["jna"].outcome == "passed"
    assert checks["rocksdbjni"].outcome == "failed"
    assert "status -11: # SIGSEGV (0xb) at pc=0x00" in checks["rocksdbjni"].evidence
    assert checks["codec LZ4"].outcome == "passed"
    assert machine.asked[1][-4:] == ("codec:LZ4", "codec:ZLIB", "codec:ZSTD", "codec:SNAPPY")


def test_a_jvm_that_does_not_answer_fails_at_what_it_hangs_on(tmp_path: Path) -> None:
    machine = Replay([("@begin jna\n", None), (CODECS, 0)])
    check = probed(machine, tmp_path, inventory("jna"), timeout=0)["jna"]
    assert (check.outcome, check.evidence) == ("failed", "it did not answer within 0 s")


def test_an_image_without_python_fails_once(tmp_path: Path) -> None:
    machine = Replay([("python3: there is no such program\n", 127)])
    checks = probed(machine, tmp_path, inventory("jna"))
    assert list(checks) == ["JVM for lib/*"]
    assert "status 127: python3: there is no such program" in checks["JVM for lib/*"].evidence


def test_the_check_of_presto_is_asked_where_its_class_is(tmp_path: Path) -> None:
    folder = tmp_path / "lib/presto/lib"
    folder.mkdir(parents=True)
    name = "com/facebook/presto/server/PrestoSystemRequirements"
    with zipfile.ZipFile(folder / "presto-main-0.206.jar", "w") as jar:
        jar.writestr(f"{name}.class", b"")
    dotted = name.replace("/", ".")
    words = f"@begin requirements:{dotted}\nERROR: Presto requires amd64 (found aarch64)\n"
    checks = probed(Replay([(CODECS, 0), (words, 100)]), tmp_path, inventory())
    assert checks[dotted].outcome == "failed"
    assert "ERROR: Presto requires amd64 (found aarch64)" in checks[dotted].evidence


def test_what_is_sent_into_an_image_is_read_by_python_3_7() -> None:
    for path in Path(inside.__path__[0]).glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 7))


@pytest.fixture(scope="module")
def jvm() -> None:
    """This machine's own JVM, which the tests of one process share: a second cannot be made in it."""
    try:
        told = subprocess.run(["java", "-version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no java here")
    assert told.returncode == 0


JAVA = """
import sys
from pulsar_arm.inside.jni import Java, JavaError
java = Java("", ["-Xmx64m"])
builder = java.new("java/lang/StringBuilder", "(Ljava/lang/String;)V", "a\\u00e9")
java.call("java/lang/StringBuilder", "append", "(Z)Ljava/lang/StringBuilder;", builder, True)
java.call("java/lang/StringBuilder", "append", "(J)Ljava/lang/StringBuilder;", builder, -(2**40))
print(ascii(java.call("java/lang/Object", "toString", "()Ljava/lang/String;", builder)))
print(java.call("java/lang/Integer", "parseInt", "(Ljava/lang/String;)I", None, "-12"))
copy = "([BI)[B"
print(java.call("java/util/Arrays", "copyOf", copy, None, b"\\x00\\xffabc", 4))
print(java.call("java/lang/Boolean", "parseBoolean", "(Ljava/lang/String;)Z", None, "true"))
print(java.call("java/util/Arrays", "hashCode", "([Ljava/lang/Object;)I", None, java.no_objects()))
try:
    java.call("java/lang/Integer", "parseInt", "(Ljava/lang/String;)I", None, "x")
except JavaError as error:
    print(error)
try:
    java.find("no/such/Class")
except JavaError as error:
    print(error)
sys.stdout.flush()
"""


@pytest.mark.usefixtures("jvm")
def test_java_is_called_with_its_types_and_its_words_come_back() -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", JAVA], capture_output=True, text=True, check=False, env=env, timeout=60
    )
    lines = done.stdout.splitlines()
    assert lines[:5] == [ascii(f"a\u00e9true{-(2**40)}"), "-12", r"b'\x00\xffab'", "True", "1"], done.stderr
    assert re.fullmatch(r'java.lang.NumberFormatException: For input string: "x".*', lines[5])
    assert "java.lang.ClassNotFoundException: no.such.Class" in lines[6]


def test_a_machine_without_a_jvm_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JavaError, match=r"no libjvm\.so"):
        Java("", ())


def test_every_probe_says_what_it_does() -> None:
    assert all(one.__doc__ for one in PROBES.values())
