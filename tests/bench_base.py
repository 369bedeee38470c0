"""Make the Debian base for a Java release in an empty cache: for `bench.py`."""

import sys
from pathlib import Path

from pulsar_arm.base import debian_base
from pulsar_arm.catalog import folder
from pulsar_arm.host.progress import Silent
from pulsar_arm.platforms import AARCH64

definition = folder("dockerfiles") / "bases" / "debian.toml"
debian_base(definition, int(sys.argv[2]), AARCH64, Path(sys.argv[1]), progress=Silent())
