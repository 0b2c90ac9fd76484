"""np-guard's test folders: manifests, and the connections that its analyser lists between workloads.

Its conventions: pods are grouped by their owner, finished ones count, blocks do not mean pods, and the outside is cut into the
ranges that all blocks make. Must not know how emu decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from emu.kube.api.core import Pod, PodSpec, PodStatus
from emu.kube.api.loader import convert
from emu.kube.api.meta import Object, ObjectMeta, Other
from emu.kube.policy.index import PolicyIndex
from emu.kube.policy.rules import Block, Nets, Policy
from emu.kube.policy.verdict import Packet
from policy_cases import folder

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job")
PROTOCOLS = ("SCTP", "TCP", "UDP")
LAST = 65535
_ADDRESSES = int(ip_address("fd00:6e70::1"))  # of pods: in no block of a case


def folders() -> list[Path]:
    root = folder("np-guard")
    return sorted((root / "cases").iterdir()) if root is not None else []


class Workload(NamedTuple):
    name: str  # ns/name[Kind]
    pod: Pod


def workloads(path: Path) -> tuple[list[Workload], list[Object]]:
    """One pod for each workload of a folder, and the other objects."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    pods: dict[str, Pod] = {}
    others: list[Object] = []
    for file in sorted(each for each in (path / "objects").rglob("*") if each.suffix in (".yaml", ".yml", ".json")):
        for value in yaml.load_all(file.read_text(encoding="utf-8"), loader):
            for each in _items(value):
                kind, meta = each.get("kind", ""), each.get("metadata", {})
                namespace = meta.get("namespace") or "default"
                if kind == "Pod":
                    owners = [o for o in meta.get("ownerReferences", ()) if o["kind"] != "Node"]
                    name, kind = (owners[0]["name"], owners[0]["kind"]) if owners else (meta["name"], "Pod")
                    _add(pods, f"{namespace}/{name}[{kind}]", namespace, meta, each["spec"])
                elif kind in WORKLOADS:
                    template = each["spec"]["template"]
                    name = f"{namespace}/{meta['name']}[{kind}]"
                    _add(pods, name, namespace, template.get("metadata", {}), template["spec"])
                elif kind.endswith("Policy") or kind == "Namespace":
                    others += [obj for obj in convert(each) if not isinstance(obj, Other)]
    return [Workload(name, pod) for name, pod in pods.items()], others


def _items(value: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(value, dict):
        return
    if str(value.get("kind", "")).endswith("List"):
        of = value["kind"].removesuffix("List")
        for item in value.get("items", ()):
            yield {"apiVersion": value["apiVersion"], **({"kind": of} if of else {}), **item}
    else:
        yield value


def _add(pods: dict[str, Pod], name: str, namespace: str, meta: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
    if name not in pods:
        containers = [{"name": f"c{i}", **each} for i, each in enumerate(spec["containers"])]
        made = msgspec.convert({"containers": containers}, PodSpec)
        pods[name] = Pod(
            metadata=ObjectMeta(name=f"w{len(pods)}", namespace=namespace, labels=dict(meta.get("labels") or {})),
            spec=made,
            status=PodStatus(phase="Running", pod_ip=str(ip_address(_ADDRESSES + len(pods)))),
        )


def ranges(policies: Iterable[Policy]) -> list[tuple[int, int]]:
    """The partition of IPv4 that the blocks of all policies make: first and last address of each part."""
    cuts = {0, 1 << 32}
    for policy in policies:
        for rules in policy.rules.values():
            for peer in (peer for rule in rules for peer in rule.peers or ()):
                nets = (
                    [peer.net, *peer.holes] if isinstance(peer, Block) else peer.nets if isinstance(peer, Nets) else ()
                )
                for net in nets:
                    if net.width == 32:
                        cuts |= {net.net, net.net + (1 << 32 - net.length)}
    found = sorted(cuts)
    return [(first, after - 1) for first, after in pairwise(found)]


def breaks(index: PolicyIndex) -> list[int]:
    """The ports at which a verdict may change."""
    found = {1}
    for policy in index.policies:
        for rules in policy.rules.values():
            for ports in (ports for rule in rules for ports in rule.ports or ()):
                found |= {max(ports.first, 1), ports.last + 1}
    for end in index.pods:
        assert end.pod is not None
        for port in end.pod.ports:
            found |= {port.number, port.number + 1}
    return sorted(each for each in found if each <= LAST)


def connlist(path: Path) -> set[str]:
    """The lines that the analyser would list, by emu's verdicts."""
    found, others = workloads(path)
    index = PolicyIndex([*others, *(each.pod for each in found)])
    ends = {each.name: index.pod(each.pod.namespace, each.pod.name) for each in found}
    for first, last in ranges(index.policies):
        ends[f"{ip_address(first)}-{ip_address(last)}[External]"] = index.end(first)
    cuts, lines = breaks(index), set()
    for one, source in ends.items():
        for other, destination in ends.items():
            if one == other or (one.endswith("[External]") and other.endswith("[External]")):
                continue
            assert source is not None and destination is not None
            parts = []
            for protocol in PROTOCOLS:
                open_ = [p for p in cuts if index.judge(Packet(source, destination, protocol, p)).allowed]
                if open_:
                    parts.append(f"{protocol} {_spans(open_, cuts)}")
            if parts:
                whole = parts == [f"{each} 1-{LAST}" for each in PROTOCOLS]
                lines.add(f"{one} => {other} : {'All Connections' if whole else ','.join(parts)}")
    return lines


def _spans(open_: list[int], cuts: list[int]) -> str:
    after = dict(zip(cuts, [*cuts[1:], LAST + 1], strict=True))
    spans: list[list[int]] = []
    for first in open_:
        if spans and spans[-1][1] == first - 1:
            spans[-1][1] = after[first] - 1
        else:
            spans.append([first, after[first] - 1])
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in spans)


def expected(path: Path) -> set[str]:
    """The lines of the analyser's own list that are in scope. It may list a range as a whole and in parts: here, in parts."""
    parts = ranges(PolicyIndex(workloads(path)[1]).policies)
    found = set()
    for line in (path / "connlist.txt").read_text(encoding="utf-8").splitlines():
        ends, _, _ = line.rpartition(" : ")
        one, _, other = ends.partition(" => ")
        if line.strip() and "{ingress-controller}" not in line and one != other:
            what = line.rstrip().rpartition(" : ")[2]
            found |= {f"{a} => {b} : {what}" for a in _in_parts(one, parts) for b in _in_parts(other, parts)}
    return found


def _in_parts(name: str, parts: list[tuple[int, int]]) -> list[str]:
    if not name.endswith("[External]"):
        return [name]
    first, last = (int(ip_address(each)) for each in name.removesuffix("[External]").split("-"))
    inside = [(a, b) for a, b in parts if first <= a and b <= last]
    assert sum(b - a + 1 for a, b in inside) == last - first + 1, name
    return [f"{ip_address(a)}-{ip_address(b)}[External]" for a, b in inside]
