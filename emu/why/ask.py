"""Runs the flows of a question: once for a pod, several times for a Service, until every endpoint was met.

Must not know causes.
"""

from __future__ import annotations

from collections.abc import Iterator

from emu import craft
from emu.kube.api.core import Namespace, Pod, Service, ServicePort
from emu.kube.flow import spoken
from emu.kube.flow.ends import by_name
from emu.kube.flow.flow import Flow
from emu.kube.flow.outcome import Outcome
from emu.why.case import Asked, Case, Line, backends_of
from emu.wire.addr import ip4, ip4_text
from emu.wire.dns import Question

CONTENTS = b"GET /emu-why HTTP/1.0\r\n\r\n"  # what a server of HTTP answers, and any that echoes
DNS_PORTS = ("53", "dns", "dns-tcp")
REFUSED, NODATA = "REFUSED", "NODATA"
"""What the cluster's DNS answers for names that it would forward, and has no server to forward to; with NODATA comes the CNAME of an ExternalName."""
TRIES, PATIENCE_S = 24, 5.0  # flows to a Service at the most, and how long each waits


def ask(
    places: Asked,
    source: str,
    target: str,
    *,
    namespace: str = "default",
    protocol: str = "",
    sport: int = 0,
    size: int = 0,
    line: Line = lambda key, path: "",
) -> tuple[Case, list[str]]:
    """The case, and what was meant by the ends where one of several was chosen. `protocol` is tcp, udp, icmp or "" (that of the port,
    else tcp; icmp without a port). `size` is bytes of data, 0 for a few. Raises InputError for ends that are not there."""
    sender = spoken.source(places, source, namespace)
    receiver = spoken.target(places, target, namespace, protocol)
    meant = [each.meant for each in (sender, receiver) if each.meant]
    kind = receiver.protocol or ("tcp" if _has_port(receiver.ref) else "icmp")
    service, port, by = _service(places, receiver.ref, kind)
    refs = [receiver.ref]
    if service is not None and service.spec.cluster_ip == "None" and by_name(receiver.ref) is None:
        refs = [*_headless(places, service, port)] or [_name(service, port)]
    elif service is not None and service.spec.type == "ExternalName" and by_name(receiver.ref) is None:
        refs = [_name(service, port)]
    flows: list[Flow] = []
    for ref in refs:
        flows += _run(places, sender.ref, ref, kind, sport, size, 1 if len(refs) > 1 or sport else TRIES, service, port)
    decides = next((each for each in flows if each.outcome.word != "delivered"), flows[0])
    _outside(places, decides)
    if service is None and decides.target.addr:
        service, port, by = _at(places, decides.target.addr, decides.target.port, kind)
    return Case(places, target, flows, line, service, port, by), meant


def _outside(places: Asked, flow: Flow) -> None:
    """The outcome of a flow to a name of outside is undecided where no server for such names is modelled. A name whose last part is a
    namespace is rather a Service's, written wrong."""
    found = flow.resolved
    if found is None or found.error not in (REFUSED, NODATA):
        return
    name = found.name.rstrip(".")
    namespaces = {each.name for each in places.store.list(Namespace)} | {
        each.namespace for each in places.store.list(Service)
    }
    alias = _alias(places, name)
    if found.error == NODATA and not alias:
        return
    name = alias or name
    if "." in name and name.rpartition(".")[2] not in (*namespaces, "svc", "local"):
        flow.outcome = Outcome("undecided", f"what servers outside answer for {name} is not known")


def _alias(places: Asked, name: str) -> str:
    """The name of outside that a Service of type ExternalName stands for, "" for any other name."""
    first, _, rest = name.partition(".")
    service = places.store.get(Service, rest.removesuffix(".cluster.local").removesuffix(".svc"), first)
    return service.spec.external_name.rstrip(".") if service is not None else ""


def case_of(places: Asked, target: str, ref: str, flow: Flow, line: Line = lambda key, path: "") -> Case:
    """The case of one flow that was run already, to `target` as it was written and to the reference `ref`."""
    kind = "icmp" if flow.kind == "ping" else flow.kind
    service, port, by = _service(places, ref, kind)
    if service is None and flow.target.addr:
        service, port, by = _at(places, flow.target.addr, flow.target.port, kind)
    _outside(places, flow)
    return Case(places, target, [flow], line, service, port, by)


def _run(
    places: Asked,
    source: str,
    ref: str,
    kind: str,
    sport: int,
    size: int,
    most: int,
    service: Service | None,
    port: ServicePort | None,
) -> Iterator[Flow]:
    """Flows until each ready endpoint of the Service was met, or the first one where there is none or one to meet."""
    listed = (
        {each.address for each in backends_of(places.store, service, port) if each.ready}
        if service is not None
        else set()
    )
    met: set[str] = set()
    for number in range(most):
        flow = send(places, source, ref, kind, sport, size)
        yield flow
        met |= {ip4_text(each.after[0]) for each in flow.translations if each.kind == "DNAT"}
        if len(listed) < 2 or listed <= met or (number + 1 >= 2 * len(listed) and number + 1 >= 8 and not met):
            return


