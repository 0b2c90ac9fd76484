"""What the real CNI plugins wire for a node's pods, beside what the emulator's plugins wired: links, addresses, routes,
rules, sysctls and results.

The real ones run in namespaces of their own, before the twin's are built, so that a wrong step of the emulator's does not
reach both sides. Must not know flows.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from emu.kernel.net.netns import Netns
from emu.kube.networks.network import Network
from emu.twin import compare, sysctls, tables
from emu.twin.cni import LOOPBACK, Binaries
from emu.twin.compare import Difference
from emu.twin.space import Space
from emu.wire.addr import mac_text

_ZERO = "00:00:00:00:00:00"
Sides = Mapping[str, Sequence[str]]


class Pod(NamedTuple):
    """A pod as the emulator wired it: its namespace, the container's id, CNI's result and capability arguments."""

    name: str
    net: Netns
    container_id: str
    result: Any
    capability_args: Mapping[str, Any]


def compared(
    name: str, node: Netns, network: Network, pods: Sequence[Pod], files: Mapping[str, str] | None = None
) -> list[Difference]:
    """Wire the pods of one node by the real plugins, in the order in which the emulator did, and compare. `files` are the texts
    that an agent left on the node's disk. Raises TwinError."""
    with ExitStack() as stack:
        disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emu-cni-")))
        host = _space(stack, name)
        _prepare(host, node, network)
        binaries, results, spaces = Binaries(host, disk, files), [], []
        for pod in pods:
            space = _space(stack, pod.name)
            binaries.add(LOOPBACK, space, pod.container_id, "lo")
            results.append(binaries.add(network.config, space, pod.container_id, capability_args=pod.capability_args))
            spaces.append(space)
        return list(_differences(host, node, network, pods, spaces, results))


def _space(stack: ExitStack, name: str) -> Space:
    space = Space(name)
    stack.callback(space.close)
    quiet(space)
    return space


def quiet(space: Space) -> None:
    """Switch IPv6 off."""
    with space.inside():
        for key in ("all", "default"):
            with suppress(OSError):
                Path(f"/proc/sys/net/ipv6/conf/{key}/disable_ipv6").write_text("1")


def _prepare(host: Space, node: Netns, network: Network) -> None:
    """What the node does itself, and no plugin: a bridge of its own bears the MAC that the node gave it."""
    for bridge in network.bridges:
        host.ip(
            [
                [
                    "link",
                    "add",
                    "name",
                    bridge.name,
                    "address",
                    mac_text(node.device(bridge.name).mac),
                    "type",
                    "bridge",
                ],
                ["addr", "add", bridge.address, "dev", bridge.name],
                ["link", "set", "dev", bridge.name, "up"],
            ]
        )
        values = {f"net.ipv4.conf.{bridge.name}.{key}": str(value) for key, value in bridge.sysctls.items()}
        sysctls.write(host, {"net.ipv4.ip_forward": "1", **values})


def _differences(
    host: Space,
    node: Netns,
    network: Network,
    pods: Sequence[Pod],
    spaces: Sequence[Space],
    results: Sequence[Mapping[str, Any]],
) -> Iterator[Difference]:
    version = network.config.version
    ours = [msgspec.json.decode(msgspec.json.encode(pod.result.to_json(version))) for pod in pods]
    theirs_names, ours_names = _names(pods, results), _names(pods, ours)
    own = {*_devices(results), *_devices(ours)}
    yield from _compared(host.name, _of_kernel(host, own), _of_emulated(node, own), theirs_names, ours_names)
    for pod, space, result, our in zip(pods, spaces, results, ours, strict=True):
        kernel, emulated = _of_kernel(space, None), _of_emulated(pod.net, None)
        kernel["result"], emulated["result"] = _result(result), _result(our)
        found, have = sysctls.differences(
            space, pod.net, {name for name, _ in pod.net.sysctl.written()} - _plugins(pod.net)
        )
        kernel["sysctls"], emulated["sysctls"] = found, have
        yield from _compared(pod.name, kernel, emulated, theirs_names, ours_names)


def _plugins(net: Netns) -> set[str]:
    """The sysctls of a pod that its plugins set; others are the pod's own."""
    return {name for name, _ in net.sysctl.written() if name.endswith((".arp_notify", ".accept_dad"))}


def _devices(results: Iterable[Mapping[str, Any]]) -> set[str]:
    return {each["name"] for result in results for each in result["interfaces"] if not each.get("sandbox")}


def _names(pods: Sequence[Pod], results: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Names for what a plugin draws: veths and MACs. A bridge without a MAC of its own bears that of its lowest port, by chance
    of the draws: then its ports' MACs have one name."""
    names: dict[str, str] = {}
    hosts = [each for result in results for each in result["interfaces"] if not each.get("sandbox")]
    ports = {each["mac"] for each in hosts if each["name"].startswith("veth") and each.get("mac")}
    shared = any(each.get("mac") in ports for each in hosts if not each["name"].startswith("veth"))
    for pod, result in zip(pods, results, strict=True):
        for each in result["interfaces"]:
            what = f"veth-of-{pod.name}" if each["name"].startswith("veth") else each["name"]
            names.setdefault(each["name"], what)
            if each.get("mac") not in (None, "", _ZERO):
                inside = f"{each['name']}-of-{pod.name}" if each.get("sandbox") else what
                key = each["mac"]
                names[key] = "MAC(a port)" if shared and key in ports else f"MAC({inside})"
            if each.get("sandbox"):
                names[each["sandbox"]] = f"namespace-of-{pod.name}"
    return names


def _of_kernel(space: Space, devices: set[str] | None) -> dict[str, list[str]]:
    setup = tables.kernel_setup(space)
    found = {**setup, "routes": list(tables.kernel_routes(space))}
    if devices is not None:
        found["rules"] = _own(space.run("iptables-save"))
    return _kept(found, devices)


def _of_emulated(net: Netns, devices: set[str] | None) -> dict[str, list[str]]:
    found = {**tables.emulated_setup(net), "routes": list(tables.emulated_routes(net))}
    if devices is not None:
        found["rules"] = _own(net.ipv4.tables.save())
    return _kept(found, devices)


def _own(text: str) -> list[str]:
    """The rules that CNI plugins write."""
    return [line for line in tables.rules(text) if "CNI-" in line]


def _kept(found: Mapping[str, list[str]], devices: set[str] | None) -> dict[str, list[str]]:
    """The lines that name one of the devices."""
    if devices is None:
        return dict(found)
    return {
        what: lines if what == "rules" else [line for line in lines if devices & set(line.split())]
        for what, lines in found.items()
    }


def _result(result: Mapping[str, Any]) -> list[str]:
    """A result as lines; an empty `dns` is as good as none."""
    return [f"{key}: {json.dumps(value, sort_keys=True)}" for key, value in sorted(result.items()) if value]


def _compared(
    where: str, kernel: Sides, emulated: Sides, theirs: Mapping[str, str], ours: Mapping[str, str]
) -> Iterator[Difference]:
    one = {what: sorted(_renamed(line, theirs) for line in lines) for what, lines in kernel.items()}
    other = {what: sorted(_renamed(line, ours) for line in lines) for what, lines in emulated.items()}
    for each in compare.tables(where, one, other, lambda one, other: False):
        yield each._replace(what=f"wiring: {each.what}")


def _renamed(line: str, names: Mapping[str, str]) -> str:
    words = "|".join(re.escape(each) for each in sorted(names, key=len, reverse=True))
    return re.sub(words, lambda found: names[found[0]], line) if words else line
