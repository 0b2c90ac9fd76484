"""The closed list of causes: what may be named, in the order in which it is looked for, and what shows each.

A cause of names comes before those of Services, these before those of pods, and the road of the packet is last: a dropped packet
often only shows what an object states already. `emu/why/README.md` has the same list for people. Must not know how a flow is run.
"""

from __future__ import annotations

from collections.abc import Callable

from emu.why.case import Because, Case
from emu.why.causes import dumped, names, paths, pods, services

Look = Callable[[Case], Because | None]

LOOKS: tuple[Look, ...] = (
    names.external_name,
    names.dns_policy,
    dumped.dns,
    names.dns_blocked,
    names.dns_server,
    names.dns_outside,
    names.dns_ndots,
    names.dns_search,
    names.dns_name,
    services.selector,
    services.without_selector,
    services.target_port_name,
    services.terminating,
    services.no_ready_endpoint,
    services.inside_only,
    services.no_such_port,
    services.cluster_ip_ping,
    paths.policy,
    services.source_ranges,
    services.no_local_endpoint,
    *dumped.LOOKS,
    services.affinity,
    services.stale_slice,
    services.headless_port,
    services.headless_without_port,
    pods.idle_pod,
    pods.silent_container,
    services.target_port_number,
    services.endpoint_without_pod,
    paths.hairpin,
    paths.mtu,
    paths.rp_filter,
    paths.masquerade,
    paths.forwarding,
    paths.link,
    paths.route,
    pods.not_listening,
    paths.neighbour,
    paths.rule,
    paths.undecided,
    paths.no_answer,
)
CAUSES: dict[str, str] = {
    "selector-matches-nothing": "a Service's selector matches no pod",
    "no-selector": "a Service without a selector has no endpoint that people wrote",
    "target-port-name": "targetPort is a name that no port of the pods has",
    "target-port-number": "targetPort is a number that no container declares",
    "service-port": "the port that was asked for is none of the Service's",
    "inside-only": "a host outside asks for a clusterIP",
    "not-ready": "the pods run, and their readiness probe does not succeed",
    "readiness-gate": "a readiness gate of the pods is False",
    "crash-loop": "a container of the pods does not run: CrashLoopBackOff, or it has ended",
    "finished": "the pod has finished, as those of a Job do: its phase is Succeeded or Failed",
    "image-pull": "the image of a container cannot be pulled",
    "container-not-created": "a container cannot be created",
    "pending": "the pod has no address yet",
    "unschedulable": "no node takes the pod: taints, labels, room",
    "host-port-taken": "no node has the hostPort free",
    "node-not-ready": "the pod's node is not Ready",
    "terminating": "the pods end, and serve no more",
    "no-local-endpoint": "a traffic policy is Local, and the node has no endpoint",
    "stale-slice": "an EndpointSlice is not what the controller would write",
    "endpoint-unreachable": "an endpoint that people wrote is neither a pod nor a node",
    "affinity": "sessionAffinity keeps the client at an endpoint that does not answer",
    "source-ranges": "loadBalancerSourceRanges does not hold the client's address",
    "headless": "a headless Service: no port is translated, or no endpoint is ready and the name has no address",
    "external-name": "the name of an ExternalName has no address",
    "dns-name": "no such name exists",
    "dns-search": "the search list does not have the namespace of the Service",
    "dns-ndots": "ndots: the name is found in another place of the search than the one that was meant",
    "dns-outside": "the name is one of outside, whose servers are not known",
    "dns-policy": "the client's dnsPolicy gives it other servers than the cluster's",
    "dns-server": "the cluster's DNS does not answer",
    "kube-proxy-mode": "kube-proxy's mode answers no ping at a clusterIP",
    "network-policy": "a NetworkPolicy does not allow it",
    "host-network-clash": "two pods of a node's own network have one port",
    "not-listening": "nothing listens on the port",
    "hairpin": "the pod is its own endpoint, and hairpin mode is off",
    "masquerade-missing": "the answer does not pass the node that translated the packet",
    "mtu": "the packet is longer than a link's MTU",
    "rp-filter": "the route back to the source leaves by another interface",
    "route-missing": "a node or router has no route",
    "forwarding-off": "a node does not forward packets",
    "link-down": "an interface is down, or a link loses packets",
    "no-such-host": "no host answers ARP for the address",
    "rule": "a rule of iptables, or the policy of a chain, drops it",
    "forward-drop": "the policy of a node's FORWARD chain is DROP",
    "proxy-rules-missing": "a node lacks rules of kube-proxy",
    "stale-endpoint": "a node's rules send to an endpoint that no slice lists",
    "conntrack-stale": "a node's connection is translated to an address that no pod has",
    "conntrack-full": "a node's table of connections is full",
    "ipset-member-missing": "a set of a node lacks a member",
    "route-wrong": "a node's route has another next hop",
    "ip-rule-missing": "a node lacks a rule of ip rule",
    "neighbour-missing": "a node lacks a neighbour that the pod network's agent sets",
    "neighbour-wrong": "a node has another MAC for a host than the host's",
    "neighbour-failed": "a host did not answer the node's ARP",
    "fdb-missing": "a tunnel or bridge of a node does not know, or knows wrongly, where a MAC is",
    "address-missing": "a node's interface lacks an address",
    "bridge-netfilter-off": "a node's bridge does not pass packets to iptables",
    "route-localnet-off": "a node does not route 127.0.0.0/8, and a NodePort at 127.0.0.1 is not reached",
    "not-modelled": "something that emu does not model decides",
    "no-answer": "the packet arrives, and nothing comes back",
}
"""Every cause that may be named, with what it is."""


def cause(case: Case) -> Because | None:
    """The first cause that shows; None for a flow that arrives, and where nothing shows."""
    if case.word == "delivered":
        return None
    return next((found for look in LOOKS if (found := look(case)) is not None), None)
