"""The cluster's zone as CoreDNS's kubernetes plugin answers it, from Services, EndpointSlices and Namespaces.

`Directory` reads a store and answers questions in the zone and in in-addr.arpa, None for questions to other servers
(kubeadm's Corefile: pods insecure, ttl 30, fallthrough in-addr.arpa). Sources: the DNS-based service discovery
specification 1.1.0, CoreDNS plugin/kubernetes and plugin/backend_lookup.go. Must not know packets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from emu.errors import InputError
from emu.kube.api.addresses import is_address
from emu.kube.api.core import Namespace, Pod, Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.loader import load_text
from emu.kube.api.meta import Object
from emu.kube.store import Store
from emu.wire.addr import ip4
from emu.wire.dns import Answer, Question, Record, absolute

DOMAIN, TTL_S = "cluster.local", 30
VERSION, VERSION_TTL_S = "1.1.0", 28800
REVERSE = ".in-addr.arpa."
NO_PORT = -1  # the port of a Service or slice without ports: it has addresses, but no SRV records
LONGEST_CHAIN = 8
BORN_WITH = ("default", "kube-system", "kube-public", "kube-node-lease")
NXDOMAIN = Answer("NXDOMAIN")


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """A cluster with DNS. `upstream` has the names that the resolver of the outside knows: for each name one address,
    several, or another name; all other names do not exist there. Without `built_in` only the cluster's own pods answer, and no server
    outside."""

    domain: str = DOMAIN
    ttl_s: int = TTL_S
    upstream: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    built_in: bool = True


def manifests(cluster_dns: str) -> list[Object]:
    """CoreDNS as kubeadm deploys it, behind kube-dns at `cluster_dns`."""
    from importlib.resources import files

    text = files("emu.kube.dns").joinpath("coredns.yaml").read_text(encoding="utf-8")
    return load_text(text.replace("CLUSTER_DNS", cluster_dns), "coredns.yaml").objects


class _Port(NamedTuple):
    name: str
    protocol: str
    number: int


class _Endpoint(NamedTuple):
    """A ready address of a Service, called `host` there, and the ports of its slice."""

    host: str
    ip: str
    ports: tuple[_Port, ...]


class _Found(NamedTuple):
    """One target of a name: an address (for an ExternalName, a name) and port, and the target's own name."""

    host: str
    port: int
    owner: str


