"""Objects of a cluster as `kubectl get` prints them: pods, services, endpoints, endpointslices, nodes, networkpolicies.

The columns are those of pkg/printers/internalversion of Kubernetes. `endpoints` are made of slices, for these are what kube-proxy
reads. An age is counted from the youngest object. Must not know terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from emu.errors import InputError
from emu.kube.api.core import Node, Pod, Service
from emu.kube.api.discovery import EndpointSlice
from emu.kube.api.kinds import kind_named
from emu.kube.api.meta import Object, to_value
from emu.kube.api.networking import NetworkPolicy
from emu.kube.live.remarks import state
from emu.kube.store import Store
from emu.report import Report, columns

NONE, UNKNOWN = "<none>", "<unknown>"
MOST = 3  # endpoints of one line
Row = dict[str, str]


class Columns(NamedTuple):
    """What a kind shows: the headings, the further ones of `wide`, and a row of one object."""

    headings: tuple[str, ...]
    wide: tuple[str, ...]
    row: Callable[[Any, Store], Sequence[str]]


def _pod(pod: Pod, store: Store) -> Sequence[str]:
    sidecars = [each for each in pod.spec.init_containers if each.restart_policy == "Always"]
    total, statuses = len(pod.spec.containers) + len(sidecars), pod.status.container_statuses
    ready = sum(each.ready for each in statuses) if statuses else total * pod.ready
    names = {each.name for each in sidecars}
    ready += sum(each.ready for each in pod.status.init_container_statuses if each.name in names)
    restarts = sum(each.restart_count for each in statuses)
    address, node = pod.status.pod_ip or NONE, pod.spec.node_name or NONE
    return f"{ready}/{total}", state(pod), str(restarts), address, node, NONE, NONE


def _service(service: Service, store: Store) -> Sequence[str]:
    spec = service.spec
    ports = ",".join(f"{p.port}{f':{p.node_port}' if p.node_port else ''}/{p.protocol}" for p in spec.ports)
    selector = ",".join(f"{key}={value}" for key, value in spec.selector.items())
    address = spec.cluster_ip or NONE
    return spec.type, address, _outside(service), ports or NONE, selector or NONE


def _outside(service: Service) -> str:
    spec = service.spec
    if spec.type == "ExternalName":
        return spec.external_name
    given = [each.ip or each.hostname for each in service.status.load_balancer.ingress]
    found = [*(given if spec.type == "LoadBalancer" else ()), *spec.external_ips]
    return ",".join(found) or ("<pending>" if spec.type == "LoadBalancer" else NONE)


def _endpoints(service: Service, store: Store) -> Sequence[str]:
    slices = [each for each in store.list(EndpointSlice, service.namespace) if each.service_name == service.name]
    found = [
        f"{address}:{port.port}" if port.port else address
        for each in slices
        for port in each.ports
        for endpoint in each.endpoints
        if endpoint.conditions.ready is not False
        for address in endpoint.addresses
    ]
    return (_few(found),)


def _slice(each: EndpointSlice, store: Store) -> Sequence[str]:
    ports = [str(port.port) if port.port else "*" for port in each.ports]
    addresses = [address for endpoint in each.endpoints for address in endpoint.addresses]
    return each.address_type, _few(ports, "<unset>"), _few(addresses, "<unset>")


def _node(node: Node, store: Store) -> Sequence[str]:
    ready = next((each for each in node.status.conditions if each.type == "Ready"), None)
    status = ["Ready" if ready is None or ready.status == "True" else "NotReady"]
    status += ["SchedulingDisabled"] if node.spec.unschedulable else []
    prefix = "node-role.kubernetes.io/"
    roles = sorted(each.removeprefix(prefix) for each in node.metadata.labels if each.startswith(prefix))
    info, outside = node.status.node_info, (a.address for a in node.status.addresses if a.type == "ExternalIP")
    wide = (info.os_image, info.kernel_version, info.container_runtime_version)
    return (
        ",".join(status), ",".join(roles) or NONE, info.kubelet_version or UNKNOWN, node.internal_ip or NONE, next(outside, NONE),
        *(each or UNKNOWN for each in wide),
    )  # fmt: skip


def _network_policy(policy: NetworkPolicy, store: Store) -> Sequence[str]:
    """FormatLabelSelector of apimachinery."""
    selector = policy.spec.pod_selector
    words = [f"{key}={value}" for key, value in selector.match_labels.items()]
    for each in selector.match_expressions:
        values = f"({','.join(sorted(each.values))})"
        words.append({
            "In": f"{each.key} in {values}", "NotIn": f"{each.key} notin {values}", "Exists": each.key, "DoesNotExist": f"!{each.key}",
        }[each.operator])  # fmt: skip
    return (",".join(sorted(words)) or NONE,)


def _few(found: Sequence[str], nothing: str = NONE) -> str:
    more = f" + {len(found) - MOST} more..." if len(found) > MOST else ""
    return ",".join(found[:MOST]) + more if found else nothing


# The column AGE stands where kubectl has it, "" in these lists
TABLES: dict[str, Columns] = {
    "pod": Columns(("READY", "STATUS", "RESTARTS", ""), ("IP", "NODE", "NOMINATED NODE", "READINESS GATES"), _pod),
    "service": Columns(("TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", ""), ("SELECTOR",), _service),
    "endpoints": Columns(("ENDPOINTS", ""), (), _endpoints),
    "endpointslice": Columns(("ADDRESSTYPE", "PORTS", "ENDPOINTS", ""), (), _slice),
    "node": Columns(
        ("STATUS", "ROLES", "", "VERSION"),
        ("INTERNAL-IP", "EXTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION", "CONTAINER-RUNTIME"),
        _node,
    ),
    "networkpolicy": Columns(("POD-SELECTOR", ""), (), _network_policy),
}
_STORED = {"endpoints": "service"}  # the objects that a table is made of
_QUALIFIED = {"endpointslice": "endpointslice.discovery.k8s.io", "networkpolicy": "networkpolicy.networking.k8s.io"}


def listing(
    store: Store, kinds: str, names: Sequence[str] = (), *, namespace: str | None = "default", wide: bool = False
) -> Report:
    """The objects of a kind, or of several with commas between, in one namespace (None: in all), or those with these names. Raises InputError."""
    words = [_printed(each) for each in kinds.split(",") if each]
    found = [(word, _found(store, word, names, namespace)) for word in words]
    shown = [_table(store, word, each, namespace, wide, several=len(words) > 1) for word, each in found if each]
    items = [to_value(each) for _, objects in found for each in objects]
    return Report(
        {"apiVersion": "v1", "kind": "List", "items": items}, "\n\n".join(shown) or _nothing(words, namespace)
    )


def _printed(kind: str) -> str:
    word = kind_named(kind)
    if word not in TABLES:
        raise InputError(f"emu get prints no {kind}", expected=", ".join(TABLES))
    return word


def _found(store: Store, word: str, names: Sequence[str], namespace: str | None) -> list[Object]:
    where = None if word == "node" else namespace
    found = sorted(store.list(_STORED.get(word, word), where), key=lambda each: (each.namespace, each.name))
    if not names:
        return found
    known = {each.name for each in found}
    for name in names:
        if name not in known:
            raise InputError(f'there is no {word} "{name}"', expected=", ".join(sorted(known)[:8]) or f"a {word}")
    return [each for each in found if each.name in names]


def _table(store: Store, word: str, found: Sequence[Object], namespace: str | None, wide: bool, several: bool) -> str:
    """One table. Of `several`, a name has its kind before it."""
    table, now = TABLES[word], _now(store)
    heads = ("NAMESPACE", "NAME") if namespace is None and word != "node" else ("NAME",)
    shown = (*table.headings, *(table.wide if wide else ()))
    rows = [_row(heads, shown, each, table.row(each, store), now) for each in found]
    if several:
        rows = [row | {"NAME": f"{_QUALIFIED.get(word, word)}/{row['NAME']}"} for row in rows]
    keys = [*heads, *(each or "AGE" for each in shown)]
    return columns(keys, rows, keys)


def _nothing(words: Sequence[str], namespace: str | None) -> str:
    everywhere = namespace is None or "node" in words
    return "No resources found" if everywhere else f"No resources found in {namespace} namespace."


def _row(heads: Sequence[str], shown: Sequence[str], obj: Object, cells: Sequence[str], now: str) -> Row:
    names = dict(zip(("NAMESPACE", "NAME")[-len(heads) :], (obj.namespace, obj.name)[-len(heads) :], strict=True))
    rest = iter(cells)
    age = _age(obj.metadata.creation_timestamp or "", now)
    return names | {head or "AGE": next(rest) if head else age for head in shown}


def _now(store: Store) -> str:
    return max((each.metadata.creation_timestamp or "" for each in store), default="")


def _age(born: str, now: str) -> str:
    """HumanDuration of apimachinery, with the units that it has for such a time."""
    try:
        seconds = int((_time(now) - _time(born)).total_seconds())
    except ValueError:
        return UNKNOWN
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return f"{years}y{rest}d" if years < 8 and rest else f"{years}y"


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
