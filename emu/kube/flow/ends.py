"""References to the ends of a flow, resolved to addresses: pods, nodes, Services, the outside.

Endpoints are written `ns/pod`, `pod/NAME`, `node/NAME`, `svc/NAME[.NS]:port`, `external[/NAME]`, or an address;
a port follows after a colon, as number or name. Globs match pods. `http://NAME[:port]` and `name:NAME[:port]` are
DNS names that the client looks up. Must not know flows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Protocol

from emu.errors import InputError
from emu.kernel.net.netns import Netns
from emu.kube.api.core import Pod, Service
from emu.kube.node.node import Node, Sandbox
from emu.kube.store import Store
from emu.wire.addr import decimal, ip4, ip4_text
from emu.wire.shown import Ip4

FORMS = "ns/pod, pod/NAME, node/NAME, svc/NAME[.NS]:port, external, an IPv4 address, http://NAME or name:NAME"
NAMED = re.compile(r"(?:(?P<scheme>https?)://|name:)(?P<name>[^:/]*)(?::(?P<port>[^:/]*))?/?")
SCHEME_PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(r"[\d.]+")
_NAME = re.compile(r"(?=.{1,254}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


class Places(Protocol):
    """The ends that flows can have: nodes, running pods ("namespace/name") and namespaces by name, and the objects."""

    @property
    def nodes(self) -> Mapping[str, Node]: ...
    @property
    def pods(self) -> Mapping[str, Sandbox]: ...
    @property
    def namespaces(self) -> Mapping[str, Netns]: ...
    @property
    def store(self) -> Store: ...


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a flow: an address, a port (0: none given) and the reference. `host` is a DNS name that the
    client looks up first; until then `addr` is 0."""

    addr: int
    port: int
    name: str
    host: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "addr", Ip4(self.addr))

    def __repr__(self) -> str:
        return f"<{self.name}>" if self.name == str(self) else f"<{self.name} ({self})>"

    def __str__(self) -> str:
        if self.host and not self.addr:
            return f"{self.host}:{self.port}" if self.port else self.host
        return f"{ip4_text(self.addr)}:{self.port}" if self.port else ip4_text(self.addr)


def _unknown(kind: str, name: str, known: list[str]) -> InputError:
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    expected = f"{near[0]!r}?" if near else ", ".join(known[:6]) or f"a {kind}"
    return InputError(f"no {kind} is called {name!r}", expected=expected)


def _glob(text: str) -> bool:
    return any(letter in text for letter in "*?[")


def _matching(known: Mapping[str, object], text: str) -> list[str]:
    """The names that a name or a glob matches. An exact name costs one look-up, however many names there are."""
    if not _glob(text):
        return [text] if text in known else []
    return [name for name in known if fnmatchcase(name, text)]


def pods_of(places: Places, ref: str) -> list[str]:
    """The names ("ns/pod") of the running pods that `ns/pod`, `pod/NAME` or a glob of them matches. Raises InputError."""
    kind, slash, rest = ref.partition("/")
    if not slash:
        raise InputError(f"unknown form of reference {ref!r}", expected=FORMS)
    if kind == "pod" and ref not in places.pods:
        found = _matching(places.pods, rest if "/" in rest else f"default/{rest}")
        found = found or ([] if "/" in rest else _in_any_namespace(places, rest))
    else:
        found = _matching(places.pods, ref)
    if not found:
        raise _idle(places, ref) or _unknown("pod", ref, list(places.pods))
    return found


def _idle(places: Places, ref: str) -> InputError | None:
    """The error about a pod that is there and does not run."""
    namespace, _, name = ref.removeprefix("pod/").rpartition("/")
    pod = places.store.get(Pod, namespace or "default", name)
    if pod is None:
        return None
    what = f"has finished ({pod.status.phase})" if pod.finished else "does not run"
    return InputError(f"pod {pod.namespace}/{pod.name} {what}", expected="a pod that runs")


def _in_any_namespace(places: Places, name: str) -> list[str]:
    if _glob(name):
        return [display for display, pod in places.pods.items() if fnmatchcase(pod.pod, name)]
    keys = places.store.index(Pod, _name_of).keys(name)
    displays = (f"{key.namespace}/{key.name}" for key in keys)
    return [display for display in displays if display in places.pods]


def _name_of(pod: Pod) -> tuple[str]:
    return (pod.metadata.name,)


def sources(places: Places, ref: str) -> list[str]:
    """Every namespace (by display name) that a source reference matches. Raises InputError."""
    if ref in places.namespaces:
        return [ref]
    kind, _, rest = ref.partition("/")
    if kind == "node" and rest:
        found = _matching(places.nodes, rest)
        if not found:
            raise _unknown("node", rest, list(places.nodes))
        return found
    if kind == "external":
        if rest and rest not in places.namespaces:
            raise _unknown("external host", rest, ["external"])
        return [rest or "external"]
    return pods_of(places, ref)


