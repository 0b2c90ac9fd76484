"""The names of kube-router's chains and sets: a prefix, and 16 characters of base32 of a sha256.

Of a chain, kube-router hashes the time of the sync as well; here it is what the chain holds, so that a chain that stays keeps its
name. Source: pkg/controllers/netpol/policy.go and pod.go of cloudnativelabs/kube-router 7c2c2779. Must not know rules.
"""

from __future__ import annotations

from base64 import b32encode
from hashlib import sha256

POD, POLICY, SOURCE, DESTINATION = "KUBE-POD-FW-", "KUBE-NWPLCY-", "KUBE-SRC-", "KUBE-DST-"
INPUT, FORWARD, OUTPUT = "KUBE-ROUTER-INPUT", "KUBE-ROUTER-FORWARD", "KUBE-ROUTER-OUTPUT"
DEFAULT, COMMON, TAIL = "KUBE-NWPLCY-DEFAULT", "KUBE-NWPLCY-COMMON", "KUBE-NWPLCY-TAIL"
TOP = {"INPUT": INPUT, "FORWARD": FORWARD, "OUTPUT": OUTPUT}
FAMILY = "IPv4"


def hashed(*words: str) -> str:
    return b32encode(sha256("".join(words).encode()).digest()).decode()[:16]


def policy_chain(namespace: str, name: str, version: str) -> str:
    return POLICY + hashed(namespace, name, version, FAMILY)


def pod_chain(namespace: str, name: str, version: str) -> str:
    return POD + hashed(namespace, name, version)


def target_set(prefix: str, namespace: str, name: str) -> str:
    """The set of the pods that a policy selects, as sources or as destinations."""
    return prefix + hashed(namespace, name, FAMILY)


def peer_set(prefix: str, namespace: str, name: str, way: str, rule: int, kind: str) -> str:
    """The set of a rule's peers: `kind` is `pod` or `ipblock`, `way` the rule's direction."""
    return prefix + hashed(namespace, name, f"{way}rule", str(rule), FAMILY, kind)


def port_set(namespace: str, name: str, way: str, rule: int, port: int) -> str:
    """The set of the pods that give a rule's port name the same number; `port` counts these sets."""
    return DESTINATION + hashed(namespace, name, f"{way}rule", str(rule), str(port), FAMILY, "namedport")


def owned(name: str) -> bool:
    """Is a chain kube-router's?"""
    return name.startswith((POD, POLICY, "KUBE-ROUTER-"))
