"""Ends of flows as people write them, turned into references of `ends.py`: workloads, DNS names, Services without a port, addresses.

`deploy/web`, `shop/web`, `web.shop:80`, `web.shop.svc.cluster.local`, `svc/web`, `10.244.1.60`, `10.0.1.13:31234/tcp`. Must not know flows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from emu.errors import InputError
from emu.kube.api.apps import DaemonSet, Deployment, ReplicaSet, StatefulSet
from emu.kube.api.batch import CronJob, Job, ReplicationController
from emu.kube.api.core import Pod, Service
from emu.kube.api.kinds import kind_named
from emu.kube.api.meta import Object
from emu.kube.flow.ends import Places, by_name
from emu.modelled import nearest
from emu.wire.addr import ip4

WORKLOADS: tuple[type[Object], ...] = (
    Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job, CronJob,
)  # fmt: skip
DNS_NAMESPACE, DNS_SERVICE, DNS_LABELS = "kube-system", "kube-dns", {"k8s-app": "kube-dns"}
PROTOCOLS = ("tcp", "udp", "icmp")
_ADDRESS = re.compile(r"\d+(\.\d+){3}")


class Written(NamedTuple):
    """`ref` is for `ends.py`; `protocol` is the one that was written behind a slash, or ""; `meant` is a sentence where one of several was
    chosen."""

    ref: str
    protocol: str = ""
    meant: str = ""


def is_address(text: str) -> bool:
    return _ADDRESS.fullmatch(text) is not None


def pod(places: Places, text: str, namespace: str = "default") -> str:
    """A pod of the workload that a text names, as `deploy/web`, or "" where it names none. Raises InputError."""
    kind, slash, name = text.partition("/")
    return _pod(places, kind, name, namespace).ref if slash and _workload(kind) else ""


def pod_of_workload(places: Places, text: str, namespace: str = "default") -> Pod | None:
    """The pod that the name of a workload means, whether it runs or not; None where it has none, or no workload is named."""
    kind, slash, name = text.partition("/")
    word = _workload(kind) if slash else ""
    where, name = (namespace, name) if word else (kind, name) if slash else (namespace, text)
    return next(iter(_sorted(places, _owned(places, where, name, word))), None)


def source(places: Places, text: str, namespace: str = "default") -> Written:
    """The sender. Raises InputError."""
    if text in places.namespaces:
        return Written(text)
    if _ADDRESS.fullmatch(text):
        return Written(_at(places, text))
    kind, slash, name = text.partition("/")
    if not slash:
        if kind in ("external", "localhost"):
            return Written(text)
        kind, name = namespace, text
    if kind in ("node", "external"):
        return Written(text)
    return _pod(places, kind, name, namespace)


def target(places: Places, text: str, namespace: str = "default", protocol: str = "") -> Written:
    """The receiver. `protocol` is the one that is asked for by other means; with icmp no port is needed. Raises InputError."""
    text, slash, last = _split(text)
    protocol = last if slash else protocol
    if by_name(text) is not None:
        return Written(text, protocol)
    place, colon, port = text.rpartition(":")
    if not colon:
        place, port = text, ""
    end = f":{port}" if colon else ""
    if _ADDRESS.fullmatch(place) or place in ("external", "localhost"):
        return Written(text.replace("localhost", "127.0.0.1", 1), protocol)
    kind, slash, name = place.partition("/")
    if slash and kind in ("node", "external"):
        return Written(text, protocol)
    if slash and kind in ("svc", "service", "services"):
        return _service(places, name, namespace, port, protocol)
    if not slash and "." in place:
        return _dns(places, place, port, protocol)
    if not slash:
        kind, name = namespace, place
    if f"{kind}/{name}" not in places.pods and places.store.get(Service, kind, name) is not None:
        if not any(_owned(places, kind, name)):
            return _service(places, f"{name}.{kind}", namespace, port, protocol)
    found = _pod(places, kind, name, namespace)
    if not colon and protocol != "icmp":
        end = _only_port(places, found.ref)
    return Written(f"{found.ref}{end}", protocol, found.meant)


def _split(text: str) -> tuple[str, str, str]:
    """`web:80/udp` is `web:80` and udp."""
    head, slash, last = text.rpartition("/")
    if slash and last.lower() in PROTOCOLS and head:
        return head, slash, last.lower()
    return text, "", ""


def _at(places: Places, text: str) -> str:
    """Who has an address."""
    addr = ip4(text)
    for name, pod in places.pods.items():
        if pod.ip == addr and not pod.host_network:
            return name
    for name, node in places.nodes.items():
        if node.ip == addr:
            return f"node/{name}"
    for name in places.namespaces:
        if name in places.pods:
            continue
        net = places.nodes[name].root if name in places.nodes else places.namespaces[name]
        if any(each.addr == addr for each in net.ipv4.addresses):
            return name
    for service in places.store.list(Service):
        if text in (service.spec.cluster_ip, *service.spec.external_ips):
            raise InputError(f"{text} is the address of {service.key}, which sends nothing", expected="a pod or a node")
    raise InputError(f"nothing has the address {text}", expected="the address of a pod, a node or a host outside")


# -- pods ------------------------------------------------------------------------------------------------


def _pod(places: Places, kind: str, name: str, namespace: str) -> Written:
    """`NS/POD`, `pod/NAME`, `KIND/NAME`, and `NS/NAME` of a workload."""
    word = _workload(kind)
    if word:
        return _one(places, f"{kind}/{name}", namespace, name, word)
    if kind in ("pod", "po", "pods"):
        if "/" not in name and f"{namespace}/{name}" in places.pods:
            return Written(f"{namespace}/{name}")
        return Written(f"pod/{name}")
    if f"{kind}/{name}" in places.pods or any(letter in name for letter in "*?["):
        return Written(f"{kind}/{name}")
    if any(_owned(places, kind, name)):
        return _one(places, f"{kind}/{name}", kind, name)
    if places.store.get(Pod, kind, name) is not None:
        return Written(f"{kind}/{name}")
    if any(_named(places, kind, name)):
        return _one(places, f"{kind}/{name}", kind, name)
    raise _unknown(places, kind, name)


def _workload(word: str) -> str:
    """The kind of workload that a word names, "" for none."""
    try:
        kind = kind_named(word)
    except InputError:
        return ""
    return kind if kind in {each.__name__.lower() for each in WORKLOADS} else ""


def _named(places: Places, namespace: str, name: str, kind: str = "") -> Iterator[Object]:
    """The workloads of a name, of one kind or of any."""
    for each in WORKLOADS:
        if not kind or each.__name__.lower() == kind:
            found = places.store.get(each, namespace, name)
            if found is not None:
                yield found


def _owned(places: Places, namespace: str, name: str, kind: str = "") -> Iterator[Pod]:
    """The pods of the workloads of a name, by their owners' owners."""
    uids = {each.metadata.uid for each in _named(places, namespace, name, kind)}
    if not uids:
        return
    for middle in (ReplicaSet, Job):
        for each in places.store.list(middle, namespace):
            if each.metadata.controller is not None and each.metadata.controller.uid in uids:
                uids.add(each.metadata.uid)
    for pod in places.store.list(Pod, namespace):
        if pod.metadata.controller is not None and pod.metadata.controller.uid in uids:
            yield pod


