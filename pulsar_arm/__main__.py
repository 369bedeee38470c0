"""`python -m pulsar_arm`."""

from pulsar_arm.cli import main

main()
