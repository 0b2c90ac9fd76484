"""Causes that a look-up shows: the name, the search list, ndots, the pod's DNS policy, the servers, an ExternalName.

Must not know what the packet meets on its road.
"""

from __future__ import annotations

from emu.kube.api.core import Service
from emu.kube.dns.resolver import candidates
from emu.modelled import nearest
from emu.why.case import Because, Case, backends_of, name_of, of_pod, selected
from emu.why.causes.paths import denied
from emu.why.causes.pods import why_not_ready
from emu.wire.addr import ip4

DNS = ("kube-system", "kube-dns")
_AWAY = ("ETIMEDOUT", "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ECONNRESET")


def _asked(case: Case) -> str:
    """The name that could not be looked up, "" for none."""
    found = case.flow.resolved
    return case.flow.target.host.rstrip(".") if found is not None and found.error else ""


def external_name(case: Case) -> Because | None:
    """A Service of type ExternalName, whose name does not exist or does not answer."""
    service = case.service
    if service is None or service.spec.type != "ExternalName" or case.word == "delivered":
        return None
    at = case.at(service.key, "spec", "externalName")
    what = f"spec.externalName {service.spec.external_name} of {name_of(service.key)}{at}"
    if _asked(case):
        error = case.flow.resolved.error if case.flow.resolved is not None else ""
        if case.word == "undecided":
            what, error = f"{what} is a name of outside", "what servers there answer is not known"
            return Because(
                "external-name", name_of(service.key), f"{what}: {error}", "the address of the name, as the receiver"
            )
        return Because("external-name", name_of(service.key), f"{what} has no address: {error}", "a name that exists")
    return None


def dns_policy(case: Case) -> Because | None:
    """The client's resolv.conf does not have the cluster's server, by its dnsPolicy."""
    asked, client = _asked(case), case.client
    if not asked:
        return None
    conf = case.places.name_files.resolv_conf(case.source)
    service = case.store.get(Service, *DNS)
    if service is None or service.spec.cluster_ip in conf.nameservers:
        return None
    if client is None:
        name = f"node/{case.source}" if case.source in case.places.nodes else case.source
        servers = ", ".join(conf.nameservers) or "servers of its own"
        sentence = f"{name} asks {servers}, not the cluster's {service.spec.cluster_ip}, which pods alone have: {asked} is not known there"
        return Because("dns-policy", name, sentence, "an address, or a pod as the sender")
    policy = client.spec.dns_policy
    why = " and spec.hostNetwork" if policy == "ClusterFirst" and client.spec.host_network else ""
    at = case.at(client.key, "spec", "dnsPolicy")
    servers = ", ".join(conf.nameservers) or "the servers of its node"
    sentence = f"spec.dnsPolicy {policy}{why} of {name_of(client.key)}{at} gives it {servers}, not the cluster's {service.spec.cluster_ip}: {asked} is not known there"
    better = "ClusterFirstWithHostNet" if client.spec.host_network else "ClusterFirst"
    return Because("dns-policy", name_of(client.key), sentence, f"dnsPolicy: {better}")


def dns_blocked(case: Case) -> Because | None:
    """A policy does not allow the client to ask the cluster's DNS."""
    asked, found, service = _asked(case), case.flow.resolved, case.store.get(Service, *DNS)
    if not asked or found is None or found.error not in _AWAY or service is None:
        return None
    for each in backends_of(case.store, service, None):
        if each.ready and each.port:
            because = denied(case, ip4(each.address), "UDP", each.port)
            if because is not None:
                sentence = f"the name {asked} cannot be looked up: {because.sentence}"
                return because._replace(sentence=sentence)
    return None


def dns_server(case: Case) -> Because | None:
    """The cluster's DNS does not answer."""
    asked, found = _asked(case), case.flow.resolved
    if not asked or found is None or found.error not in _AWAY:
        return None
    service = case.store.get(Service, *DNS)
    if service is None:
        return Because(
            "dns-server",
            "service/kube-system/kube-dns",
            "no Service kube-system/kube-dns is there: no server answers for the cluster",
            "CoreDNS and its Service",
        )
    if not any(each.ready for each in backends_of(case.store, service, None)):
        pods = selected(case.store, service)
        why = why_not_ready(case, pods[0]).sentence if pods else "its selector matches no pod"
        sentence = f"no endpoint of {name_of(service.key)} is ready, so that no name is looked up: {why}"
        return Because("dns-server", name_of(service.key), sentence, "a ready pod of CoreDNS")
    by = f" ({case.flow.outcome.by})" if case.flow.outcome.by else ""
    sentence = f"{name_of(service.key)} does not answer: {found.error} for {asked}{by}"
    return Because(
        "dns-server", name_of(service.key), sentence, f"emu why -S {case.source} -D svc/kube-dns.kube-system:53/udp"
    )


