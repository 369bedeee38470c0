"""What every server of a cluster is told, the same on bare metal and in containers.

The names of keys and flags changed with Pulsar 2.10, which knows metadata stores other than ZooKeeper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pulsar_arm.deploy.description import Cluster, Role, Service

CONF_FILES: Mapping[Role, str] = {
    "zookeeper": "zookeeper.conf",
    "bookie": "bookkeeper.conf",
    "autorecovery": "bookkeeper.conf",
    "broker": "broker.conf",
    "proxy": "proxy.conf",
}
"""The file in a release's conf that a role reads."""
ORDER: tuple[Role, ...] = ("zookeeper", "etcd", "bookie", "autorecovery", "broker", "proxy")
"""In which servers are started; the metadata is initialized once, before the bookies."""


@dataclass(frozen=True, slots=True)
class Names:
    """How the servers of a cluster reach each other: host names, in the order of the servers."""

    store: tuple[str, ...]
    bookies: tuple[str, ...]
    brokers: tuple[str, ...]


def store_servers(cluster: Cluster, names: Names) -> str:
    """`HOST:PORT,HOST:PORT` of the metadata store."""
    port = cluster.services[cluster.store].ports["client"]
    return ",".join(f"{name}:{port}" for name in names.store)


def store_url(cluster: Cluster, names: Names) -> str:
    """The metadata store as brokers and the initialization name it.

    2.10 takes etcd as `etcd://HOST:PORT`, one endpoint; later releases want `etcd:` before URLs
    (EtcdMetadataStore; both were run).
    """
    servers = store_servers(cluster, names)
    if cluster.store == "zookeeper":
        return f"zk:{servers}"
    if cluster.generation == (2, 10):
        return f"etcd://{servers}"
    return "etcd:" + ",".join(f"http://{server}" for server in servers.split(","))


def configuration(cluster: Cluster, role: Role, names: Names, own_name: str) -> dict[str, str]:
    """The keys that a server's file is to have; the description's own come last and win."""
    service = cluster.services[role]
    match role:
        case "zookeeper":
            keys = _zookeeper(service, names)
        case "bookie" | "autorecovery":
            keys = _bookie(cluster, service, names)
            if role == "bookie":
                keys["advertisedAddress"] = own_name
        case "broker":
            keys = _broker(cluster, service, names)
            keys["advertisedAddress"] = own_name
        case "proxy":
            keys = _proxy(cluster, service, names)
        case _:
            keys = {}
    return keys | dict(service.configuration)


def _zookeeper(service: Service, names: Names) -> dict[str, str]:
    ports = service.ports
    keys = {
        "dataDir": service.folders["data"],
        "dataLogDir": service.folders["log"],
        "clientPort": str(ports["client"]),
        "admin.serverPort": str(ports["admin"]),
        "metricsProvider.httpPort": str(ports["metrics"]),
    }
    if len(names.store) > 1:
        for number, name in enumerate(names.store, 1):
            keys[f"server.{number}"] = f"{name}:{ports['peer']}:{ports['election']}"
    return keys


def _bookie(cluster: Cluster, service: Service, names: Names) -> dict[str, str]:
    bookie = cluster.services["bookie"]
    keys = {
        "bookiePort": str(bookie.ports["bookie"]),
        "journalDirectory": bookie.folders["journal"],
        "ledgerDirectories": bookie.folders["ledgers"],
        "prometheusStatsHttpPort": str(service.ports["metrics"]),
        "autoRecoveryDaemonEnabled": _yes(_recovers_in_bookies(cluster)),
    }
    if cluster.store == "etcd":
        keys["metadataServiceUri"] = f"metadata-store:{store_url(cluster, names)}/ledgers"
    else:
        keys["zkServers"] = store_servers(cluster, names)
    return keys


def _recovers_in_bookies(cluster: Cluster) -> bool:
    """In the bookies themselves, unless servers of its own do it, or it would hang (2.10 on etcd, run)."""
    return "autorecovery" not in cluster.services and not (
        cluster.store == "etcd" and cluster.generation == (2, 10)
    )


def _broker(cluster: Cluster, service: Service, names: Names) -> dict[str, str]:
    quorum = cluster.quorum
    keys = {
        "clusterName": cluster.name,
        "brokerServicePort": str(service.ports["broker"]),
        "webServicePort": str(service.ports["web"]),
        "managedLedgerDefaultEnsembleSize": str(quorum.ensemble),
        "managedLedgerDefaultWriteQuorum": str(quorum.write),
        "managedLedgerDefaultAckQuorum": str(quorum.ack),
    }
    if cluster.generation >= (2, 10):
        url = store_url(cluster, names)
        return keys | {"metadataStoreUrl": url, "configurationMetadataStoreUrl": url}
    servers = store_servers(cluster, names)
    return keys | {"zookeeperServers": servers, "configurationStoreServers": servers}


def _proxy(cluster: Cluster, service: Service, names: Names) -> dict[str, str]:
    keys = {"servicePort": str(service.ports["broker"]), "webServicePort": str(service.ports["web"])}
    if cluster.generation >= (2, 10):
        url = store_url(cluster, names)
        return keys | {"metadataStoreUrl": url, "configurationMetadataStoreUrl": url}
    servers = store_servers(cluster, names)
    return keys | {"zookeeperServers": servers, "configurationStoreServers": servers}


def initialization(cluster: Cluster, names: Names) -> Sequence[str]:
    """The command that writes the cluster into the metadata store, once."""
    ports = cluster.services["broker"].ports
    web = ",".join(f"{name}:{ports['web']}" for name in names.brokers)
    broker = ",".join(f"{name}:{ports['broker']}" for name in names.brokers)
    if cluster.generation >= (2, 10):
        url = store_url(cluster, names)
        store = ("--metadata-store", url, "--configuration-metadata-store", url)
    else:
        servers = store_servers(cluster, names)
        store = ("--zookeeper", servers, "--configuration-store", servers)
    return (
        "bin/pulsar",
        "initialize-cluster-metadata",
        "--cluster",
        cluster.name,
        *store,
        "--web-service-url",
        f"http://{web}",
        "--broker-service-url",
        f"pulsar://{broker}",
    )


def memory(service: Service) -> str:
    """The JVM's memory options of a server, without quotes of any kind."""
    return f"-Xms{service.heap} -Xmx{service.heap} -XX:MaxDirectMemorySize={service.direct}"


def memory_variables(role: Role, service: Service) -> dict[str, str]:
    """The variables that carry `memory`.

    A bookie reads BOOKIE_MEM, which its own file fills before PULSAR_MEM's is read, so both are given.
    """
    value = memory(service)
    return {"PULSAR_MEM": value, **({"BOOKIE_MEM": value} if role in ("bookie", "autorecovery") else {})}


def _yes(value: bool) -> str:
    return "true" if value else "false"
