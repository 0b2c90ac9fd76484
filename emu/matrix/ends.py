"""Who asks, and what is asked for: pods by their owners, nodes and the outside as rows, the ports of Services as columns.

Must not know flows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, Protocol, TypeVar

from emu.capture.capture import Capture
from emu.clock import Clock
from emu.errors import InputError
from emu.kube.api.apps import ReplicaSet
from emu.kube.api.batch import Job
from emu.kube.api.core import Pod, Service, ServicePort
from emu.kube.front_ends import outer_addresses
from emu.kube.policy.index import PolicyIndex
from emu.kube.store import Store
from emu.kube.underlay.shape import Layout
from emu.modelled import nearest
from emu.why.case import Asked

E = TypeVar("E")
EXTERNAL, NODES, BARE = "external", "nodes", "Pod"
OUTER = ("nodePort", "loadBalancer", "externalIP")


class Policies(Protocol):
    """The policies of a running cluster."""

    @property
    def index(self) -> PolicyIndex: ...


class Outside(Protocol):
    """What is around the nodes."""

    @property
    def translates(self) -> bool:
        """Whether a node's ExternalIP becomes its own address on the way in."""
        ...


class Whole(Asked, Protocol):
    """A cluster that is asked from everywhere."""

    @property
    def underlay(self) -> Outside: ...

    @property
    def clock(self) -> Clock: ...
    @property
    def policies(self) -> Policies: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def capture(self) -> Capture | None: ...


class Row(NamedTuple):
    """A kind of source. `name` is `shop/web`, `nodes` or `external`; `kind` the owner's, `members` those that can send, by display name; `idle`
    counts pods that do not run."""

    name: str
    kind: str
    members: tuple[str, ...]
    idle: int = 0


class Column(NamedTuple):
    """A way into a port of a Service. `by` is clusterIP, headless, or one of `OUTER`; `address` is what a client sends to, "" where it depends on the
    node or the endpoint; `port` is the number that it sends to."""

    namespace: str
    service: str
    port_name: str
    number: int
    protocol: str
    by: str
    address: str
    port: int

    @property
    def name(self) -> str:
        """`shop/web:80/tcp`, with how it is reached unless that is the cluster's own way."""
        text = f"{self.namespace}/{self.service}:{self.number}/{self.protocol.lower()}"
        if self.by == "nodePort":
            return f"{text} nodePort {self.port}"
        return text if self.by in ("clusterIP", "headless") else f"{text} {self.by} {self.address}"

    def service_port(self, store: Store) -> tuple[Service, ServicePort]:
        service = store.get(Service, self.namespace, self.service)
        assert service is not None
        fitting = (each for each in service.spec.ports if (each.port, each.protocol) == (self.number, self.protocol))
        return service, next(each for each in fitting if each.name == self.port_name)


class Choice(NamedTuple):
    """What is asked: `namespace` "" is every one; `sources` and `targets` are globs of rows' and Services' names, none: all. `outer`: pods and
    nodes ask for nodePorts and outer addresses, too."""

    namespace: str = ""
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    outer: bool = False


# -- rows --------------------------------------------------------------------------------------------------


def rows_of(places: Whole, choice: Choice) -> list[Row]:
    """Owners by namespace and name, then nodes and the outside. Raises InputError where globs match none."""
    found: dict[tuple[str, str, str], tuple[list[str], list[str]]] = {}
    for pod in places.store.list(Pod):
        if pod.finished or (choice.namespace and pod.namespace != choice.namespace):
            continue
        display = f"{pod.namespace}/{pod.name}"
        running, idle = found.setdefault((pod.namespace, *_owner(places.store, pod)), ([], []))
        (running if display in places.pods else idle).append(display)
    rows = [
        Row(f"{namespace}/{name}", kind, tuple(sorted(running)), len(idle))
        for (namespace, name, kind), (running, idle) in sorted(found.items())
    ]
    rows.append(Row(NODES, "Node", tuple(places.nodes)))
    rows.append(Row(EXTERNAL, "outside", (EXTERNAL,)))
    return [*_chosen(rows, choice.sources, "source", lambda each: (each.name, each.name.partition("/")[2]))]


def _owner(store: Store, pod: Pod) -> tuple[str, str]:
    """The name and kind of the owner at the top; a bare pod owns itself. Static pods of one manifest have one owner."""
    owner = pod.metadata.controller
    if owner is None:
        return pod.name, BARE
    if owner.kind == "Node":
        return pod.name.removesuffix(f"-{pod.spec.node_name}"), "static Pod"
    middle = (ReplicaSet if owner.kind == "ReplicaSet" else Job) if owner.kind in ("ReplicaSet", "Job") else None
    above = store.get(middle, pod.namespace, owner.name) if middle is not None else None
    top = above.metadata.controller if above is not None else None
    return (top.name, top.kind) if top is not None else (owner.name, owner.kind)


# -- columns -----------------------------------------------------------------------------------------------


def columns_of(places: Whole, choice: Choice) -> list[Column]:
    """Every way into every port of every Service, by namespace and name. Raises InputError where globs match none."""
    services = [each for each in places.store.list(Service) if choice.namespace in ("", each.namespace)]
    services.sort(key=lambda each: (each.namespace, each.name))
    columns = [column for service in services for port in service.spec.ports for column in _ways(service, port)]
    return [*_chosen(columns, choice.targets, "Service", _names_of)]


def _ways(service: Service, port: ServicePort) -> Iterator[Column]:
    def way(by: str, address: str, number: int) -> Column:
        return Column(service.namespace, service.name, port.name or "", port.port, port.protocol, by, address, number)

    spec = service.spec
    if spec.type == "ExternalName":
        return
    if spec.cluster_ip == "None":
        yield way("headless", "", port.port)
        return
    if not spec.cluster_ip or ":" in spec.cluster_ip:
        return
    yield way("clusterIP", spec.cluster_ip, port.port)
    if port.node_port:
        yield way("nodePort", "", port.node_port)
    for address in dict.fromkeys(outer_addresses(service)):
        by = "externalIP" if address in spec.external_ips else "loadBalancer"
        yield way(by, address, port.port)


def _names_of(column: Column) -> tuple[str, ...]:
    place = f"{column.namespace}/{column.service}"
    return place, f"{place}:{column.number}", column.service, f"{column.service}:{column.number}", *_dotted(column)


def _dotted(column: Column) -> tuple[str, ...]:
    """As `why` names it: svc/NAME.NAMESPACE:PORT."""
    name = f"svc/{column.service}.{column.namespace}"
    return name, f"{name}:{column.number}"


def _chosen(found: Sequence[E], globs: Sequence[str], what: str, names_of: Callable[[E], Iterable[str]]) -> Iterator[E]:
    """Those of which a name matches a glob. Raises InputError for a glob that matches none."""
    if not globs:
        yield from found
        return
    unused = dict.fromkeys(globs)
    for each in found:
        matching = [glob for glob in globs if any(fnmatchcase(name, glob) for name in names_of(each))]
        if matching:
            yield each
        for glob in matching:
            unused.pop(glob, None)
    for glob in unused:
        names = [name for each in found for name in names_of(each)]
        near = nearest(glob, names) or ", ".join([*dict.fromkeys(names)][:4])
        raise InputError(f"no {what} of the matrix is called {glob!r}", expected=near or f"a cluster with a {what}")