class Zone:
    """The names of a set of objects. `serial` is the SOA's serial; `answer` answers a question."""

    def __init__(
        self,
        services: Iterable[Service],
        slices: Iterable[EndpointSlice],
        namespaces: Iterable[str],
        *,
        domain: str = DOMAIN,
        ttl_s: int = TTL_S,
        serial: int = 0,
    ) -> None:
        self.origin, self.ttl_s, self.serial = absolute(domain), ttl_s, serial
        self._services = {(each.namespace, each.name): each for each in services}
        self._namespaces = {*namespaces, *BORN_WITH}
        self._endpoints: dict[tuple[str, str], list[_Endpoint]] = defaultdict(list)
        self._reverse: dict[str, list[str]] = defaultdict(list)
        for each in slices:
            self._read(each)
        for (namespace, name), service in self._services.items():
            for ip in _cluster_ips(service):
                self._reverse[ip] = [f"{name}.{namespace}.svc.{self.origin}"]

    def _read(self, found: EndpointSlice) -> None:
        ports = tuple(_Port(p.name or "", p.protocol, NO_PORT if p.port is None else p.port) for p in found.ports) or (
            _Port("", "", NO_PORT),
        )
        key = (found.namespace, found.service_name)
        for endpoint in found.endpoints:
            if endpoint.conditions.ready is False:
                continue
            for ip in endpoint.addresses:
                host = endpoint.hostname or ip.replace(".", "-").replace(":", "-")
                self._endpoints[key].append(_Endpoint(host, ip, ports))
                names = self._reverse[ip]
                name = f"{host}.{key[1]}.{key[0]}.svc.{self.origin}"
                if name not in names:
                    names.append(name)

    # -- answers ----------------------------------------------------------------------------------

    def answer(self, question: Question) -> Answer | None:
        """CoreDNS's answer; None where the question is not for this zone (or falls through it)."""
        name = question.name.lower()
        if name.endswith(REVERSE):
            return self._pointer(question, name)
        if name != self.origin and not name.endswith(f".{self.origin}"):
            return None
        answer = self._within(question, name)
        if answer.answers or answer.authorities:
            return answer
        return answer._replace(authorities=(self._soa(),))

    def _within(self, question: Question, name: str) -> Answer:
        base = name.removesuffix(self.origin).rstrip(".")
        kind = question.kind
        if kind == "SOA" and not base:
            return Answer(answers=(self._soa(),))
        if kind == "NS" and not base:
            return self._servers(question)
        if kind == "TXT" and base == "dns-version":
            return Answer(answers=(Record(question.name, "TXT", VERSION_TTL_S, VERSION),))
        if base == "ns.dns":
            found: list[_Found] | None = [_Found(ip, 0, name) for ip in self._own_addresses()]
        else:
            found = self._records(base.split(".") if base else [])
        if found is None:
            return NXDOMAIN
        if kind in ("A", "AAAA"):
            return self._addresses(question, found)
        if kind == "SRV":
            return self._srv(question, found)
        if kind == "CNAME" and found and not is_address(found[0].host):
            return Answer(answers=(self._record(question.name, "CNAME", absolute(found[0].host)),))
        return Answer()

    def _records(self, labels: list[str]) -> list[_Found] | None:
        """The targets of the labels before the zone: [] for a name without addresses (NODATA), None for no such name."""
        if labels in ([], ["svc"], ["pod"]):
            return []
        *rest, namespace, section = ["", *labels]
        if section not in ("svc", "pod") or namespace not in self._namespaces:
            return None
        rest = rest[1:]
        if not rest:
            return []
        *deeper, name = rest
        if section == "pod":
            return self._pod(name, namespace)
        if len(deeper) > 2:
            return None
        return self._service(name, namespace, deeper)

    def _pod(self, name: str, namespace: str) -> list[_Found] | None:
        """`pods insecure`: a name that spells an address has that address, in use or not."""
        ip = name.replace("-", ".") if name.count("-") == 3 and "--" not in name else name.replace("-", ":")
        return [_Found(ip, 0, f"{name}.{namespace}.pod.{self.origin}")] if is_address(ip) else None

    def _service(self, name: str, namespace: str, deeper: list[str]) -> list[_Found] | None:
        service = self._services.get((namespace, name))
        if service is None:
            return None
        endpoint = deeper[0] if len(deeper) == 1 else ""
        port, protocol = (label.removeprefix("_") for label in deeper) if len(deeper) == 2 else ("", "")
        own = f"{name}.{namespace}.svc.{self.origin}"
        spec = service.spec
        if spec.type == "ExternalName":
            alone = not deeper and not is_address(spec.external_name)
            return [_Found(spec.external_name, 0, own)] if alone else None
        if spec.headless or endpoint:
            found = [
                _Found(each.ip, number, f"{each.host}.{own}")
                for each in self._endpoints.get((namespace, name), ())
                if not endpoint or each.host.lower() == endpoint
                for number in _matching(each.ports, port, protocol)
            ]
            return found or None
        ports = tuple(_Port(p.name, p.protocol, p.port) for p in spec.ports) or (_Port("", "", NO_PORT),)
        found = [_Found(ip, number, own) for number in _matching(ports, port, protocol) for ip in _cluster_ips(service)]
        return found or None

    def _record(self, name: str, kind: str, data: str) -> Record:
        return Record(name, kind, self.ttl_s, data)

    def _addresses(self, question: Question, found: list[_Found], chain: tuple[Record, ...] = ()) -> Answer:
        """A and AAAA: each address once; a CNAME with the records of its target."""
        records: list[Record] = []
        for each in found:
            if is_address(each.host):
                if question.kind == _kind(each.host):
                    records.append(self._record(question.name, question.kind, each.host))
                continue
            target = absolute(each.host)
            alias = self._record(question.name, "CNAME", target)
            if target.lower() == question.name.lower() or alias in chain or len(chain) >= LONGEST_CHAIN:
                continue
            if not target.lower().endswith(f".{self.origin}"):
                return Answer(answers=(*chain, alias), chase=target)
            labels = target.lower().removesuffix(f".{self.origin}").split(".")
            asked = Question(target, question.kind)
            further = self._addresses(asked, self._records(labels) or [], (*chain, alias))
            if further.chase:
                return further
            if further.answers:
                records += [alias, *further.answers]
        return Answer(answers=tuple(dict.fromkeys(records)))

    def _srv(self, question: Question, found: list[_Found]) -> Answer:
        """SRV: equal weights that add up to 100; the targets' addresses as additional records."""
        inside = [each for each in found if is_address(each.host)]
        weight = max(1, 100 // len(inside)) if inside else 0
        records: dict[Record, None] = {}
        extras: dict[Record, None] = {}
        for each in inside:
            if each.port == NO_PORT:
                continue
            records[self._record(question.name, "SRV", f"0 {weight} {each.port} {each.owner}")] = None
            extras[self._record(each.owner, _kind(each.host), each.host)] = None
        return Answer(answers=tuple(records), extras=tuple(extras))

    def _pointer(self, question: Question, name: str) -> Answer | None:
        """Names of a cluster IP or of endpoints; unknown addresses fall through, as does the rest of in-addr.arpa."""
        labels = name.removesuffix(REVERSE).split(".")
        names = self._reverse.get(".".join(reversed(labels))) if len(labels) == 4 else None
        if question.kind != "PTR" or not names:
            return None
        return Answer(answers=tuple(self._record(question.name, "PTR", each) for each in names))

    def _own_addresses(self) -> list[str]:
        service = self._services.get(("kube-system", "kube-dns"))
        return [] if service is None else _cluster_ips(service)

    def _servers(self, question: Question) -> Answer:
        name = f"kube-dns.kube-system.svc.{self.origin}"
        own = self._own_addresses()
        servers = tuple(self._record(question.name, "NS", name) for _ in own[:1])
        return Answer(answers=servers, extras=tuple(self._record(name, "A", ip) for ip in own))

    def _soa(self) -> Record:
        data = f"ns.dns.{self.origin} hostmaster.{self.origin} {self.serial} 7200 1800 86400 {self.ttl_s}"
        return Record(self.origin, "SOA", min(self.ttl_s, 300), data)


def _kind(ip: str) -> str:
    return "AAAA" if ":" in ip else "A"


def _matching(ports: Iterable[_Port], name: str, protocol: str) -> list[int]:
    """The numbers of the ports that match a pair of SRV labels; "" matches any."""
    return [
        each.number
        for each in ports
        if (not name or each.name.lower() == name) and (not protocol or each.protocol.lower() == protocol)
    ]


def _cluster_ips(service: Service) -> list[str]:
    spec = service.spec
    if spec.headless or spec.type == "ExternalName":
        return []
    return [*(spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ()))]


