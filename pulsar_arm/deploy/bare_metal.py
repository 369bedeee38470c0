"""A cluster on machines of its own: for each host its configuration, and scripts in the right order.

The files are the release's own with keys changed, so that what this page does not name stays as released.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from pulsar_arm.deploy.description import Cluster, Host, Role
from pulsar_arm.deploy.files import File, template
from pulsar_arm.deploy.settings import (
    CONF_FILES,
    ORDER,
    Names,
    configuration,
    initialization,
    memory,
    memory_variables,
)
from pulsar_arm.errors import InputError
from pulsar_arm.formats.properties import with_properties, with_shell_default


def render(cluster: Cluster, released: Mapping[str, str]) -> tuple[File, ...]:
    """Everything to be copied to the hosts; InputError when the description names none."""
    if not cluster.hosts:
        raise InputError("bare metal needs [[host]] tables: name, address and roles of each machine.")
    names = Names(*(_names(cluster, role) for role in (cluster.store, "bookie", "broker")))
    files = [file for host in cluster.hosts for file in _host(cluster, host, names, released)]
    known = "".join(f"{host.address} {host.name}\n" for host in cluster.hosts)
    brokers = cluster.hosts_of("broker")
    values = {
        "cluster": cluster,
        "initialization": shlex.join(initialization(cluster, names)),
        "store_ports": [
            (host.name, cluster.services[cluster.store].ports["client"])
            for host in cluster.hosts_of(cluster.store)
        ],
        "first": brokers[0].name,
        "web": cluster.services["broker"].ports["web"],
        "order": [
            (role, [host.name for host in cluster.hosts_of(role)]) for role in ORDER if cluster.count(role)
        ],
    }
    return (
        *files,
        File("hosts", known),
        File("initialize.sh", template("initialize.sh.j2", **values), executable=True),
        File("README.md", template("bare-metal.md.j2", **values)),
    )


def _names(cluster: Cluster, role: Role) -> tuple[str, ...]:
    return tuple(host.name for host in cluster.hosts_of(role))


def _host(cluster: Cluster, host: Host, names: Names, released: Mapping[str, str]) -> list[File]:
    files = []
    for role in host.roles:
        if role in CONF_FILES:
            keys = configuration(cluster, role, names, host.name)
            name = "autorecovery.conf" if role == "autorecovery" else CONF_FILES[role]
            files.append(File(f"{host.name}/conf/{name}", with_properties(released[CONF_FILES[role]], keys)))
    files += _environments(cluster, host, released)
    number = names.store.index(host.name) + 1 if host.name in names.store else 0
    if number and cluster.store == "zookeeper":
        files.append(File(f"{host.name}/myid", f"{number}\n"))
    values = {
        "cluster": cluster,
        "host": host,
        "roles": [role for role in ORDER if role in host.roles],
        "memory": {
            role: memory_variables(role, cluster.services[role]) for role in host.roles if role != "etcd"
        },
        "folders": sorted(
            {folder for role in host.roles for folder in cluster.services[role].folders.values()}
        ),
        "myid": number if cluster.store == "zookeeper" else 0,
        "etcd": _etcd(cluster, host, names),
    }
    for name in ("install", "start", "stop", "check"):
        text = template(f"{name}.sh.j2", **values)
        files.append(File(f"{host.name}/{name}.sh", text, executable=True))
    return files


def _environments(cluster: Cluster, host: Host, released: Mapping[str, str]) -> list[File]:
    """Both files, for bin/pulsar reads bkenv.sh first: a bookie would keep 2 GiB whatever the other says."""
    servers = [role for role in ORDER if role in host.roles and role not in ("etcd", "bookie")]
    files = []
    if servers:
        text = with_shell_default(
            released["pulsar_env.sh"], "PULSAR_MEM", memory(cluster.services[servers[-1]])
        )
        files.append(File(f"{host.name}/conf/pulsar_env.sh", text))
    if "bookie" in host.roles:
        text = with_shell_default(released["bkenv.sh"], "BOOKIE_MEM", memory(cluster.services["bookie"]))
        files.append(File(f"{host.name}/conf/bkenv.sh", text))
    return files


def _etcd(cluster: Cluster, host: Host, names: Names) -> str:
    """The command of an etcd member; the first word is the program on the PATH."""
    if "etcd" not in host.roles:
        return ""
    service = cluster.services["etcd"]
    client, peer = service.ports["client"], service.ports["peer"]
    members = ",".join(f"{name}=http://{name}:{peer}" for name in names.store)
    return shlex.join(
        (
            "etcd",
            *("--name", host.name, "--data-dir", service.folders["data"]),
            *("--listen-client-urls", f"http://0.0.0.0:{client}", "--advertise-client-urls"),
            f"http://{host.name}:{client}",
            *("--listen-peer-urls", f"http://{host.address}:{peer}", "--initial-advertise-peer-urls"),
            f"http://{host.name}:{peer}",
            *("--initial-cluster", members),
        )
    )