def dns_search(case: Case) -> Because | None:
    """A short name of another namespace: the search list adds the client's own."""
    asked, client = _asked(case), case.client
    if not asked or client is None:
        return None
    first, _, rest = asked.partition(".")
    there = [each for each in case.store.list(Service) if each.name == first]
    conf = case.places.name_files.resolv_conf(case.source)
    if not rest and there and all(each.namespace != client.namespace for each in there):
        tried = ", ".join(name.rstrip(".") for name, _ in candidates(asked, conf))
        at = case.at(client.key, "metadata", "namespace")
        sentence = f'"{asked}" is looked up in namespace {client.namespace} of {name_of(client.key)}{at} ({tried}); {name_of(there[0].key)} is in {there[0].namespace}'
        return Because("dns-search", name_of(there[0].key), sentence, f"the name {first}.{there[0].namespace}")
    if there and rest and not conf.searches and not asked.endswith("cluster.local"):
        at = case.at(client.key, "spec", "dnsConfig")
        sentence = (
            f'resolv.conf of {name_of(client.key)}{at} has no search list, so that "{asked}" is asked for as it is'
        )
        return Because(
            "dns-search",
            name_of(client.key),
            sentence,
            f"{asked.removesuffix('.svc')}.svc.cluster.local, or searches in dnsConfig",
        )
    return None


def dns_ndots(case: Case) -> Because | None:
    """The name has an address, and it is not the one that was meant: ndots decides whether the search list or the name itself comes first."""
    found, client = case.flow.resolved, case.client
    if found is None or found.error or not found.asked or client is None or found.name.endswith("."):
        return None
    asked, won = found.name, found.asked[-1].name.rstrip(".")
    conf = case.places.name_files.resolv_conf(case.source)
    ndots, dots = conf.number("ndots"), asked.count(".")
    meant = _service_of(case, asked)
    at = case.at(client.key, "spec", "dnsConfig")
    has = f"{', '.join(found.addresses)}"
    if won == asked and meant is not None:
        sentence = (
            f'ndots:{ndots} of {name_of(client.key)}{at}: "{asked}" has {dots} {_dots(dots)}, not fewer, and is asked for as it is before the '
            f"search list; it exists outside as {has}, so that {name_of(meant.key)} is not asked for"
        )
        return Because(
            "dns-ndots",
            name_of(client.key),
            sentence,
            f"{asked.removesuffix('.svc')}.svc.cluster.local, or ndots:{dots + 1}",
        )
    if won != asked and not _of_cluster(won):
        suffix = won.removeprefix(f"{asked}.")
        sentence = (
            f'ndots:{ndots} of {name_of(client.key)}{at}: "{asked}" has {dots} {_dots(dots)}, fewer, and goes through the search list first; '
            f"{won} (search {suffix}) exists, as {has}, so that the name itself is not asked for"
        )
        return Because(
            "dns-ndots",
            name_of(client.key),
            sentence,
            f"{asked}. with a dot at its end, ndots:{dots}, or no search {suffix}",
        )
    return None


def _dots(number: int) -> str:
    return "dot" if number == 1 else "dots"


def _service_of(case: Case, asked: str) -> Service | None:
    """The Service that a name means in the cluster: `web.shop`, with or without `svc` and the domain."""
    name, _, rest = asked.partition(".")
    namespace = rest.removesuffix(".cluster.local").removesuffix(".svc")
    return case.store.get(Service, namespace, name) if namespace else None


def _of_cluster(name: str) -> bool:
    return name.rstrip(".").endswith("cluster.local")


def dns_outside(case: Case) -> Because | None:
    """A name of outside, which no server of the cluster knows."""
    asked, client = _asked(case), case.client
    if not asked or case.word != "undecided":
        return None
    name = name_of(client.key) if client is not None else case.source
    tried = [
        each.rstrip(".")
        for each, as_it_is in candidates(asked, case.places.name_files.resolv_conf(case.source))
        if not as_it_is
    ]
    by_list = f" ({len(tried)} names of the search list do not exist)" if tried else ""
    sentence = f'"{asked}" is none of the cluster\'s names{by_list}, and what servers outside answer is not known'
    return Because("dns-outside", name, sentence, "the address of the name, as the receiver")


def dns_name(case: Case) -> Because | None:
    """No Service, pod or host has the name."""
    asked = _asked(case)
    if not asked:
        return None
    names = [f"{each.name}.{each.namespace}" for each in case.store.list(Service)]
    stem = asked.removesuffix(".cluster.local").removesuffix(".svc")
    service = next((each for each in case.store.list(Service) if f"{each.name}.{each.namespace}" == stem), None)
    if service is not None:
        return _without_records(case, service, asked)
    near = nearest(stem, names)
    error = "NXDOMAIN"  # of the names in the cluster; another error is that of a server outside, which was asked last
    first, _, namespace = stem.partition(".")
    where = f"in namespace {namespace}" if namespace else "in the client's namespace"
    like = f"; {near} exists" if near else ""
    sentence = f'the name "{asked}" does not exist ({error}): no Service is called {first} {where}{like}'
    return Because("dns-name", asked, sentence, near or "the name of a Service, as NAME.NAMESPACE")


def _without_records(case: Case, service: Service, asked: str) -> Because | None:
    """A headless Service without a ready endpoint has no records."""
    if not service.spec.headless:
        return None
    pods = selected(case.store, service)
    why = f"{of_pod(pods[0])} is not ready" if pods else "its selector matches no pod"
    at = case.at(service.key, "spec", "clusterIP")
    sentence = (
        f"{name_of(service.key)}{at} is headless and has no ready endpoint, so that {asked} has no address: {why}"
    )
    return Because("headless", name_of(service.key), sentence, "a ready pod, or publishNotReadyAddresses: true")