def send(places: Asked, source: str, ref: str, kind: str, sport: int = 0, size: int = 0) -> Flow:
    """One flow: to port 53 a question of DNS, which is what such a server answers, else some data."""
    data = CONTENTS if not size else (CONTENTS * (size // len(CONTENTS) + 1))[:size]
    if kind in ("tcp", "udp") and ref.rpartition(":")[2] in DNS_PORTS and not size:
        data = craft.dns_query(Question("kubernetes.default.svc.cluster.local.", "A"), 1)
        if kind == "tcp":
            data = len(data).to_bytes(2, "big") + data  # RFC 1035 4.2.2
    if kind == "tcp":
        return places.tcp(source, ref, data, port=sport, timeout_s=PATIENCE_S)
    if kind == "udp":
        return places.udp(source, ref, data, port=sport, timeout_s=PATIENCE_S)
    return places.ping(
        source, ref if by_name(ref) is not None else ref.partition(":")[0], size=size or 56, timeout_s=PATIENCE_S
    )


def _has_port(ref: str) -> bool:
    named = by_name(ref)
    return bool(named.port) if named is not None else ":" in ref


def _service(places: Asked, ref: str, kind: str) -> tuple[Service | None, ServicePort | None, str]:
    """The Service and the port that a reference names."""
    named = by_name(ref)
    if named is not None:
        parts = named.host.rstrip(".").split(".")
        service = places.store.get(Service, parts[1], parts[0]) if len(parts) > 1 else None
        return service, _port(service, str(named.port), kind), "name"
    if ref.startswith("svc/"):
        place, _, port = ref[4:].partition(":")
        name, _, namespace = place.partition(".")
        service = places.store.get(Service, namespace or "default", name)
        return service, _port(service, port, kind), "clusterIP"
    place, _, port = ref.partition(":")
    if place.replace(".", "").isdigit() and place.count(".") == 3:
        return _at(places, ip4(place), int(port) if port.isdigit() else 0, kind)
    if place.startswith("node/") and port.isdigit():
        node = places.nodes.get(place[5:])
        return _at(places, node.ip, int(port), kind) if node is not None else (None, None, "")
    return None, None, ""


def _at(places: Asked, addr: int, port: int, kind: str) -> tuple[Service | None, ServicePort | None, str]:
    """The Service that serves an address and port: its clusterIP, an external address, or a NodePort of a node."""
    text = ip4_text(addr)
    for service in places.store.list(Service):
        given = [each.ip for each in service.status.load_balancer.ingress]
        for by, addresses in (
            ("clusterIP", (service.spec.cluster_ip, *service.spec.cluster_ips)),
            ("externalIPs", service.spec.external_ips),
            ("loadBalancer", tuple(given) if service.spec.type == "LoadBalancer" else ()),
        ):
            if text in addresses:
                return service, _port(service, str(port), kind), by
        if any(node.ip == addr for node in places.nodes.values()):
            for each in service.spec.ports:
                if each.node_port == port and each.protocol.lower() == kind:
                    return service, each, "nodePort"
    return None, None, ""


def _port(service: Service | None, port: str, kind: str) -> ServicePort | None:
    if service is None:
        return None
    fitting = (each for each in service.spec.ports if port in (str(each.port), each.name))
    return next((each for each in fitting if each.protocol.lower() == kind), None)


def _headless(places: Asked, service: Service, port: ServicePort | None) -> Iterator[str]:
    """The pods behind a headless Service, as its DNS name gives them: a client comes to each by its address, at the Service's port."""
    for each in backends_of(places.store, service, port):
        if each.ready or service.spec.publish_not_ready_addresses:
            yield f"{each.address}:{port.port if port is not None else each.port}"


def _name(service: Service, port: ServicePort | None) -> str:
    end = f":{port.port}" if port is not None else ""
    return f"name:{service.name}.{service.namespace}.svc.cluster.local{end}"


def idle(places: Asked, text: str, namespace: str = "default") -> Pod | None:
    """The pod that an end names, or that is all that a workload has, and that does not run, so that nothing can be sent from or to it."""
    place = text.partition(":")[0]
    kind, slash, rest = place.partition("/")
    name = (namespace, kind) if not slash else (namespace, rest) if kind in ("pod", "po") else (kind, rest)
    pod = places.store.get(Pod, *name) or spoken.pod_of_workload(places, place, namespace)
    return pod if pod is not None and f"{pod.namespace}/{pod.name}" not in places.pods else None
