"""Several sources at once, the limits as options, and how little a scan imports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from builders import X86_64, elf_bytes, jar_bytes, pulsar_tarball, rocksdb_jar
from click.testing import CliRunner
from test_cli import refused, run

from pulsar_arm.cli import COMMANDS, cli
from pulsar_arm.errors import HostError, InputError
from pulsar_arm.host.parallel import side_by_side
from pulsar_arm.host.progress import Advance

HEAVY = {
    "docker",
    "jgo",
    "jinja2",
    "lxml",
    "pulsar_arm.base",
    "pulsar_arm.build",
    "pulsar_arm.engines",
    "pulsar_arm.pipeline",
    "pulsar_arm.port",
    "pulsar_arm.verify",
    "remotezip",
    "requests",
    "rich",
    "urllib3",
}


def imported(*words: str | Path) -> set[str]:
    """The modules that a run of the command has imported at its end."""
    script = (
        "import sys\nfrom pulsar_arm.cli import cli\n"
        "try:\n    cli.main(sys.argv[1:], standalone_mode=False)\n"
        "finally:\n    print(*sys.modules, file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return set(done.stderr.split())


def test_help_and_the_scan_of_a_file_import_little(tmp_path: Path) -> None:
    (tmp_path / "x.jar").write_bytes(jar_bytes({"a.so": elf_bytes(X86_64)}))
    assert imported("--help") & HEAVY == set()
    assert imported("-q", "scan", tmp_path / "x.jar", "--format", "json") & HEAVY == set()
    table = imported("-q", "scan", tmp_path / "x.jar", "--fail-on", "fatal")
    assert table & HEAVY == {"rich"}


def test_help_says_of_each_command_what_the_command_says() -> None:
    for name, text in COMMANDS.items():
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert command.get_short_help_str(100) == text
        assert text in CliRunner().invoke(cli, ["--help"], terminal_width=200).output


def test_several_sources_are_judged_as_each_alone_and_told_in_their_order(tmp_path: Path) -> None:
    big = pulsar_tarball(tmp_path / "apache-pulsar-9.9.9-bin.tar.gz")
    small = tmp_path / "rocksdbjni-5.1.jar"
    small.write_bytes(rocksdb_jar("5.1", X86_64))
    alone = [json.loads(run("-q", "scan", one, "--format", "json").stdout) for one in (big, small)]
    for order in ((0, 1), (1, 0)):
        named = [(big, small)[number] for number in order]
        both = run("scan", *named, "--format", "json")
        assert both.returncode == 1
        assert json.loads(both.stdout)["reports"] == [alone[number] for number in order]
        assert both.stderr.splitlines() == [f"Scanning {named[0]}, {named[1]}"]


def test_one_source_that_cannot_be_opened_ends_all_with_its_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.jar").write_bytes(jar_bytes({"a": b"a"}))
    (tmp_path / "notes.txt").write_text("hello")
    refused(2, "scan", tmp_path / "x.jar", tmp_path / "notes.txt", says="none of the things that can be read")


def opened(fifo: Path) -> int:
    """The writing end of a pipe, once somebody reads it."""
    for _ in range(600):
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.1)
    pytest.fail("nobody reads the pipe")


def test_ctrl_c_ends_every_process_without_a_word_of_theirs(tmp_path: Path) -> None:
    fifo = tmp_path / "slow.tar"
    os.mkfifo(fifo)
    (tmp_path / "x.jar").write_bytes(jar_bytes({"a": b"a"}))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    words = [sys.executable, "-m", "pulsar_arm", "scan", str(fifo), str(tmp_path / "x.jar")]
    # A shell's background jobs are started deaf to SIGINT, and so would be what they start.
    hearing = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=hearing
    ) as process:
        try:
            writer = opened(fifo)
            process.send_signal(signal.SIGINT)
            _out, said = process.communicate(timeout=60)
            os.close(writer)
        finally:
            process.kill()
    assert process.returncode == 130
    assert said.splitlines()[-1].endswith("Interrupted; nothing half-written is left.")
    assert "Traceback" not in said


def doubled(by: int, given: int, advance: Advance) -> int:
    advance(given)
    if given == by:
        raise InputError(f"{given} cannot be read.")
    if given < 0:
        os._exit(9)
    return 2 * given


def test_work_is_done_side_by_side_and_its_progress_is_summed() -> None:
    told: list[int] = []
    assert side_by_side(partial(doubled, 99), range(1, 6), told.append) == [2, 4, 6, 8, 10]
    assert sum(told) == 15


def test_an_error_of_one_is_raised_and_a_dead_process_is_told() -> None:
    with pytest.raises(InputError, match=r"3 cannot be read\."):
        side_by_side(partial(doubled, 3), range(1, 6), lambda _count: None)
    with pytest.raises(HostError, match="ended from outside"):
        side_by_side(partial(doubled, 99), [1, -1], lambda _count: None)


def test_limits_are_options(tmp_path: Path) -> None:
    inner = jar_bytes({"n.so": elf_bytes() + bytes(5000)}, packed=False)
    (tmp_path / "x.jar").write_bytes(jar_bytes({"in.jar": inner}))

    def told(*words: str) -> str:
        done = run("-q", "scan", tmp_path / "x.jar", "--format", "json", *words)
        assert done.returncode == 3
        return str(json.loads(done.stdout)["unreadable"][0]["reason"])

    assert "--max-depth" in told("--max-depth", "1")
    assert "--max-entry" in told("--max-entry", "4K")
    assert "--max-total" in told("--max-total", "4k")
    assert "--max-entries" in told("--max-entries", "1")
    assert run("-q", "scan", tmp_path / "x.jar").returncode == 0
    for wrong in ("0", "-1", "x", "1P", ""):
        refused(2, "scan", tmp_path / "x.jar", "--max-entry", wrong, says="is no size such as 512M")
