"""Causes that a Service and its slices show: selector, target port, endpoints, policies of traffic, source ranges, headless, affinity.

Must not know how a flow is run.
"""

from __future__ import annotations

from collections import Counter
from difflib import get_close_matches

from emu.errors import InputError
from emu.kube.api.core import Pod, Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.meta import Key
from emu.kube.controllers.stale import differences
from emu.kube.front_ends import service_of
from emu.modelled import nearest
from emu.why.case import Because, Case, name_of, of_pod
from emu.why.causes.pods import why_not_ready
from emu.wire.addr import Prefix, ip4_text


def selector(case: Case) -> Because | None:
    """The Service's selector matches no pod."""
    service = case.service
    if service is None or not service.spec.selector or case.selected or case.word == "delivered":
        return None
    if service.spec.type == "ExternalName" or any(each.ready for each in case.backends):
        return None
    pairs = ",".join(f"{key}={value}" for key, value in service.spec.selector.items())
    near = _nearest(case, service)
    have = f" (pods have {near})" if near else ""
    sentence = f'spec.selector "{pairs}" of {name_of(service.key)}{case.at(service.key, "spec", "selector")} matches no pod of namespace {service.namespace}{have}'
    remedy = (
        f'spec.selector "{near}", which pods have' if near else f"pods with the labels {pairs}, or another selector"
    )
    return Because("selector-matches-nothing", name_of(service.key), sentence, remedy)


def without_selector(case: Case) -> Because | None:
    """A Service without a selector has the endpoints that people, or a controller of theirs, wrote: there is none for the port."""
    service, port = case.service, case.service_port
    if service is None or port is None or service.spec.selector or service.spec.type == "ExternalName":
        return None
    if case.backends or case.word == "delivered":
        return None
    name = name_of(service.key)
    slices = case.store.index(EndpointSlice, service_of).of((service.namespace, service.name))
    listed = sorted({f"{each.name or '(no name)'} {each.protocol}" for slice in slices for each in slice.ports})
    if listed:
        wanted = f"{port.name or '(no name)'} {port.protocol}"
        at = name_of(slices[0].key) + case.at(slices[0].key, "ports")
        sentence = f"{name} has no selector, and its slices list the ports {', '.join(listed)}, not {wanted}: {at}"
        return Because("no-selector", name, sentence, f"the Service's port name {port.name or 'left out'} in the slice")
    sentence = f"{name}{case.at(service.key, 'spec')} has no selector, and no EndpointSlice lists an endpoint of it"
    remedy = f"an EndpointSlice with the label kubernetes.io/service-name: {service.name}, or a selector"
    return Because("no-selector", name, sentence, remedy)


def _nearest(case: Case, service: Service) -> str:
    """Labels that pods have, with the selector's keys and values most like its own."""
    found = []
    pods = case.store.list(Pod, service.namespace)
    for key, value in service.spec.selector.items():
        there = [each.metadata.labels[key] for each in pods if key in each.metadata.labels]
        near = [value] if value in there else get_close_matches(value, there, n=1)
        if near:
            found.append(f"{key}={near[0]}")
    return ",".join(found)


def target_port_name(case: Case) -> Because | None:
    """The Service's targetPort is a name that no port of its pods has."""
    service, port = case.service, case.service_port
    if service is None or port is None or not isinstance(port.target_port, str) or case.word == "delivered":
        return None
    name, pods = port.target_port, case.selected
    if not pods or any(p.name == name and p.protocol == port.protocol for each in pods for p in each.spec.ports):
        return None
    have = sorted({p.name for each in pods for p in each.spec.ports if p.name})
    near = nearest(name, have)
    at = case.at(service.key, "spec", "ports", service.spec.ports.index(port), "targetPort")
    sentence = f'targetPort "{name}" of {name_of(service.key)}{at} is the name of no {port.protocol} port of {name_of(pods[0].key)}'
    sentence += f" (it has {', '.join(have)})" if have else " (its ports have no names)"
    remedy = f"targetPort: {near}" if near else "the name of a port of the containers, or its number"
    return Because("target-port-name", name_of(service.key), sentence, remedy)


def target_port_number(case: Case) -> Because | None:
    """The Service's targetPort is a number that no container of the pod listens on."""
    service, port, pod = case.service, case.service_port, case.receiver
    if service is None or port is None or pod is None or case.word != "refused":
        return None
    target = port.port if port.target_port is None else port.target_port
    _, reached = case.reached
    declared = sorted({p.container_port for p in pod.spec.ports if p.protocol == port.protocol})
    if not isinstance(target, int) or reached != target or target in declared or not declared:
        return None
    number = service.spec.ports.index(port)
    at = case.at(service.key, "spec", "ports", number, "targetPort")
    have = ", ".join(map(str, declared))
    sentence = f"targetPort {target} of {name_of(service.key)}{at} is declared by no container of {name_of(pod.key)} (it declares {have}): the pod answers with RST"
    remedy = f"targetPort: {declared[0]}" if len(declared) == 1 else f"a targetPort of {have}"
    return Because(
        "target-port-number",
        name_of(service.key),
        sentence,
        remedy,
        ("nothing listens on a port that is not declared",),
    )