def _sorted(places: Places, pods: Iterable[Pod]) -> list[Pod]:
    """Those that run before others, ready ones before others, then by name."""
    return sorted(
        pods, key=lambda each: (f"{each.namespace}/{each.name}" not in places.pods, not each.ready, each.name)
    )


def _one(places: Places, text: str, namespace: str, name: str, kind: str = "") -> Written:
    """One of the pods of a workload. Raises InputError."""
    found = _sorted(places, _owned(places, namespace, name, kind))
    if not found:
        there = [*_named(places, namespace, name, kind)]
        if not there:
            raise _unknown(places, namespace, name, text)
        why = next((word for each in there if (word := _without_pods(each))), "")
        raise InputError(
            f"{text} has no pod now" + (f": {why}" if why else ""), expected="a workload with a pod, or a pod"
        )
    pod = f"{found[0].namespace}/{found[0].name}"
    return Written(pod, "", f"{text} is pod {pod}, one of {len(found)}" if len(found) > 1 else "")


def _without_pods(workload: Object) -> str:
    """Why a workload has no pod, as far as its object states it."""
    match workload:
        case CronJob():
            return f'its schedule is "{workload.spec.schedule}"' + (", suspended" if workload.spec.suspend else "")
        case Job() if workload.finished:
            ended = next(each.type for each in workload.status.conditions if each.type in ("Complete", "Failed"))
            return f"it has ended ({ended}), and its pods are gone"
        case Job() if workload.spec.suspend:
            return "it is suspended"
        case Deployment() | StatefulSet() | ReplicaSet() | ReplicationController() if not workload.spec.replicas:
            return "spec.replicas is 0"
    return ""


