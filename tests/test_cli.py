"""The command line as scripts meet it: options, exit codes, streams, one sentence per failure."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import jsonschema
import pytest
from builders import jar_bytes, pulsar_tarball
from click.testing import CliRunner

from pulsar_arm.catalog import folder
from pulsar_arm.cli import cli

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"


def run(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, without network use."""
    return subprocess.run(
        [sys.executable, "-m", "pulsar_arm", "--offline", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )


def refused(code: int, *words: str | Path, says: str) -> None:
    """The command must end with `code` and one sentence that holds `says`, and no traceback."""
    done = run(*words)
    assert done.returncode == code, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert says in last
    assert "Traceback" not in done.stderr
    assert last.endswith(".") or "Error:" in last


def commands(group: click.Group = cli, above: str = "") -> dict[str, click.Command]:
    """Every command by the words that call it, those of groups within groups too."""
    found: dict[str, click.Command] = {above: group}
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        words = f"{above} {name}".strip()
        found |= commands(command, words) if isinstance(command, click.Group) else {words: command}
    return found


LEAVES = sorted(words for words, command in commands().items() if not isinstance(command, click.Group))


@pytest.mark.parametrize("name", commands())
def test_the_reference_page_lists_exactly_the_options_of_help(name: str) -> None:
    section = re.search(
        rf"^## {f'pulsar-arm {name}'.strip()}(?: [A-Z.:\[\]|-]+)*\n(.*?)(?=^## )",
        PAGE.read_text(),
        re.M | re.S,
    )
    assert section is not None
    told = set(re.findall(r"--[a-z-]+", "\n".join(re.findall(r"^\| (`-[^|]*)", section[1], re.M))))
    parameters = [one for one in commands()[name].params if isinstance(one, click.Option)]
    assert told == {flag for one in parameters for flag in one.opts if flag.startswith("--")} - {"--help"}


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_ends_its_help_with_an_example(name: str) -> None:
    text = CliRunner().invoke(cli, [*name.split(), "--help"]).output
    assert re.search(rf"Example:\n\s+pulsar-arm (--\S+ \S+ )*{name}\b", text)


def test_the_exit_codes_of_help_are_those_of_the_reference_page() -> None:
    helped = re.findall(r"^\s+(\d+) +(\S.*)$", CliRunner().invoke(cli, ["--help"]).output, re.M)
    paged = re.findall(r"^\| (\d+) \| (.+) \|$", PAGE.read_text(), re.M)
    assert [(code, text.replace("`", "")) for code, text in paged] == helped


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_has_the_environment_variable_of_its_name(name: str) -> None:
    command = name.replace(" ", "_")
    for one in commands()[name].params:
        if isinstance(one, click.Option):
            flag = max(one.opts, key=len).strip("-").replace("-", "_").upper()
            found = one.envvar or f"PULSAR_ARM_{command}_{one.name}".upper()
            assert found == f"PULSAR_ARM_{command.upper()}_{flag}"


def test_an_option_can_be_given_by_the_environment(tmp_path: Path) -> None:
    (tmp_path / "x.jar").write_bytes(jar_bytes({"a.txt": b"a"}))
    outcome = CliRunner().invoke(
        cli, ["scan", str(tmp_path / "x.jar")], env={"PULSAR_ARM_SCAN_FORMAT": "json"}, standalone_mode=False
    )
    assert json.loads(outcome.stdout)["schema_version"] == 1


def test_the_json_of_a_scan_keeps_to_the_shipped_schema(tmp_path: Path) -> None:
    source = pulsar_tarball(tmp_path / "apache-pulsar-9.9.9-bin.tar.gz")
    schema = json.loads(folder("scan.schema.json").read_text())
    one = run("scan", source, "--format", "json")
    jsonschema.validate(json.loads(one.stdout), schema)
    several = run("scan", source, source, "--format", "json")
    jsonschema.validate(json.loads(several.stdout), schema)
    assert len(json.loads(several.stdout)["reports"]) == 2


def test_a_scan_of_a_fatal_gap_answers_no_and_of_a_clean_jar_yes(tmp_path: Path) -> None:
    (tmp_path / "clean.jar").write_bytes(jar_bytes({"a.txt": b"a"}))
    source = pulsar_tarball(tmp_path / "apache-pulsar-9.9.9-bin.tar.gz")
    assert run("scan", source).returncode == 1
    assert run("scan", tmp_path / "clean.jar").returncode == 0


def test_results_go_to_stdout_and_the_narrative_to_stderr(tmp_path: Path) -> None:
    source = pulsar_tarball(tmp_path / "apache-pulsar-9.9.9-bin.tar.gz")
    loud, quiet = run("scan", source, "--format", "json"), run("-q", "scan", source, "--format", "json")
    assert "Scanning" in loud.stderr
    assert quiet.stderr == ""
    assert loud.stdout == quiet.stdout
    assert "\x1b" not in loud.stdout + loud.stderr


def test_a_truncated_tarball_is_reported_and_exits_3(tmp_path: Path) -> None:
    source = pulsar_tarball(tmp_path / "apache-pulsar-9.9.9-bin.tar.gz")
    source.write_bytes(source.read_bytes()[:-200])
    done = run("scan", source, "--format", "json")
    assert done.returncode == 3
    assert "cut off" in json.loads(done.stdout)["unreadable"][0]["reason"]


def test_what_is_no_source_is_refused_with_the_list_of_what_may_be(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    refused(2, "scan", tmp_path / "notes.txt", says="a release tarball")
    refused(2, "scan", tmp_path / "missing.tar.gz", says="There is no")


def test_a_release_that_is_not_in_the_cache_needs_the_network(tmp_path: Path) -> None:
    refused(7, "--cache", tmp_path, "scan", "2.6.0", says="without --offline")


def test_a_port_of_a_gap_without_a_remedy_writes_nothing_and_exits_5(tmp_path: Path) -> None:
    source = pulsar_tarball(tmp_path / "apache-pulsar-9.9.9-bin.tar.gz")
    refused(
        5, "port", source, "-o", tmp_path / "out.tar.gz", says="nothing resolves the fatal gap of rocksdbjni"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name]


def test_an_existing_output_is_never_replaced_unasked(tmp_path: Path) -> None:
    jar = tmp_path / "clean.jar"
    jar.write_bytes(jar_bytes({"a.txt": b"a"}))
    (tmp_path / "out.jar").write_text("mine")
    refused(2, "port", jar, "-o", tmp_path / "out.jar", says="--force")
    refused(2, "scan", jar, "-o", tmp_path / "out.jar", says="--force")
    assert (tmp_path / "out.jar").read_text() == "mine"


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path) -> None:
    source = pulsar_tarball(tmp_path / "apache-pulsar-9.9.9-bin.tar.gz")
    done = run("port", source, "--dry-run")
    assert done.returncode == 0
    assert "unresolved" in done.stdout
    assert list(tmp_path.iterdir()) == [source]


def test_building_from_what_is_not_pulsar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clean.jar").write_bytes(jar_bytes({"a.txt": b"a"}))
    words = ("build", "--from", tmp_path / "clean.jar", "--output", tmp_path / "images")
    refused(3, *words, says="no Pulsar server distribution")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--images", "pulsar,nonsense"), "nonsense"),
        (("--images", ","), "--images"),
        (("--user", "somebody"), "--user somebody"),
        (("--tag", "registry/:x"), "--tag"),
        (("--platform", "linux/arm64,linux/vax"), "linux/vax"),
        (("--platform", ","), "--platform names none"),
    ],
)
def test_a_build_that_cannot_be_is_refused_before_any_work(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    source = pulsar_tarball(tmp_path / "apache-pulsar-2.6.0-bin.tar.gz", version="2.6.0")
    refused(2, "build", "--from", source, "--output", tmp_path / "images", *words, says=says)


def test_an_engine_that_is_not_here_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pulsar_tarball(tmp_path / "apache-pulsar-2.6.0-bin.tar.gz", version="2.6.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    for engine, says in (("buildx", "docker is not installed"), ("podman", "neither buildah nor podman")):
        words = ("--from", source, "--engine", engine, "--output", tmp_path / "images")
        refused(7, "build", *words, says=f"The engine {engine} cannot be used: {says}")
    assert list(tmp_path.iterdir()) == [source]


def test_a_folder_in_the_way_of_eject_is_kept(tmp_path: Path) -> None:
    source = pulsar_tarball(tmp_path / "apache-pulsar-2.6.0-bin.tar.gz", version="2.6.0")
    (tmp_path / "context").mkdir()
    refused(2, "eject", tmp_path / "context", "--from", source, says="exists already")
    assert list((tmp_path / "context").iterdir()) == []


def test_ctrl_c_leaves_nothing_behind_and_exits_130(tmp_path: Path) -> None:
    fifo = tmp_path / "slow.tar"
    os.mkfifo(fifo)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    words = [sys.executable, "-m", "pulsar_arm", "port", str(fifo), "-o", str(tmp_path / "out.tar.gz")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        writer = os.open(fifo, os.O_WRONLY)  # opens once the reader waits
        try:
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            _out, said = process.communicate(timeout=30)
        finally:
            process.kill()  # where SIGINT is ignored, as below `nohup` or `&`, nothing else ends it
            os.close(writer)
    assert process.returncode == 130
    assert "Interrupted" in said
    assert list(tmp_path.iterdir()) == [fifo]


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    source = pulsar_tarball(tmp_path / "apache-pulsar-9.9.9-bin.tar.gz")
    words = f"{sys.executable} -m pulsar_arm -q scan {source} --format json | head -1"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(words, shell=True, capture_output=True, text=True, env=environment, check=False)
    assert done.stderr == ""


def test_a_wrong_catalog_is_told_by_file_and_key(tmp_path: Path) -> None:
    from pulsar_arm.catalog import load_catalog
    from pulsar_arm.errors import CatalogError

    (tmp_path / "x.toml").write_text('schema = 1\nsummary = "x"\nsumary = "y"\n')
    with pytest.raises(CatalogError, match=r"x\.toml: the key sumary is not known"):
        load_catalog(tmp_path)