def no_ready_endpoint(case: Case) -> Because | None:
    """The Service selects pods, and none of them is ready: why the first one is not."""
    service = case.service
    if service is None or case.word == "delivered" or not case.selected or service.spec.type == "ExternalName":
        return None
    if any(each.ready for each in case.backends) or any(each.ready and not each.terminating for each in case.selected):
        return None
    pods = case.selected
    found = Counter(why_not_ready(case, each).cause for each in pods)
    commonest = found.most_common(1)[0][0]
    first = next(because for each in pods if (because := why_not_ready(case, each)).cause == commonest)
    if len(pods) == 1:
        sentence = f"the only pod of {name_of(service.key)} is not ready: {first.sentence}"
    else:
        sentence = f"none of the {len(pods)} pods of {name_of(service.key)} is ready; {first.sentence}"
    return first._replace(sentence=sentence)


def stale_slice(case: Case) -> Because | None:
    """An EndpointSlice lists what the controller would not write."""
    service = case.service
    if service is None or case.word == "delivered":
        return None
    found = [*differences(case.store, service)]
    backend = case.backend
    about = [each for each in found if backend is not None and each.address == backend.address]
    if backend is None and not any(each.ready for each in case.backends):
        about = [
            each
            for each in found
            if not each.slice or any(p.ready and p.status.pod_ip == each.address for p in case.selected)
        ]
    if not about:
        return None
    first = about[0]
    name = f"endpointslice/{service.namespace}/{first.slice}" if first.slice else name_of(service.key)
    at = ""
    if first.slice:
        at = case.at(Key("endpointslice", service.namespace, first.slice), "endpoints")
    sentence = f"{name}{at} {first.what}"
    remedy = "the EndpointSlice controller writes it anew; look whether kube-controller-manager runs"
    return Because("stale-slice", name, sentence, remedy)


def endpoint_without_pod(case: Case) -> Because | None:
    """A Service without a selector has an endpoint, written by hand, that answers nothing."""
    service, backend = case.service, case.backend
    if service is None or service.spec.selector or backend is None or case.word == "delivered":
        return None
    if backend.pod is not None or case.receiving_node is not None:
        return None
    name = name_of(backend.slice.key)
    sentence = f"{name}{case.at(backend.slice.key, 'endpoints')} lists {backend.address}:{backend.port}, which neither a pod nor a node has"
    return Because(
        "endpoint-unreachable",
        name,
        sentence,
        "an endpoint that answers",
        ("what is outside of the cluster is not in the export",),
    )


def no_local_endpoint(case: Case) -> Because | None:
    """A traffic policy Local, and no endpoint on the node that decides."""
    service = case.service
    if service is None or case.word == "delivered" or not any(each.ready for each in case.backends):
        return None
    inside = case.by in ("clusterIP", "name")
    policy = service.spec.internal_traffic_policy if inside else service.spec.external_traffic_policy
    field = "internalTrafficPolicy" if inside else "externalTrafficPolicy"
    if policy != "Local" or case.flow.dnat:
        return None
    nodes = sorted({each.node for each in case.backends if each.ready})
    deciding = next((each.netns for each in case.flow.losses), "")
    if deciding not in case.places.nodes or deciding in nodes:  # lost before any node, or by something else there
        return None
    sentence = f"spec.{field} of {name_of(service.key)}{case.at(service.key, 'spec', field)} is Local, and node/{deciding} has no endpoint of it: they are on {', '.join(nodes)}"
    return Because(
        "no-local-endpoint",
        name_of(service.key),
        sentence,
        f"{field}: Cluster, an endpoint on each node, or a node that has one",
    )


def source_ranges(case: Case) -> Because | None:
    """loadBalancerSourceRanges does not hold the client's address."""
    service = case.service
    ranges = service.spec.load_balancer_source_ranges if service is not None else ()
    if service is None or not ranges or case.word == "delivered" or case.by not in ("loadBalancer", "nodePort"):
        return None
    sender = next((each.addr for each in case.flow.client.addresses if each.device.name != "lo"), 0)
    try:
        if any(sender in Prefix.parse(each) for each in ranges if ":" not in each):
            return None
    except InputError:
        return None
    at = case.at(service.key, "spec", "loadBalancerSourceRanges")
    sentence = f"spec.loadBalancerSourceRanges {', '.join(ranges)} of {name_of(service.key)}{at} does not hold the client's address {ip4_text(sender)}"
    return Because("source-ranges", name_of(service.key), sentence, f"a range that holds {ip4_text(sender)}")


