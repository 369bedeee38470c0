"""pulsar-arm takes Apache Pulsar to ARM64 servers."""

__version__ = "0.1.0"
