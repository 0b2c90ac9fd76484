"""The names that kube-proxy gives its chains, and the chances that it writes.

Source: pkg/proxy/iptables/proxier.go (portProtoHash and its users). Must not know Services or rules.
"""

from __future__ import annotations

from base64 import b32encode
from hashlib import sha256

SERVICES, EXTERNAL_SERVICES, NODE_PORTS = "KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS"
POSTROUTING, MARK_MASQ, FORWARD = "KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-FORWARD"
PROXY_FIREWALL, FIREWALL, CANARY = "KUBE-PROXY-FIREWALL", "KUBE-FIREWALL", "KUBE-PROXY-CANARY"


def _hash(text: str) -> str:
    return b32encode(sha256(text.encode()).digest())[:16].decode()


def service_hash(service_port_name: str, protocol: str) -> str:
    """Of `ns/name:port` and a protocol: what follows KUBE-SVC-, KUBE-SVL-, KUBE-EXT- and KUBE-FW-."""
    return _hash(service_port_name + protocol.lower())


def endpoint_hash(service_port_name: str, protocol: str, endpoint: str) -> str:
    """Of a service port and one `ip:port`: what follows KUBE-SEP-."""
    return _hash(service_port_name + protocol.lower() + endpoint)


def probability(remaining: int) -> str:
    """The chance of the first of `remaining` endpoints, as kube-proxy writes it."""
    return f"{1 / remaining:.10f}"
