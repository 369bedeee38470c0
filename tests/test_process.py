from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest

from pulsar_arm.errors import HostError
from pulsar_arm.host.process import Finished, follow, run


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_program_is_run_to_its_end() -> None:
    code = "import sys; print(sys.stdin.read().upper(), end=''); print('said', file=sys.stderr)"
    assert run(python(code), stdin=b"words") == Finished(0, b"WORDS", b"said\n")


def test_without_stdin_a_program_reads_nothing() -> None:
    assert run(python("import sys; print(len(sys.stdin.read()))")).stdout == b"0\n"


def test_environment_is_added_and_the_folder_is_set(tmp_path: Path) -> None:
    os.environ["PULSAR_ARM_TEST_KEPT"] = "kept"
    code = "import os; print(os.environ['PULSAR_ARM_TEST_KEPT'], os.environ['MADE'], os.getcwd())"
    told = run(python(code), env={"MADE": "new"}, cwd=tmp_path).stdout.decode().split()
    del os.environ["PULSAR_ARM_TEST_KEPT"]
    assert told == ["kept", "new", str(tmp_path)]


def test_a_failure_is_told_with_its_last_line_and_the_command() -> None:
    code = "import sys; sys.exit('first\\nlast words\\n\\n')"
    with pytest.raises(HostError, match=r"ended with status 1: last words \(command: .* -c 'import sys"):
        run(python(code))
    with pytest.raises(HostError, match=r"ended with status 3: it said nothing"):
        run(python("raise SystemExit(3)"))


def test_a_status_that_was_expected_is_no_failure() -> None:
    assert run(python("raise SystemExit(3)"), ok=(0, 3)).returncode == 3
    assert run(python("raise SystemExit(4)"), ok=None).returncode == 4
    assert run(python("import os; os.kill(os.getpid(), 9)"), ok=None).returncode == -9


def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(HostError, match=r"^no-such-program is not installed: install it and run again\.$"):
        run(["no-such-program"])


def test_a_folder_that_is_not_there_is_not_taken_for_the_program(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"cannot be run in .*missing: there is no such folder"):
        run(python(""), cwd=tmp_path / "missing")


def test_a_file_that_is_no_program_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(HostError, match=r"x cannot be run: Permission denied\.$"):
        run([str(tmp_path / "x")])


def test_a_program_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(HostError, match=r"did not end within 0.2 seconds: "):
        run(python("import time; time.sleep(60)"), timeout=0.2)


def test_every_command_is_echoed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "pulsar_arm"):
        run(python("pass # two words"))
    assert [record.message for record in caplog.records] == [f"+ {sys.executable} -c 'pass # two words'"]


def test_lines_are_told_as_they_come_and_the_status_with_the_last_of_them() -> None:
    told: list[str] = []
    code = "import sys; print('first', flush=True); print('second', file=sys.stderr); sys.exit(3)"
    assert follow(python(code), told.append, env={"MADE": "1"}) == (3, ("first", "second"))
    assert told == ["first", "second"]


def test_a_program_that_is_followed_ends_with_its_follower(tmp_path: Path) -> None:
    # It ends well only when it is asked to: a program that was left alone would write no file.
    ended = tmp_path / "ended"
    code = (
        "import pathlib, signal, sys\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(ended)!r}).touch(), sys.exit()))\n"
        "print('ready', flush=True); signal.pause()"
    )

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(python(code), interrupt)
    assert ended.exists()


def test_a_program_to_follow_that_is_missing_is_told() -> None:
    with pytest.raises(HostError, match="made-up-program is not installed"):
        follow(["made-up-program"], print)
