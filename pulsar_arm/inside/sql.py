"""Ask an SQL worker a query by HTTP, and print the first row of the answer.

Standard library only, Python 3.7 or later. Usage: python3 -c TEXT QUERY SECONDS ADDRESS. A worker that has
just started knows no nodes yet, so it is asked again until SECONDS are over; then the last error is printed,
and the status is 1.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

# Presto's and Trino's name for the same header.
_HEADERS = {"X-Presto-User": "pulsar-arm", "X-Trino-User": "pulsar-arm"}


def main(query: str, seconds: str, worker: str) -> int:
    """Give 0 when an answer was printed."""
    last = time.monotonic() + float(seconds)
    while True:
        try:
            row, reason = _ask(query, worker), ""
        except (OSError, ValueError, urllib.error.URLError) as error:
            row, reason = None, str(error)
        if row is not None or time.monotonic() > last:
            sys.stdout.write((json.dumps(row) if row is not None else reason or "no row came") + "\n")
            return 0 if row is not None else 1
        time.sleep(3)


def _ask(query: str, worker: str) -> Any:
    """The first row; the statement is followed from page to page (client protocol of Presto and Trino)."""
    answer = _get(worker + "/v1/statement", query.encode())
    while True:
        if "error" in answer:
            raise ValueError(answer["error"].get("message", "the query failed"))
        if answer.get("data"):
            return answer["data"][0]
        if "nextUri" not in answer:
            return None
        time.sleep(0.2)
        answer = _get(answer["nextUri"])


def _get(address: str, posted: bytes | None = None) -> Any:
    request = urllib.request.Request(address, posted, _HEADERS)  # noqa: S310 - the worker's own addresses
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - as above
        return json.loads(reply.read().decode())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
