"""One question with all that is known of it: the flow that was run, the Service, its endpoints, the pods at both ends.

Must not know causes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from emu.kube.api.core import Node, Pod, Service, ServicePort
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.meta import Key, Path, selects
from emu.kube.dumped import Difference
from emu.kube.flow.ends import Places
from emu.kube.flow.flow import Flow
from emu.kube.flow.lookup import NameFiles
from emu.kube.front_ends import service_of
from emu.kube.live.remarks import state
from emu.kube.policy.dataplane import Dataplane
from emu.kube.store import Store
from emu.trail import Dropped
from emu.wire.addr import ip4_text

Line = Callable[[Key, Path], str]
"""`dump.yaml:812` of a field of an object, "" where that is not known."""


class Asked(Places, Protocol):
    """A cluster that sends. `warnings` is what was assumed, or is not modelled; `differences` is what its nodes' dumps have otherwise."""

    warnings: list[str]
    differences: list[Difference]
    policy: Dataplane | None

    @property
    def name_files(self) -> NameFiles: ...

    def tcp(self, source: str, to: str, send: bytes = ..., *, port: int = ..., timeout_s: float = ...) -> Flow: ...
    def udp(self, source: str, to: str, send: bytes = ..., *, port: int = ..., timeout_s: float = ...) -> Flow: ...
    def ping(self, source: str, to: str, *, size: int = ..., timeout_s: float = ...) -> Flow: ...


class Because(NamedTuple):
    """What decided. `object` is the one at fault, as `kind/namespace/name`; `sentence` is in the field's words, `remedy` is what would change
    the outcome; `assumed` is what this rests on besides."""

    cause: str
    object: str
    sentence: str
    remedy: str
    assumed: tuple[str, ...] = ()


class Backend(NamedTuple):
    """An endpoint of the Service's port. `pod` None: no pod has the address."""

    address: str
    port: int
    ready: bool
    slice: EndpointSlice
    pod: Pod | None
    node: str
    serving: bool = True
    terminating: bool = False


class Seen:
    """What there is without a flow: the objects, and where each was written."""

    def __init__(self, store: Store, line: Line) -> None:
        self.store, self.line = store, line

    def at(self, key: Key, *path: str | int) -> str:
        """` (dump.yaml:812)` behind a field, "" where no file is known."""
        place = self.line(key, path)
        return f" ({place})" if place else ""


class Case(Seen):
    """`flow` is the one that decides: the first that was not delivered, if there is one. `service_port` None with a `service`: none of
    its ports was asked for. `address` is the one that the client sent to, in words."""

    def __init__(
        self,
        places: Asked,
        target: str,
        flows: list[Flow],
        line: Line,
        service: Service | None = None,
        service_port: ServicePort | None = None,
        by: str = "clusterIP",
    ) -> None:
        super().__init__(places.store, line)
        self.places, self.target, self.flows = places, target, flows
        self.flow = next((each for each in flows if not each.delivered), flows[0])
        self.source = self.flow.source
        self.service, self.service_port, self.by = service, service_port, by
        self.backends = [] if service is None else backends_of(places.store, service, service_port)

    @property
    def policed(self) -> bool:
        """Whether policies are enforced, or what enforces them is not modelled."""
        return self.places.policy is None or bool(self.places.policy.kinds)

    @property
    def client(self) -> Pod | None:
        """The pod that sends."""
        return self.pod(self.source)

    def pod(self, name: str) -> Pod | None:
        namespace, slash, rest = name.partition("/")
        return self.store.get(Pod, namespace, rest) if slash else None

    @property
    def word(self) -> str:
        return self.flow.outcome.word

    @property
    def rule(self) -> str:
        return self.flow.outcome.by

    @property
    def selected(self) -> list[Pod]:
        """The pods that the Service's selector matches, but those that have ended."""
        return [] if self.service is None else selected(self.store, self.service)

    @property
    def backend(self) -> Backend | None:
        """The endpoint that the deciding flow was sent to."""
        to = self.reached
        return next((each for each in self.backends if (each.address, each.port) == to), None)

    @property
    def reached(self) -> tuple[str, int]:
        """The address and port behind the last DNAT, else the target's."""
        after = [each.after for each in self.flow.translations if each.kind == "DNAT"]
        addr, port = after[-1] if after else (self.flow.target.addr, self.flow.target.port)
        return ip4_text(addr), port

    @property
    def receiver(self) -> Pod | None:
        """The pod that has the address which the packet was sent to; of several on a node's own network one that has the port."""
        address, port = self.reached
        found = [each for each in self.store.index(Pod, _address_of).of(address) if not each.finished]
        declaring = (each for each in found if any(p.container_port == port for p in each.spec.ports))
        return next(declaring, found[0] if len(found) == 1 else None)

    @property
    def receiving_node(self) -> Node | None:
        """The node with that address, or the node of the pod."""
        address, _ = self.reached
        pod = self.receiver
        for node in self.store.list(Node):
            if pod is not None and pod.spec.node_name == node.name:
                return node
            if any(each.address == address for each in node.status.addresses):
                return node
        return None

    def losses(self, *reasons: str) -> Iterator[Dropped]:
        """The drops of the flow for one of these reasons."""
        return (each for each in self.flow.losses if each.reason in reasons)


def name_of(key: Key) -> str:
    """`service/shop/cart`, with the namespace in any case."""
    return f"{key.kind}/{key.namespace}/{key.name}" if key.namespace else f"{key.kind}/{key.name}"


def selected(store: Store, service: Service) -> list[Pod]:
    """The pods that a Service selects, but those that have ended."""
    if not service.spec.selector:
        return []
    return [each for each in store.list(Pod, service.namespace, service.spec.selector) if not each.finished]


def backends_of(store: Store, service: Service, port: ServicePort | None) -> list[Backend]:
    """The endpoints that slices list for a port of a Service (all ports: None), in their order."""
    at = store.index(Pod, _address_of)
    found = []
    for slice in store.index(EndpointSlice, service_of).of((service.namespace, service.name)):
        if slice.address_type != "IPv4":
            continue
        for one in slice.ports:
            if port is not None and ((one.name or "") != port.name or one.protocol != port.protocol):
                continue
            for endpoint in slice.endpoints:
                ready, conditions = endpoint.conditions.ready is not False, endpoint.conditions
                for address in endpoint.addresses:
                    there = [each for each in at.of(address) if not each.finished]
                    mine = [each for each in there if each.namespace == service.namespace]
                    mine = [each for each in mine if selects(service.spec.selector, each.metadata.labels)]
                    pod = next(reversed(mine or there), None)
                    found.append(
                        Backend(
                            address, one.port or 0, ready, slice, pod, endpoint.node_name or "",
                            conditions.serving is not False if conditions.serving is not None else ready,
                            conditions.terminating is True,
                        )
                    )  # fmt: skip
    return found


def _address_of(pod: Pod) -> tuple[str, ...]:
    """A key of an index: a pod's address."""
    return (pod.status.pod_ip,) if pod.status.pod_ip else ()


def of_pod(pod: Pod) -> str:
    """A pod with its state, as `pod/shop/cart-1 (CrashLoopBackOff)`."""
    return f"{name_of(pod.key)} ({state(pod)})"
