"""Plugins that write rules, on both sides of `cni_pairs`: the answers, the rules and the connections of a node after steps.

The node has the bridge cni0 (10.244.1.1/24); a container is an empty namespace, whose address stands in the previous
result that each step is given. Must not know how a plugin is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cni_pairs import Call, Emulated, Kernel
from emu.clock import Clock
from emu.errors import EmuError
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kernel.netfilter import ctnetlink
from emu.kernel.netfilter.conn import inverse
from emu.kernel.netfilter.conntrack_list import render
from emu.kube.cni import invoke
from emu.kube.cni.spec import Attachment, CniError, Config
from emu.twin.cni import FOLDER
from emu.twin.tables import rules
from emu.wire.addr import ip4
from emu.wire.proto import PROTOCOLS
from twins import needs_twin

BRIDGE, CIDR = "cni0", "10.244.1.1/24"
_HEAD = re.compile(
    r"(.*(?:unable to setup DNAT|could not teardown ipv4 dnat|failed to parse network configuration|failed to load netconf)): .*",
    re.S,
)
_TOOL = re.compile(r"running (\[|iptables: ).*", re.S)


def needs(plugin: str) -> list[Any]:
    """The marks of a test that asks the machine's own plugin."""
    absent = not (FOLDER / plugin).is_file()
    return [*needs_twin, pytest.mark.skipif(absent, reason=f"skipped: there is no {plugin} in {FOLDER}")]


class Step(NamedTuple):
    """One call of a plugin: `previous` are the addresses in the previous result (None: there is no such result)."""

    command: str
    config: Config
    container: int = 1
    previous: Iterable[Mapping[str, Any]] | None = ({"address": "10.244.1.2/24", "interface": 2},)
    bridge: str | None = BRIDGE  # the first interface of the previous result; None: it has no interfaces


class Seen(NamedTuple):
    """What the steps answered, and the node after them."""

    answers: list[str]
    rules: list[str]
    route_localnet: str
    connections: list[str]


class Connection(NamedTuple):
    """One that is there before the steps; answers come from where it goes to."""

    protocol: str
    src: str
    dst: str
    sport: int
    dport: int

    def words(self) -> list[str]:
        """For `conntrack -I`."""
        ends = f"-s {self.src} -d {self.dst} --sport {self.sport} --dport {self.dport} --timeout 100"
        return ["-p", self.protocol, *ends.split(), *(["--state", "ESTABLISHED"] if self.protocol == "tcp" else [])]

    def insert(self, node: Netns) -> None:
        orig = PROTOCOLS[self.protocol], ip4(self.src), ip4(self.dst), self.sport, self.dport
        assert node.conntrack is not None
        reply = inverse(orig)
        assert reply is not None
        assert ctnetlink.create(node.conntrack, orig, reply, seconds=100) is not None


def _call(plugin: str, step: Step) -> Call:
    """The step as a call. Containers are numbered from 1."""
    pod = step.container - 1
    previous: dict[str, Any] | None = None
    if step.previous is not None:
        interfaces = [{"name": step.bridge}, {"name": "vethX"}, {"name": "eth0", "sandbox": f"/var/run/netns/pod{pod}"}]
        interfaces = [] if step.bridge is None else interfaces
        previous = {"cniVersion": "1.0.0", "interfaces": interfaces, "ips": [*step.previous]}
    return Call(step.command, plugin, step.config, pod, cid=f"cid{step.container}", chained=False, previous=previous)


def _answer(code: int, msg: str) -> str:
    """ "ok", or an error without the words of the tool or the library that found it."""
    if not code:
        return "ok"
    known = _HEAD.match(msg)
    return f"{code} {known[1] if known is not None else _TOOL.sub('iptables', msg)}"


def _ports(lines: Iterable[str]) -> list[str]:
    """The ends of TCP's and UDP's connections, whatever time they have left."""
    return sorted(" ".join(re.findall(r"(?:src|dst|sport|dport)=\S+", line)) for line in lines if "sport=" in line)


def real(plugin: str, steps: Iterable[Step], before: str, connections: Sequence[Connection], tools: Path) -> Seen:
    """Run the steps with the machine's plugin, which finds no other tools than those in `tools`; `before` are rules that the
    node has already."""
    with ExitStack() as stack:
        side = Kernel(stack, str(tools))
        node = side.spaces["node"]
        bridge = ["link", "add", BRIDGE, "type", "bridge", "mcast_snooping", "0"]
        node.ip([bridge, ["addr", "add", CIDR, "dev", BRIDGE], ["link", "set", BRIDGE, "up"]])
        if before:
            node.run("iptables-restore", text=before)
        for each in connections:
            node.run("conntrack", "-I", *each.words())
        answers = [_answer(*side.call(_call(plugin, step))) for step in steps]
        localnet = node.run("cat", f"/proc/sys/net/ipv4/conf/{BRIDGE}/route_localnet").strip()
        left = node.run("conntrack", "-L").splitlines()
        return Seen(answers, rules(node.run("iptables-save")), localnet, _ports(left))


def emulated(plugin: str, steps: Iterable[Step], before: str, connections: Sequence[Connection]) -> Seen:
    """The same with the emulator's plugin."""
    side = Emulated()
    node, answers = side.spaces["node"], []
    _bridge(node)
    if before:
        node.ipv4.tables.restore(before)
    for each in connections:
        each.insert(node)
    for step in steps:
        try:
            answers.append(_answer(*side.call(_call(plugin, step))))
        except EmuError as error:
            answers.append(f"not modelled: {error}")
    localnet = str(node.sysctl.conf(BRIDGE, "route_localnet"))
    assert node.conntrack is not None
    left = _ports(render(conn, node.clock.now) for conn in node.conntrack)
    return Seen(answers, rules(node.ipv4.tables.save()), localnet, left)


def machine(clock: Clock) -> Netns:
    """A node of the emulator: the bridge, its address, netfilter."""
    node = boot.namespace(clock, "node")
    _bridge(node)
    return node


def _bridge(node: Netns) -> None:
    boot.bridge(node, BRIDGE, "02:00:00:00:00:01")
    boot.address(node, BRIDGE, CIDR)
    boot.netfilter(node)


def call(plugin: str, step: Step, attachment: Attachment) -> str:
    """One step on a machine of the emulator: "ok", or the error's code and text."""
    made = _call(plugin, step)
    config = {"cniVersion": "1.0.0", "name": "net", "type": plugin, **step.config}
    if made.previous is not None:
        config["prevResult"] = made.previous
    try:
        if step.command == "ADD":
            invoke.add(plugin, config, attachment)
        elif step.command == "CHECK":
            invoke.check(plugin, config, attachment)
        else:
            invoke.delete(plugin, config, attachment)
    except CniError as error:
        return _answer(error.code, error.msg)
    except EmuError as error:
        return f"not modelled: {error}"
    return "ok"
