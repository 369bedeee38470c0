"""Every failure that somebody met, planted in a file of its own; and silence on what we render."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from test_deploy_render import RELEASED, shape
from test_report import sarif_schema

from pulsar_arm.cli import cli
from pulsar_arm.deploy.description import read_cluster
from pulsar_arm.deploy.files import write_files
from pulsar_arm.deploy.reading import read_deployment
from pulsar_arm.deploy.render import TARGETS
from pulsar_arm.deploy.rules import lint, load_rules
from pulsar_arm.errors import InputError

# The file's name and text, for each rule.
PLANTED = {
    "quoted-memory": (
        "values.yaml",
        "bookkeeper:\n  configData:\n    # kept\n    BOOKIE_MEM: '\"-Xms1g -Xmx1g\"'\n    PULSAR_MEM: x\n",
    ),
    "java-8-flags": (
        "values.yaml",
        "broker:\n  configData:\n    PULSAR_GC: -XX:+UseG1GC -XX:+PrintGCDateStamps\n",
    ),
    "cluster-names": (
        "compose.yaml",
        """services:
  init:
    image: p:2.10.1
    command: bin/pulsar initialize-cluster-metadata --cluster smartoilets -uw http://a:8080
  broker:
    image: p:2.10.1
    environment: [clusterName=lan]
""",
    ),
    "metadata-stores": (
        "compose.yaml",
        """services:
  bookie:
    image: p:4.0.8
    environment: {metadataServiceUri: "metadata-store:etcd:http://etcd:2379/ledgers", BOOKIE_MEM: -Xmx1g}
  broker:
    image: p:4.0.8
    environment: {PULSAR_PREFIX_bookkeeperMetadataServiceUri: "zk://zk:2181/ledgers"}
""",
    ),
    "etcd-autorecovery": (
        "compose.yaml",
        """services:
  bk:
    image: p:2.10.1
    environment: {metadataServiceUri: "metadata-store:etcd://etcd:2379/ledgers", BOOKIE_MEM: -Xmx1g}
""",
    ),
    "ports": ("bookkeeper.conf", "bookiePort=3181\nprometheusStatsHttpPort=3181\n"),
    "ensemble": (
        "values.yaml",
        "bookkeeper:\n  replicaCount: 1\nbroker:\n  configData: {managedLedgerDefaultEnsembleSize: '2'}\n",
    ),
    "health-needs-peers": (
        "stack.yaml",
        "services:\n  zk1:\n    image: p:3.1.1\n    healthcheck: {test: echo srvr | nc zk2 2181}\n",
    ),
    "client-certificates": (
        "compose.yaml",
        "services:\n  broker:\n    image: p:4.0.8\n    environment:\n"
        "      tlsRequireTrustedClientCertOnConnect: true\n",
    ),
    "no-reaping-init": (
        "compose.yaml",
        "services:\n  broker:\n    image: p:4.0.8\n    command: bin/pulsar-daemon start broker && sleep 9\n",
    ),
    "bookie-memory": ("compose.yaml", "services:\n  bookie:\n    image: p:4.0.8\n"),
    "architecture": (
        "values.yaml",
        "broker:\n  nodeSelector: {kubernetes.io/arch: arm64}\nproxy:\n  replicaCount: 1\n",
    ),
    "fixed-addresses": (
        "compose.yaml",
        "services:\n  broker:\n    image: p:4.0.8\n    environment: {metadataStoreUrl: 'zk:10.1.2.3:2181'}\n",
    ),
    "latest": ("compose.yaml", "services:\n  broker:\n    image: apachepulsar/pulsar\n"),
    "old-keys": (
        "compose.yaml",
        "services:\n  broker:\n    image: p:2.10.1\n    environment: {zookeeperServers: 'zk:2181'}\n",
    ),
}


def names(path: Path) -> list[str]:
    return [one.rule.name for one in lint(read_deployment(path))]


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, ["deploy", "lint", *map(str, words)], standalone_mode=False)


@pytest.mark.parametrize("rule", [rule.name for rule in load_rules()])
def test_each_failure_is_found_and_it_alone(tmp_path: Path, rule: str) -> None:
    name, text = PLANTED[rule]
    (tmp_path / name).write_text(text)
    assert names(tmp_path) == [rule]


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("bare-metal", "bare-metal"),
        ("swarm", "swarm"),
        ("swarm", "compose"),
        ("etcd", "compose"),
        ("etcd", "kubernetes"),
        ("helm", "helm"),
        ("helm", "kubernetes"),
    ],
)
def test_what_is_rendered_breaks_no_rule(tmp_path: Path, name: str, to: str) -> None:
    write_files(TARGETS[to](read_cluster(shape(tmp_path, name)), RELEASED), tmp_path / "out")
    assert names(tmp_path / "out") == []


def test_a_quoted_memory_is_mended_and_nothing_else_is_touched(tmp_path: Path) -> None:
    name, text = PLANTED["quoted-memory"]
    path = tmp_path / name
    path.write_text(text)
    told = run(path, "--fix")
    assert told.return_value == 0
    assert path.read_text() == text.replace("'\"-Xms1g -Xmx1g\"'", "'-Xms1g -Xmx1g'")


def test_a_port_of_a_conf_folder_is_mended_in_its_line(tmp_path: Path) -> None:
    (tmp_path / "zookeeper.conf").write_text("clientPort=2181\nmetricsProvider.httpPort=8000\n")
    path = tmp_path / "bookkeeper.conf"
    path.write_text("# one\nprometheusStatsHttpPort=8000\n# two\n")
    assert names(tmp_path) == ["ports"]
    assert run(tmp_path, "--fix").return_value == 0
    assert path.read_text() == "# one\nprometheusStatsHttpPort=8100\n# two\n"


def test_quotes_are_right_for_a_release_whose_script_writes_shell_files(tmp_path: Path) -> None:
    text = "services:\n  bookie:\n    image: p:2.5.1\n    environment: {BOOKIE_MEM: '\"-Xmx1g\"'}\n"
    (tmp_path / "compose.yaml").write_text(text)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2\n", "line 2 is no YAML"),
        ("a:\n\tb: 1\n", "line 2 is no YAML"),
        ("a: [1\n", "is no YAML"),
        ("\x00", "is no YAML"),
    ],
)
def test_damaged_yaml_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=says):
        read_deployment(tmp_path)


def test_a_folder_without_anything_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no YAML file"):
        read_deployment(tmp_path)


def test_yaml_of_other_things_is_silent(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("- 1\n- {a: b}\n---\nkind: 3\n---\nservices: none\n---\nhello\n")
    assert names(tmp_path) == []


def test_an_error_gives_exit_code_1_and_a_note_does_not(tmp_path: Path) -> None:
    for rule, code in (("ensemble", 1), ("latest", 0)):
        path = tmp_path / f"{rule}.yaml"
        path.write_text(PLANTED[rule][1])
        assert run(path).return_value == code


def test_the_sarif_of_a_lint_keeps_to_the_official_schema(tmp_path: Path) -> None:
    import jsonschema

    (tmp_path / "x.yaml").write_text(PLANTED["quoted-memory"][1])
    told = json.loads(run(tmp_path, "--format", "sarif").stdout)
    jsonschema.validate(told, sarif_schema())
    assert told["runs"][0]["results"][0]["ruleId"] == "quoted-memory"
