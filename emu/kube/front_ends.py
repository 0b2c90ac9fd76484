"""The addresses at which the outside reaches a Service, and the node that each is routed to.

It reads objects and the nodes' addresses. Must not know routes or kube-proxy.
"""

from __future__ import annotations

from collections.abc import Mapping

from emu.kube.api import core
from emu.kube.api.discovery import EndpointSlice
from emu.kube.node.node import Node
from emu.wire.addr import ip4


def front_ends(services: list[core.Service], slices: list[EndpointSlice], nodes: Mapping[str, Node]) -> dict[int, int]:
    """External IPs and load balancer VIPs, each with the address of the node that the outside routes it to.

    That is the first node; for a VIP of a Service of externalTrafficPolicy Local the first node with a ready endpoint,
    as a balancer finds out at the health check port. With `ipMode: Proxy` the VIP is the balancer's own: no route. There is
    none to what a node or a pod has as its own address either.
    """
    seen = [each for each in services if each.spec.type != "ExternalName" and (_vips(each) or each.spec.external_ips)]
    if not seen:
        return {}
    local = {each.key[1:] for each in seen if each.spec.external_traffic_policy == "Local"}
    ready: dict[tuple[str, ...], set[str | None]] = {}
    for found in slices:
        service = found.namespace, found.service_name
        if service in local:
            on = {each.node_name for each in found.endpoints if each.conditions.ready is not False}
            ready[service] = ready.get(service, set()) | on
    own = {address.addr for node in nodes.values() for address in node.root.ipv4.addresses}
    own.update(each.ip for node in nodes.values() for each in node.sandboxes.values())
    first = next(iter(nodes.values())).ip
    led: dict[int, int] = {}
    for each in seen:
        there = ready.get(each.key[1:], set())
        best = next((node.ip for node in nodes.values() if node.name in there), first)
        ways = [(ip, first) for ip in each.spec.external_ips] + [(ip, best) for ip in _vips(each)]
        led.update({ip4(text): node_ip for text, node_ip in ways if ":" not in text and ip4(text) not in own})
    return led


def reached_from_outside(service: core.Service) -> tuple[bool]:
    """A key of an index: whether the outside has an address for a Service."""
    return (service.spec.type != "ExternalName" and bool(_vips(service) or service.spec.external_ips),)


def service_of(found: EndpointSlice) -> tuple[tuple[str, str]]:
    """A key of an index: the namespace and name of a slice's Service."""
    return ((found.namespace, found.service_name),)


def outer_addresses(service: core.Service) -> list[str]:
    """The addresses of a Service for the outside: external IPs, and the balancer's."""
    ingress = [each.ip for each in service.status.load_balancer.ingress]
    return [text for text in (*service.spec.external_ips, *ingress) if text and ":" not in text]


def _vips(service: core.Service) -> list[str]:
    ingress = service.status.load_balancer.ingress
    return [each.ip for each in ingress if each.ip and each.ip_mode in (None, "VIP")]