def _only_port(places: Places, ref: str) -> str:
    """`:PORT` of a pod that declares one TCP port; "" for others, for which a ping is meant."""
    namespace, _, name = ref.partition("/")
    pod = places.store.get(Pod, namespace, name)
    ports = {each.container_port for each in pod.spec.ports if each.protocol == "TCP"} if pod is not None else set()
    return f":{ports.pop()}" if len(ports) == 1 else ""


def _unknown(places: Places, namespace: str, name: str, text: str = "") -> InputError:
    """The error for a name that nothing has: with the same name in another namespace, or a similar one."""
    services = [(each.namespace, each.name, f"svc/{each.name}.{each.namespace}") for each in places.store.list(Service)]
    workloads = [
        (each.namespace, each.name, f"{each.namespace}/{each.name}")
        for kind in WORKLOADS
        for each in places.store.list(kind)
    ]
    pods = [(*each.split("/", 1), each) for each in places.pods if "/" in each]
    known = [*services, *workloads, *pods]
    same = next((ref for _, other, ref in known if other == name), "")
    near = nearest(name, [other for where, other, _ in known if where == namespace])
    near = same or next((ref for where, other, ref in known if (where, other) == (namespace, near)), "")
    return InputError(
        f'no workload is called "{text}" in namespace {namespace}'
        if text
        else f'no pod, workload or Service is called "{namespace}/{name}"',
        expected=f'"{near}"?' if near else "NS/POD, deploy/NAME, svc/NAME:PORT, a DNS name or an address",
    )


# -- Services ----------------------------------------------------------------------------------------------


def _service(places: Places, name: str, namespace: str, port: str, protocol: str) -> Written:
    """A Service without a port is meant by its only one; a ping needs none."""
    short, dot, rest = name.partition(".")
    where = rest.partition(".")[0] if dot else namespace
    ref = f"svc/{short}.{where}" if where != "default" else f"svc/{short}"
    service = places.store.get(Service, where, short)
    if port or protocol == "icmp" or service is None:
        return Written(f"{ref}:{port}" if port else ref, protocol or _protocol(service, port))
    ports = service.spec.ports
    if len(ports) != 1:
        listed = ", ".join(f"{ref}:{each.port}" for each in ports) or "a Service with ports"
        raise InputError(f'"svc/{name}" has {len(ports)} ports', expected=listed)
    return Written(f"{ref}:{ports[0].port}", protocol or ports[0].protocol.lower())


def _protocol(service: Service | None, port: str) -> str:
    """The protocol of a port that has one alone: `svc/kube-dns:53` may be either."""
    if service is None:
        return ""
    found = {each.protocol for each in service.spec.ports if port in (str(each.port), each.name)}
    return found.pop().lower() if len(found) == 1 else ""


def _has_dns(places: Places) -> bool:
    """Whether anything of the cluster's DNS is there: its Service, or its pods."""
    store = places.store
    return bool(store.get(Service, DNS_NAMESPACE, DNS_SERVICE) or store.list(Pod, DNS_NAMESPACE, DNS_LABELS))


def _dns(places: Places, name: str, port: str, protocol: str) -> Written:
    """A DNS name that the client looks up. Of a Service with one port the port may be left out. Where the objects have no DNS at all, as
    the manifests of one application, a Service's name means the Service."""
    short, _, rest = name.partition(".")
    where, _, suffix = rest.partition(".")
    service = places.store.get(Service, where, short)
    if service is not None and suffix.split(".")[0] in ("", "svc") and not _has_dns(places):
        found = _service(places, f"{short}.{where}", where, port, protocol)
        return found._replace(meant=f"no DNS is among the objects: {name} is taken for {service.key}")
    if not port and protocol != "icmp":
        if service is not None and len(service.spec.ports) == 1:
            port = str(service.spec.ports[0].port)
            protocol = protocol or service.spec.ports[0].protocol.lower()
    return Written(f"name:{name}:{port}" if port else f"name:{name}", protocol)
