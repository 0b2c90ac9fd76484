"""Scenarios: a cluster, manifests and steps in one YAML file, run to results and captures.

Knows the cluster and captures; must not know how results are shown.
"""
