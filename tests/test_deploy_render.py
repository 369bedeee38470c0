"""Clusters rendered from one description: what every server is told, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from pulsar_arm.catalog import folder
from pulsar_arm.cli import cli
from pulsar_arm.deploy.description import read_cluster
from pulsar_arm.deploy.files import File
from pulsar_arm.deploy.render import TARGETS
from pulsar_arm.errors import InputError
from pulsar_arm.formats.properties import read_properties, with_properties, with_shell_default

# The lines of the released files that matter here, comments and all.
RELEASED = {
    "zookeeper.conf": "dataDir=data/zookeeper\nclientPort=2181\nmetricsProvider.httpPort=8000\n",
    "bookkeeper.conf": (
        "# a comment\nbookiePort=3181\njournalDirectory=data/bookkeeper/journal\n"
        "ledgerDirectories=data/bookkeeper/ledgers\nadvertisedAddress=\nzkServers=localhost:2181\n"
        "metadataServiceUri=\nprometheusStatsHttpPort=8000\nautoRecoveryDaemonEnabled=true\n"
    ),
    "broker.conf": (
        "clusterName=\nmetadataStoreUrl=\nconfigurationMetadataStoreUrl=\nadvertisedAddress=\n"
        "brokerServicePort=6650\nwebServicePort=8080\nmanagedLedgerDefaultEnsembleSize=2\n"
        "managedLedgerDefaultWriteQuorum=2\nmanagedLedgerDefaultAckQuorum=2\n# zookeeperServers=\n"
    ),
    "proxy.conf": "servicePort=6650\nwebServicePort=8080\nmetadataStoreUrl=\n",
    "bkenv.sh": '# x\nBOOKIE_MEM=${BOOKIE_MEM:-${PULSAR_MEM:-"-Xms2g -Xmx2g"}}\n\nBOOKIE_GC=x\n',
    "pulsar_env.sh": 'PULSAR_MEM=${PULSAR_MEM:-"-Xms2g -Xmx2g -XX:MaxDirectMemorySize=4g"}\n',
}


def shape(place: Path, name: str, *changes: tuple[str, str]) -> Path:
    """The description that `deploy init` writes, with changes."""
    text = (folder("deploy") / f"init-{name}.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = place / "cluster.toml"
    path.write_text(text)
    return path


def rendered(place: Path, name: str, to: str, *changes: tuple[str, str]) -> dict[str, File]:
    files = TARGETS[to](read_cluster(shape(place, name, *changes)), RELEASED)
    return {file.path: file for file in files}


def yaml(file: File) -> list[Any]:
    return list(YAML(typ="safe").load_all(file.text))


def test_each_host_gets_its_own_files_changed_by_key(tmp_path: Path) -> None:
    files = rendered(tmp_path, "bare-metal", "bare-metal")
    bookie = read_properties(files["pulsarCluster8/conf/bookkeeper.conf"].text)
    assert bookie["advertisedAddress"] == "pulsarCluster8"
    assert bookie["prometheusStatsHttpPort"] == "8100"
    assert bookie["zkServers"].count(":2181") == 3
    broker = read_properties(files["pulsarCluster8/conf/broker.conf"].text)
    assert broker["metadataStoreUrl"].startswith("zk:pulsarCluster7:2181,")
    zookeeper = read_properties(files["pulsarCluster8/conf/zookeeper.conf"].text)
    assert zookeeper["server.2"] == "pulsarCluster8:2888:3888"
    assert files["pulsarCluster8/myid"].text == "2\n"
    assert files["hosts"].text.splitlines()[1] == "10.211.55.8 pulsarCluster8"


def test_a_bookie_is_given_its_memory_in_the_file_it_reads_first(tmp_path: Path) -> None:
    files = rendered(tmp_path, "bare-metal", "bare-metal")
    text = files["pulsarCluster7/conf/bkenv.sh"].text
    assert text.splitlines()[1] == 'BOOKIE_MEM=${BOOKIE_MEM:-"-Xms1g -Xmx1g -XX:MaxDirectMemorySize=1g"}'
    assert text.endswith("\n\nBOOKIE_GC=x\n")


def test_a_release_before_2_10_is_told_its_zookeepers_by_the_keys_it_knows(tmp_path: Path) -> None:
    files = rendered(tmp_path, "bare-metal", "bare-metal", ('"2.10.1"', '"2.6.0"'))
    broker = read_properties(files["pulsarCluster7/conf/broker.conf"].text)
    assert broker["zookeeperServers"].startswith("pulsarCluster7:2181")
    assert broker["metadataStoreUrl"] == ""
    assert "--zookeeper pulsarCluster7:2181" in files["initialize.sh"].text


@pytest.mark.parametrize("name", ["bare-metal", "swarm"])
@pytest.mark.parametrize("to", ["bare-metal", "swarm"])
def test_the_scripts_are_shell(tmp_path: Path, name: str, to: str) -> None:
    changes = () if name == "swarm" else (('release = "2.10.1"', 'release = "2.10.1"\nimage = "p:1"'),)
    for file in rendered(tmp_path, name, to, *changes).values():
        if file.path.endswith(".sh") and "/conf/" not in file.path:
            done = subprocess.run(
                ["bash", "-n"], input=file.text, text=True, capture_output=True, check=False
            )
            assert done.returncode == 0, (file.path, done.stderr)
            assert file.executable


def test_etcd_is_named_as_each_release_takes_it(tmp_path: Path) -> None:
    new = rendered(tmp_path, "etcd", "compose")["compose.yaml"].text
    assert "metadataStoreUrl: etcd:http://etcd1:2379" in new
    old = rendered(tmp_path, "etcd", "compose", ('"4.0.8"', '"2.10.1"'))["compose.yaml"].text
    assert "metadataStoreUrl: etcd://etcd1:2379" in old
    assert 'autoRecoveryDaemonEnabled: "false"' in old


def test_compose_starts_servers_only_after_the_metadata_is_there(tmp_path: Path) -> None:
    (document,) = yaml(rendered(tmp_path, "etcd", "compose")["compose.yaml"])
    services = document["services"]
    assert services["initialize"]["depends_on"] == ["etcd1"]
    for name in ("bookie1", "bookie2", "bookie3", "broker1"):
        assert services[name]["depends_on"]["initialize"]["condition"] == "service_completed_successfully"
        assert services[name]["init"] is True
    assert set(document["volumes"]) == {"etcd1", "bookie1", "bookie2", "bookie3"}


def test_only_what_differs_from_the_release_is_in_the_environment(tmp_path: Path) -> None:
    (document,) = yaml(rendered(tmp_path, "etcd", "compose")["compose.yaml"])
    environment = document["services"]["broker1"]["environment"]
    assert "webServicePort" not in environment
    assert environment["PULSAR_PREFIX_allowAutoTopicCreationType"] == "partitioned"


@pytest.mark.parametrize(("version", "value"), [("2.6.0", "-Xms1g"), ("2.5.1", '"-Xms1g')])
def test_memory_has_quotes_only_where_the_script_writes_them_into_a_shell_file(
    tmp_path: Path, version: str, value: str
) -> None:
    image = ("release = ", "image = 'p:1'\nrelease = ")
    files = rendered(tmp_path, "bare-metal", "compose", ('"2.10.1"', f'"{version}"'), image)
    (document,) = yaml(files["compose.yaml"])
    assert document["services"]["bookie1"]["environment"]["BOOKIE_MEM"].startswith(value)


def test_a_swarm_server_stands_on_its_node_and_all_brokers_share_a_name(tmp_path: Path) -> None:
    (document,) = yaml(rendered(tmp_path, "swarm", "swarm")["stack.yaml"])
    services = document["services"]
    assert services["bookie2"]["deploy"]["placement"]["constraints"] == ["node.hostname == node88"]
    aliases = [services[name]["networks"]["pulsar"]["aliases"] for name in ("broker1", "broker2")]
    assert aliases == [["broker1", "broker"], ["broker2", "broker"]]
    assert "/mnt/data/bookkeeper/journal:/pulsar/data/bookie/journal" in services["bookie1"]["volumes"]
    assert "127.0.0.1" in services["zookeeper1"]["healthcheck"]["test"][-1]


def test_kubernetes_pods_are_bound_to_the_architecture_and_run_as_user_10000(tmp_path: Path) -> None:
    documents = yaml(rendered(tmp_path, "etcd", "kubernetes")["cluster.yaml"])
    pods = [one["spec"]["template"]["spec"] for one in documents if one["kind"] in ("StatefulSet", "Job")]
    assert len(pods) == 4
    assert {pod["nodeSelector"]["kubernetes.io/arch"] for pod in pods} == {"arm64"}
    assert {pod["securityContext"]["runAsUser"] for pod in pods} == {10000}


def test_helm_values_select_nodes_for_every_component_and_have_no_quotes_in_memory(tmp_path: Path) -> None:
    files = rendered(tmp_path, "helm", "helm")
    (values,) = yaml(files["values.yaml"])
    for component in (
        "zookeeper",
        "bookkeeper",
        "autorecovery",
        "broker",
        "proxy",
        "toolset",
        "pulsar_metadata",
    ):
        assert values[component]["nodeSelector"] == {"kubernetes.io/arch": "arm64"}
    assert values["bookkeeper"]["configData"]["BOOKIE_MEM"] == "-Xms1g -Xmx1g -XX:MaxDirectMemorySize=1g"
    assert values["affinity"]["anti_affinity"] is True
    assert "tail -f /dev/null" in files["debug.yaml"].text


def test_helm_refuses_etcd_and_containers_want_an_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="render --to kubernetes"):
        rendered(tmp_path, "etcd", "helm")
    with pytest.raises(InputError, match="image is missing"):
        rendered(tmp_path, "bare-metal", "compose")
    with pytest.raises(InputError, match=r"bare metal needs \[\[host\]\]"):
        rendered(tmp_path, "etcd", "bare-metal")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"2.10.1"', '"0.1"', "Pulsar 0.1 is not among the known releases"),
        ("schema = 1", "schema = 2", "schema must be 1"),
        ("ensemble = 2", "ensemble = 4", "ensemble is 4, but with 3 bookies"),
        ("ack = 2", "ack = 3", "ensemble >= write >= ack"),
        ("metrics = 8100", "metrics = 8000", "port 8000 is wanted by zookeeper"),
        ("metrics = 8100", "metrics = 99999", "99999, which is no port"),
        ("10.211.55.8", "10.211.55.7", "the address 10.211.55.7 is given to two hosts"),
        ("pulsarCluster8", "pulsarCluster7", "the name pulsarCluster7 is given to two hosts"),
        ("10.211.55.8", "no.such", "is no IP address"),
        ('"zookeeper", "bookie"', '"zookeper", "bookie"', "the role zookeper is not known"),
        ("[role.broker]\n", "[role.brocker]\n", r"\[role.brocker\] is not known"),
        ('heap = "256m"', 'heap = "256"', "write a size such as 512m"),
        ("/var/lib/pulsar/bookie/journal", "data/journal", "write an absolute path"),
        ('metadata = "zookeeper"', 'metadata = "etcd"', r"\[role.etcd\] is missing"),
        ("[role.bookie]\n", "[role.bookie]\nsize = 3\n", "the key size is not known"),
        ('name = "pulsar-cluster"', 'name = "a b"', "name must have the form"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_cluster(shape(tmp_path, "bare-metal", (old, new)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ([('"4.0.8"', '"2.6.0"')], "knows no etcd"),
        ([('"4.0.8"', '"2.10.1"'), ("replicas = 1\nimage", "replicas = 3\nimage")], "one etcd endpoint only"),
        (
            [('"4.0.8"', '"2.10.1"'), ("[role.bookie]", "[role.autorecovery]\n[role.bookie]")],
            "hangs without a word",
        ),
    ],
)
def test_what_a_release_cannot_do_on_etcd_is_refused(
    tmp_path: Path, changes: list[tuple[str, str]], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        read_cluster(shape(tmp_path, "etcd", *changes))


def test_properties_are_changed_in_their_place_switched_on_or_added() -> None:
    text = "a=1\n# b=2\n#c=\nd = 4\na.b=5\n"
    done = with_properties(text, {"a": "x", "b": "y", "e": "z=1"})
    assert done == "a=x\nb=y\n#c=\nd = 4\na.b=5\ne=z=1\n"


def test_a_value_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="more than one line"):
        with_properties("a=1\n", {"a": "x\ny=2"})


def test_a_shell_default_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no line gives X a default"):
        with_shell_default("Y=1\n", "X", "2")


def test_a_rendering_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    for name, text in RELEASED.items():
        (tmp_path / "release" / "conf").mkdir(parents=True, exist_ok=True)
        (tmp_path / "release" / "conf" / name).write_text(text)
    out = tmp_path / "out"
    words = [
        "deploy",
        "render",
        str(shape(tmp_path, "etcd")),
        "--from",
        str(tmp_path / "release"),
        "-o",
        str(out),
    ]
    refused = CliRunner().invoke(cli, [*words, "--to", "helm"], standalone_mode=False)
    assert isinstance(refused.exception, InputError)
    assert not out.exists()
    done = CliRunner().invoke(cli, [*words, "--to", "compose"], standalone_mode=False)
    assert done.exception is None
    assert (out / "compose.yaml").exists()
