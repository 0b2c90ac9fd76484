"""What the twin does not set up in the kernel is named, and nothing is compared then. No kernel is asked here."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emu.clock import Clock
from emu.errors import Undecided
from emu.kernel import boot
from emu.kernel.link.ifb import Ifb
from emu.kernel.link.source_check import SourceChecks
from emu.kernel.link.tbf import Tbf, buffer_ticks
from emu.kernel.net import stacked_links, vrf_links
from emu.kernel.net.netns import Netns
from emu.kube.networks.kindnet.policy.queue import TABLE, QueuedPolicies
from emu.kube.policy.index import PolicyIndex
from emu.twin.picture import take

MAC = bytes((2, 0, 0, 0, 1, 0))


def filtering(net: Netns) -> None:
    boot.bridge(net, "br0", MAC).vlan_filtering = True


def bucket(net: Netns) -> None:
    net.device("eth0").qdisc = Tbf(1000, buffer_ticks(1000, 1000), 1000)


def redirect(net: Netns) -> None:
    net.device("eth0").ingress = Ifb(net.clock, "ifb0", MAC).redirect


def sources(net: Netns) -> None:
    net.bridge_hooks.sources = SourceChecks()
    net.bridge_hooks.sources.add("eth0", MAC, "c1-eth0")


def program(net: Netns) -> None:
    net.device("eth0").egress = lambda frame, device: True


def queue(net: Netns) -> None:
    net.programs[TABLE] = QueuedPolicies(net, PolicyIndex)
    net.programs[TABLE].selected = frozenset((1,))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (filtering, "the twin sets up no bridge with VLAN filtering"),
        (bucket, "the twin sets up no token bucket"),
        (redirect, "the twin sets up no token bucket"),
        (program, "the twin sets up no programs of tc"),
        (queue, "the twin sets up no queue of kindnet's policies"),
        (sources, "the twin sets up no check of source MACs"),
        (lambda net: stacked_links.vlan(net, "v5", net.device("eth0"), 5), "the twin makes no vlan"),
        (lambda net: stacked_links.macvlan(net, "m0", net.device("eth0"), MAC), "the twin makes no macvlan"),
        (lambda net: stacked_links.ipvlan(net, "i0", net.device("eth0")), "the twin makes no ipvlan"),
        (lambda net: vrf_links.vrf(net, "red", MAC, 10), "the twin makes no vrf"),
    ],
)
def test_what_the_twin_cannot_set_up(change: Callable[[Netns], object], words: str) -> None:
    clock = Clock(1)
    net = boot.namespace(clock, "node")
    boot.veth(net, "eth0", boot.namespace(clock, "lan"), "eth0", bytes((2, 0, 0, 0, 0, 1)), bytes((2, 0, 0, 0, 0, 2)))
    take(net)
    change(net)
    with pytest.raises(Undecided, match=words):
        take(net)