class Directory:
    """The zone of the present objects of a store. `serial()` gives the SOA's serial, the time of the last change."""

    def __init__(self, store: Store, config: DnsConfig, serial: Callable[[], int] = lambda: 0) -> None:
        self.store, self.config, self._serial = store, config, serial
        self._version = -1
        self._zone = Zone((), (), ())

    def zone(self) -> Zone:
        store = self.store
        if self._version != store.version:
            self._version = store.version
            services = store.list(Service)
            # a manifest's objects imply their namespaces, which need not be declared here
            namespaces = {each.name for each in store.list(Namespace)}
            namespaces.update(each.namespace for each in (*services, *store.list(Pod)))
            self._zone = Zone(
                services,
                store.list(EndpointSlice),
                namespaces,
                domain=self.config.domain,
                ttl_s=self.config.ttl_s,
                serial=self._serial(),
            )
        return self._zone

    def answer(self, question: Question) -> Answer | None:
        return self.zone().answer(question)


def outside(config: DnsConfig) -> Callable[[Question], Answer | None]:
    """The resolver of the outside, which answers from the table `upstream` only. Raises InputError."""
    table: dict[str, tuple[str, ...]] = {}
    for name, value in config.upstream.items():
        texts = (value,) if isinstance(value, str) else tuple(value)
        for text in texts:
            if not text or text.replace(".", "").isdigit():
                ip4(text)
            elif len(texts) > 1:
                raise InputError(f"{name!r} has several names as its target", expected="addresses, or one name")
        table[absolute(name.lower())] = texts

    def answer(question: Question) -> Answer:
        name, records = question.name, list[Record]()
        while len(records) <= LONGEST_CHAIN:
            found = table.get(name.lower())
            if found is None:
                return Answer("NXDOMAIN", tuple(records), authoritative=False)
            if is_address(found[0]):
                if question.kind == "A":
                    records += [Record(name, "A", TTL_S, ip) for ip in found]
                break
            records.append(Record(name, "CNAME", TTL_S, absolute(found[0])))
            if question.kind == "CNAME":
                break
            name = absolute(found[0])
        return Answer(answers=tuple(records), authoritative=False)

    return answer
