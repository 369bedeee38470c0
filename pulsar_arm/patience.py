"""Settings with which a server starts under emulation, where all takes 20 to 40 times as long.

The defaults of a release assume a machine that answers within seconds. Natively only memory is limited, so
that a small machine can do it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

QUICK = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
"""JVM options for a start that is emulated: every JRE from 8 on knows them."""

_MILLISECONDS, _SECONDS = "300000", "300"
# Keys that a release does not know do nothing.
_STANDALONE = {
    "zooKeeperSessionTimeoutMillis": _MILLISECONDS,
    "zooKeeperOperationTimeoutSeconds": _SECONDS,
    "metadataStoreSessionTimeoutMillis": _MILLISECONDS,
    "metadataStoreOperationTimeoutSeconds": _SECONDS,
    "bookkeeperClientTimeoutInSeconds": _SECONDS,
    "managedLedgerMetadataOperationsTimeoutSeconds": _SECONDS,
    "brokerShutdownTimeoutMs": "1000",
    "zkTimeout": "60000",
}
# The bookie inside a standalone server stands on this address and registers with its ZooKeeper.
_BOOKKEEPER = {"zkServers": "127.0.0.1:2181", "advertisedAddress": "127.0.0.1", "allowLoopback": "true"}
# BookKeeper's own client allows a bookie 5 s for an entry.
_SLOW_BOOKIE = {
    "zkTimeout": "60000",
    "addEntryTimeoutSec": _SECONDS,
    "readEntryTimeoutSec": _SECONDS,
    "addEntryQuorumTimeoutSec": _SECONDS,
    "readTimeout": _SECONDS,
    "clientConnectTimeoutMillis": "60000",
}
_SQL_HEAP = "-Xmx1G"


@dataclass(frozen=True, slots=True)
class Patience:
    """How programs of Pulsar are told to take their time."""

    emulated: bool
    """Whether their machine is."""
    answer: int = 300
    """Seconds in which a tool must be answered."""

    @property
    def server(self) -> Mapping[str, str]:
        """The environment of `bin/pulsar standalone`; metadata in ZooKeeper, where tools find them."""
        memory = {"PULSAR_MEM": "-Xms512m -Xmx1g -XX:MaxDirectMemorySize=1g"}
        quick = {"PULSAR_GC": f"{QUICK} -Xverify:none"} if self.emulated else {}
        return {"PULSAR_STANDALONE_USE_ZOOKEEPER": "1", **memory, **quick}

    @property
    def options(self) -> tuple[str, ...]:
        """What `bin/pulsar standalone` does without.

        The functions worker allows 10 s for its first producer and ends the server when they are over; stream
        storage, which keeps the state of functions alone, has sessions of 10 s. No setting raises these.
        """
        return ("--no-functions-worker", "--no-stream-storage") if self.emulated else ()

    @property
    def client(self) -> Mapping[str, str]:
        """The environment of `bin/pulsar-client`, which takes its JVM's options from this variable alone."""
        return {"PULSAR_EXTRA_OPTS": f"{QUICK} -Xverify:none"} if self.emulated else {}

    @property
    def tool(self) -> Mapping[str, str]:
        """The environment of `bin/bookkeeper shell`."""
        memory = {"BOOKIE_MEM": "-Xms128m -Xmx512m -XX:MaxDirectMemorySize=512m"}
        return {**memory, **({"BOOKIE_GC": f"{QUICK} -Xverify:none"} if self.emulated else {})}

    def standalone(self, text: str) -> str:
        """`conf/standalone.conf` with longer time-outs."""
        return _properties(text, _STANDALONE if self.emulated else {})

    def bookkeeper(self, text: str, name: str = "") -> str:
        """`conf/bookkeeper.conf` for a tool that asks the bookie, called `name`, of a standalone server."""
        named = {"bookieId": name} if name else {}
        return _properties(text, _BOOKKEEPER | named | (_SLOW_BOOKIE if self.emulated else {}))

    def sql(self, text: str) -> str:
        """The SQL worker's `jvm.config` with a heap that every machine has."""
        lines = [_SQL_HEAP if line.startswith("-Xmx") else line for line in text.splitlines()]
        return "\n".join((*lines, *(("-XX:TieredStopAtLevel=1",) if self.emulated else ()), ""))


def _properties(text: str, values: Mapping[str, str]) -> str:
    """Without comments, which are most of these files, and with `values` in the place of their keys."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "!"))]
    kept = [line for line in lines if re.split(r"[=:\s]", line.strip(), maxsplit=1)[0] not in values]
    return "\n".join((*kept, *(f"{key}={value}" for key, value in values.items()), ""))
