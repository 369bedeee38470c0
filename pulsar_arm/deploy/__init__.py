"""Clusters of Pulsar from one description: rendered for machines and containers, and linted."""