def headless_port(case: Case) -> Because | None:
    """A headless Service: the client comes to the pod itself, so that port and targetPort do not differ without effect."""
    service, port = case.service, case.service_port
    if service is None or port is None or not service.spec.headless or case.word != "refused":
        return None
    target = port.target_port
    listens = {b.port for b in case.backends}
    if target in (None, port.port) or port.port in listens:
        return None
    at = case.at(service.key, "spec", "ports", service.spec.ports.index(port))
    sentence = f"{name_of(service.key)}{at} is headless: nothing translates port {port.port} to targetPort {target}, and the pods listen on {', '.join(map(str, sorted(listens)))}"
    return Because(
        "headless",
        name_of(service.key),
        sentence,
        f"a client that asks for port {min(listens, default=0)}, or a clusterIP",
    )


def headless_without_port(case: Case) -> Because | None:
    """A headless Service has no clusterIP to send to."""
    service = case.service
    if service is None or not service.spec.headless or case.word == "delivered" or case.service_port is not None:
        return None
    sentence = f"{name_of(service.key)}{case.at(service.key, 'spec', 'clusterIP')} is headless, and the port that was asked for is none of its ports"
    return Because("headless", name_of(service.key), sentence, "a port of the Service, or of the pods")


def affinity(case: Case) -> Because | None:
    """sessionAffinity ClientIP keeps a client at an endpoint that does not answer."""
    service = case.service
    if service is None or service.spec.session_affinity != "ClientIP" or case.word == "delivered":
        return None
    met = {each.dnat.rpartition(" ")[2] for each in case.flows if each.dnat}
    ready = [each for each in case.backends if each.ready]
    if len(met) != 1 or len(ready) < 2 or len(case.flows) < 2:
        return None
    seconds = service.spec.session_affinity_config.client_ip.timeout_seconds
    at = case.at(service.key, "spec", "sessionAffinity")
    sentence = f"spec.sessionAffinity of {name_of(service.key)}{at} is ClientIP: every connection of the client goes to {met.pop()}, which does not answer, for {seconds} s after its last one"
    return Because(
        "affinity",
        name_of(service.key),
        sentence,
        "sessionAffinity: None, or an endpoint that is taken out when it does not answer",
    )


def cluster_ip_ping(case: Case) -> Because | None:
    """kube-proxy in mode iptables or nftables answers no echo request at a clusterIP."""
    service = case.service
    if service is None or case.flow.kind != "ping" or case.word == "delivered" or case.by != "clusterIP":
        return None
    sentence = f"{name_of(service.key)}{case.at(service.key, 'spec', 'clusterIP')} has its clusterIP in kube-proxy's rules only, for {_ports(service)}: in mode iptables nothing answers a ping"
    return Because(
        "kube-proxy-mode",
        name_of(service.key),
        sentence,
        f"a port, as in svc/{service.name}.{service.namespace}:{service.spec.ports[0].port if service.spec.ports else 80}",
    )


def inside_only(case: Case) -> Because | None:
    """A host outside asks for a clusterIP, which exists in the rules of the cluster's nodes alone."""
    service = case.service
    if service is None or case.by not in ("clusterIP", "name") or case.word == "delivered" or case.flow.dnat:
        return None
    if case.client is not None or case.source.removeprefix("node/") in case.places.nodes or not case.flow.target.addr:
        return None
    at = case.at(service.key, "spec", "type")
    sentence = f"{case.source} is outside of the cluster, and the clusterIP {service.spec.cluster_ip} of {name_of(service.key)}{at} exists in its nodes' rules alone"
    given = [each.ip for each in service.status.load_balancer.ingress if each.ip] + [*service.spec.external_ips]
    node_port = next((each.node_port for each in service.spec.ports if each.node_port), 0)
    remedy = given[0] if given else f"port {node_port} of a node" if node_port else "type NodePort or LoadBalancer"
    return Because("inside-only", name_of(service.key), sentence, remedy)


def no_such_port(case: Case) -> Because | None:
    """The clusterIP is asked for a port that the Service does not have."""
    service = case.service
    if (
        service is None
        or case.service_port is not None
        or case.by != "clusterIP"
        or case.flow.dnat
        or case.flow.kind == "ping"
    ):
        return None
    if case.word == "delivered" or service.spec.headless:
        return None
    sentence = f"port {case.flow.target.port}/{case.flow.kind.upper()} is none of {name_of(service.key)}{case.at(service.key, 'spec', 'ports')}: it has {_ports(service)}"
    return Because("service-port", name_of(service.key), sentence, "one of its ports")


def _ports(service: Service) -> str:
    return ", ".join(f"{each.port}/{each.protocol}" for each in service.spec.ports) or "no port"


def terminating(case: Case) -> Because | None:
    """Only pods that end are left, and they do not serve any more."""
    service = case.service
    if (
        service is None
        or case.word == "delivered"
        or not case.selected
        or not all(each.terminating for each in case.selected)
    ):
        return None
    pod = case.selected[0]
    at = case.at(pod.key, "metadata", "deletionTimestamp")
    sentence = f"every pod of {name_of(service.key)} ends, and serves no more: {of_pod(pod)} has the deletionTimestamp {pod.metadata.deletion_timestamp}{at}"
    return Because("terminating", name_of(pod.key), sentence, "a ready pod: look at the workload that owns it")
