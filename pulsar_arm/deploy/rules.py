"""What goes wrong in deployments of Pulsar on ARM, as rules: each was met by somebody, or run here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast, get_args

from pulsar_arm.catalog import folder
from pulsar_arm.deploy.reading import Deployment, Told
from pulsar_arm.errors import CatalogError
from pulsar_arm.tables import Table, read_toml

Weight = Literal["error", "warning", "note"]
_MEMORY = re.compile(r"(?:BOOKIE|PULSAR)_(?:MEM|GC|EXTRA_OPTS)")
_JAVA_8_ONLY = re.compile(
    r"-XX:\+?(PrintGCDateStamps|PrintGCTimeStamps|PrintHeapAtGC|PrintGCApplicationStoppedTime|UseGCLogFileRotation"
    r"|G1LogLevel|AggressiveOpts|PrintAdaptiveSizePolicy)"
)
_GENERATION = re.compile(r":v?(\d+)\.(\d+)")
_PEERS = re.compile(r"\b(srvr|mntr|stat|zkServer|zookeeper-shell|nslookup|brokers|healthcheck)\b")
_ARCH = "kubernetes.io/arch"
_ADDRESS = re.compile(r"\b(?!127\.)\d+\.\d+\.\d+\.\d+:")
_SIZES = ("EnsembleSize", "WriteQuorum", "AckQuorum")
_STORE_KEYS = (
    "metadataStoreUrl",
    "metadataServiceUri",
    "bookkeeperMetadataServiceUri",
    "zkServers",
    "zookeeperServers",
)


@dataclass(frozen=True, slots=True)
class Fix:
    """A change that is safe: one setting of one file."""

    file: Path
    place: tuple[str | int, ...]
    value: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a file breaks."""

    rule: Rule
    file: Path
    where: str
    says: str
    fix: Fix | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One failure: how it shows, why, and what to do."""

    name: str
    weight: Weight
    reason: str
    remedy: str
    evidence: str


_Found = Iterator[tuple[Told, str, Fix | None]]
_Finder = Callable[[Deployment], _Found]


@cache
def load_rules() -> tuple[Rule, ...]:
    """The rules in their order, the worst first; CatalogError where table and functions differ."""
    path = folder("deploy") / "rules.toml"
    top = Table(path.name, read_toml(path))
    if top.number("schema") != 1:
        raise CatalogError(f"{path.name}: schema must be 1, the only one this version knows.")
    rules = tuple(_rule(row) for row in top.tables("rule"))
    top.end()
    if odd := {rule.name for rule in rules} ^ set(_FIND):
        raise CatalogError(f"{path.name}: the rule {min(odd)} stands there, or in rules.py, alone.")
    return rules


def _rule(row: Table) -> Rule:
    weight = cast(Weight, row.choice("weight", get_args(Weight)))
    rule = Rule(row.text("name"), weight, row.text("reason"), row.text("remedy"), row.text("evidence"))
    row.end()
    return rule


def lint(deployment: Deployment) -> tuple[Finding, ...]:
    """Every rule that is broken, in the order of the rules."""
    return tuple(
        Finding(rule, told.file, told.name, says, fix)
        for rule in load_rules()
        for told, says, fix in _FIND[rule.name](deployment)
    )


def _generation(told: Told) -> tuple[int, int] | None:
    found = _GENERATION.search(told.image)
    return (int(found[1]), int(found[2])) if found else None


def _quoted_memory(deployment: Deployment) -> _Found:
    for told in deployment.servers:
        old = _generation(told)
        for key, value in told.settings.items():
            if _MEMORY.fullmatch(key) and value.startswith('"') and not (old and old <= (2, 5)):
                fix = Fix(told.file, told.keys[key], value.strip('"'))
                yield told, f"{key} is {value}", fix


def _java_8_flags(deployment: Deployment) -> _Found:
    for told in deployment.servers:
        old = _generation(told)
        for key, value in told.settings.items():
            found = _JAVA_8_ONLY.search(value)
            if found and not (old and old < (2, 8)):
                yield told, f"{key} has {found[1]}", None


def _cluster_names(deployment: Deployment) -> _Found:
    names: dict[str, Told] = {}
    for told in deployment.servers:
        command = re.search(r"initialize-cluster-metadata.*?(?:--cluster|-c)[ =](\S+)", told.command, re.S)
        name = command[1] if command else told.settings.get("clusterName", "")
        if name:
            names.setdefault(name, told)
    for name in list(names)[1:]:
        first = next(iter(names))
        yield names[name], f"it says {name}, and {names[first].name} says {first}", None


def _stores(deployment: Deployment) -> _Found:
    said: dict[str, Told] = {}
    for told in deployment.servers:
        for key in _STORE_KEYS:
            value = told.settings.get(key, "")
            if value and told.kind != "conf":
                kind = "etcd" if "etcd:" in value else "ZooKeeper"
                said.setdefault(kind, told)
    if len(said) > 1:
        yield said["ZooKeeper"], f"it uses ZooKeeper, and {said['etcd'].name} uses etcd", None


def _etcd_autorecovery(deployment: Deployment) -> _Found:
    for told in deployment.of("bookie") + deployment.of("autorecovery"):
        uri = told.settings.get("metadataServiceUri", "")
        on = told.settings.get("autoRecoveryDaemonEnabled", "true") != "false"
        if "etcd:" in uri and _generation(told) == (2, 10) and (on or told.role == "autorecovery"):
            yield told, "autorecovery runs on etcd with Pulsar 2.10", None


def _ports(deployment: Deployment) -> _Found:
    by_file = {told.file.parent for told in deployment.servers if told.kind == "conf"}
    for place in sorted(by_file):
        yield from _conf_ports([one for one in deployment.servers if one.file.parent == place])
    published = Counter(
        port for told in deployment.servers if told.kind == "compose" for port in told.published
    )
    for told in deployment.servers:
        for port in told.published:
            if published[port] > 1 and not _on_own_hosts(told):
                yield told, f"port {port} of the host is taken twice", None


def _on_own_hosts(told: Told) -> bool:
    """In a swarm each server may stand on a node of its own."""
    return isinstance(told.body.get("deploy"), dict)


def _conf_ports(servers: list[Told]) -> _Found:
    taken: dict[str, str] = {}
    keys = {
        "zookeeper": ("clientPort", "metricsProvider.httpPort", "admin.serverPort"),
        "bookie": ("bookiePort", "prometheusStatsHttpPort"),
        "broker": ("brokerServicePort", "webServicePort"),
    }
    # A released folder holds every role's file; only those that were told a peer are run from it.
    for told in sorted(servers, key=lambda one: one.role, reverse=True):  # ZooKeeper keeps its ports
        for key in keys.get(told.role, ()):
            port = told.settings.get(key, "")
            if port and port in taken:
                fix = Fix(told.file, (key,), "8100") if key == "prometheusStatsHttpPort" else None
                yield told, f"{key} is {port}, which {taken[port]} has", fix
            elif port:
                taken[port] = f"{told.name}'s {key}"


def _no_init(deployment: Deployment) -> _Found:
    for told in deployment.servers:
        if told.kind == "compose" and "pulsar-daemon" in told.command and not told.reaps:
            yield told, "it starts pulsar-daemon, and has no init", None


def _bookie_memory(deployment: Deployment) -> _Found:
    for told in deployment.of("bookie"):
        if told.kind == "conf" or told.role != "bookie":
            continue
        if "PULSAR_MEM" in told.settings and "BOOKIE_MEM" not in told.settings and told.kind == "helm":
            continue
        quiet = {"PULSAR_MEM", "BOOKIE_MEM"} & set(told.settings)
        if not quiet and told.kind == "compose":
            yield told, "neither BOOKIE_MEM nor PULSAR_MEM is set", None


def _health(deployment: Deployment) -> _Found:
    for told in deployment.servers:
        if told.role == "zookeeper" and (found := _PEERS.search(told.health)):
            yield told, f"its health check asks {found[1]}, which needs a quorum", None


def _ensemble(deployment: Deployment) -> _Found:
    bookies = sum(told.replicas for told in deployment.of("bookie") if told.kind != "conf")
    for told in deployment.of("broker"):
        sizes = [told.settings.get(f"managedLedgerDefault{name}", "") for name in _SIZES]
        numbers = [int(size) for size in sizes if size.isdigit()]
        if bookies and numbers and numbers[0] > bookies:
            yield told, f"the ensemble is {numbers[0]}, and there are {bookies} bookies", None
        if len(numbers) == 3 and numbers != sorted(numbers, reverse=True):
            yield told, "ensemble >= write >= ack does not hold: " + ", ".join(map(str, numbers)), None


def _architecture(deployment: Deployment) -> _Found:
    helm = [told for told in deployment.servers if told.kind == "helm"]
    bound = {told.file: told.name for told in helm if _ARCH in (told.body.get("nodeSelector") or {})}
    for told in helm:
        if told.file in bound and _ARCH not in (told.body.get("nodeSelector") or {}):
            yield told, f"it has no nodeSelector {_ARCH}, and {bound[told.file]} has", None


def _latest(deployment: Deployment) -> _Found:
    for told in deployment.servers:
        name = told.image.rpartition("/")[2]
        if told.image and "@" not in told.image and (":" not in name or name.endswith(":latest")):
            yield told, f"its image is {told.image}", None


def _client_certificates(deployment: Deployment) -> _Found:
    for told in deployment.servers:
        wants = told.settings.get("tlsRequireTrustedClientCertOnConnect") == "true"
        ports = ("brokerServicePortTls", "webServicePortTls", "servicePortTls")
        if wants and not any(told.settings.get(key) for key in ports):
            yield told, "it wants client certificates, and has no TLS port", None


def _fixed_addresses(deployment: Deployment) -> _Found:
    for told in deployment.servers:
        if told.kind == "conf":
            continue
        for key in _STORE_KEYS:
            value = told.settings.get(key, "")
            if _ADDRESS.search(value):
                yield told, f"{key} is {value}", None


def _old_keys(deployment: Deployment) -> _Found:
    for told in deployment.of("broker"):
        generation = _generation(told)
        for key in ("zookeeperServers", "configurationStoreServers"):
            if generation and generation >= (2, 10) and told.settings.get(key):
                yield told, f"{key} is set", None


_FIND: Mapping[str, _Finder] = {
    "quoted-memory": _quoted_memory,
    "java-8-flags": _java_8_flags,
    "cluster-names": _cluster_names,
    "metadata-stores": _stores,
    "etcd-autorecovery": _etcd_autorecovery,
    "ports": _ports,
    "ensemble": _ensemble,
    "health-needs-peers": _health,
    "client-certificates": _client_certificates,
    "no-reaping-init": _no_init,
    "bookie-memory": _bookie_memory,
    "architecture": _architecture,
    "fixed-addresses": _fixed_addresses,
    "latest": _latest,
    "old-keys": _old_keys,
}
"""The function that finds each rule of the table, by its name."""