def netns(places: Places, ref: str) -> Netns:
    """The namespace that a source reference matches; the first where a glob matches several. Raises InputError."""
    name = sources(places, ref)[0]
    return places.pods[name].net if name in places.pods else places.namespaces[name]


def targets(places: Places, ref: str, protocol: str = "TCP") -> list[Target]:
    """Every target that a reference matches: one, or several by globs (`svc/*:*`, `default/web-*:80`). Raises InputError."""
    named = by_name(ref)
    if named is not None:
        return [named]
    host, colon, port = ref.rpartition(":")
    if not colon:
        host, port = ref, ""
    kind, _, rest = host.partition("/")
    if kind == "svc" and rest:
        return _services(places, rest, port, protocol, ref)
    number = _number(port, ref)
    if "/" not in host and host != "external":
        return [Target(ip4(host), number, ref)]
    if kind in ("node", "external"):
        return [Target(_address(places, name), number, ref) for name in sources(places, host)]
    return [Target(places.pods[name].ip, number, name) for name in pods_of(places, host)]


def without_port(places: Places, ref: str) -> Target:
    """The target for a protocol without ports: for a Service its cluster IP. Raises InputError."""
    if not ref.startswith("svc/") or ":" in ref:
        return targets(places, ref)[0]
    name, _, namespace = ref[4:].partition(".")
    service = places.store.get(Service, namespace or "default", name)
    if service is None or service.spec.cluster_ip in ("", "None"):
        return targets(places, f"{ref}:0")[0]
    return Target(ip4(service.spec.cluster_ip), 0, ref)


def by_name(ref: str) -> Target | None:
    """The target of `http://NAME[:port]`, `https://...` or `name:NAME[:port]`; None for other forms. Raises InputError."""
    if "://" not in ref and not ref.startswith("name:"):
        return None
    found = NAMED.fullmatch(ref)
    if found is None:
        raise InputError(f"cannot read {ref!r}", expected="http://NAME:PORT or name:NAME:PORT")
    name, port = found["name"], _number(found["port"] or "", ref) or SCHEME_PORTS.get(found["scheme"] or "", 0)
    if _ADDRESS.fullmatch(name):
        return Target(ip4(name), port, ref)
    if not _NAME.fullmatch(name):
        raise InputError(f"{ref!r} has no DNS name", expected="labels of 1 to 63 letters, digits and '-'")
    return Target(0, port, ref, name)


def _number(port: str, ref: str) -> int:
    if not port:
        return 0
    if not 0 < (decimal(port) or 0) < 65536:
        raise InputError(f"{ref!r}: {port!r} is not a port", expected="1 to 65535")
    return int(port)


def _address(places: Places, name: str) -> int:
    if name in places.nodes:
        return places.nodes[name].ip
    net = places.namespaces[name]
    return next(address.addr for address in net.ipv4.addresses if address.device.name != "lo")


def _services(places: Places, rest: str, port: str, protocol: str, ref: str) -> list[Target]:
    many, found = _glob(rest), _services_called(places, rest)
    result = []
    for service in found:
        if service.spec.cluster_ip in ("", "None"):
            if many:
                continue
            raise InputError(f"Service {service.metadata.name!r} has no cluster IP", expected="a Service with one")
        for each in service.spec.ports:
            if port in ("*", str(each.port)) or (each.name and port == each.name):
                if each.protocol == protocol:
                    display = f"svc/{service.metadata.name}:{each.port}" if many or port == "*" else ref
                    result.append(Target(ip4(service.spec.cluster_ip), each.port, display))
    if not result:
        ports = [
            f"{each.port}/{each.protocol}" + (f" ({each.name})" if each.name else "")
            for service in found
            for each in service.spec.ports
        ]
        raise InputError(f"{ref!r}: the Service has no port {port!r} for {protocol}", expected=", ".join(ports))
    return result


def _services_called(places: Places, rest: str) -> list[Service]:
    """The Services that match `NAME[.NAMESPACE]`; both may be globs. Raises InputError."""
    name, _, namespace = rest.partition(".")
    namespace = namespace or "default"
    if not _glob(rest):
        one = places.store.get(Service, namespace, name)
        found = [] if one is None else [one]
    else:
        found = [
            each
            for each in places.store.list(Service)
            if fnmatchcase(each.metadata.name, name) and fnmatchcase(each.metadata.namespace, namespace)
        ]
    if not found:
        known = [
            each.metadata.name
            if each.metadata.namespace == "default"
            else f"{each.metadata.name}.{each.metadata.namespace}"
            for each in places.store.list(Service)
        ]
        raise _unknown("Service", rest, known)
    return found
