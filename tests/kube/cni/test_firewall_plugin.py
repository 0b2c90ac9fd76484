"""firewall on emulated namespaces: the rules of a policy that this machine's binary is too old for, and what DEL leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cni_judge import Step, call, machine
from emu.clock import Clock
from emu.errors import Undecided
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kube.cni import invoke
from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.keys import remarks
from emu.kube.cni.spec import Attachment, Host

ISOLATED = """\
-A FORWARD -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)" -j CNI-ISOLATION-STAGE-1
-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
-A CNI-FORWARD -d 10.244.1.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A CNI-FORWARD -s 10.244.1.2/32 -j ACCEPT
-A CNI-ISOLATION-STAGE-1 -i cni0 -o cni0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: isolated)" -j DROP
-A CNI-ISOLATION-STAGE-1 -i cni0 ! -o cni0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: isolated)" -j CNI-ISOLATION-STAGE-2
-A CNI-ISOLATION-STAGE-1 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)" -j RETURN
-A CNI-ISOLATION-STAGE-2 -o cni0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)" -j DROP
-A CNI-ISOLATION-STAGE-2 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)" -j RETURN
"""


def attachment(node: Netns, number: int) -> Attachment:
    return Attachment(f"cid{number}", boot.namespace(node.clock, f"pod{number}"), "eth0", Host(node))


def step(command: str, addresses: Sequence[str], policy: str) -> Step:
    ips = [{"address": each, "interface": 2} for each in addresses]
    return Step(command, {"ingressPolicy": policy}, previous=ips)


def test_isolated() -> None:
    node = machine(Clock(1))
    own = attachment(node, 1)
    for _ in range(2):
        assert call("firewall", step("ADD", ["10.244.1.2/24"], "isolated"), own) == "ok"
        assert [line for line in node.ipv4.tables.save().splitlines() if line[:2] == "-A"] == ISOLATED.splitlines()


@pytest.mark.parametrize("backend", ["firewalld", "nftables"])
def test_another_backend_is_not_modelled(backend: str) -> None:
    node = machine(Clock(1))
    config = {
        "name": "n",
        "cniVersion": "1.0.0",
        "backend": backend,
        "prevResult": {"ips": [{"address": "10.0.0.2/24"}]},
    }
    with pytest.raises(Undecided, match=backend):
        invoke.add("firewall", config, attachment(node, 1))
    assert node.ipv4.tables.save() == ""


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"backend": "iptables", "ingressPolicy": "open", "firewalldZone": "trusted"}, []),
        (
            {"backend": "firewalld"},
            [("plugin firewall", '"backend" is not modelled: the backends firewalld and nftables')],
        ),
        ({"ingresspolicy": "open"}, [("plugin firewall", 'unknown key "ingresspolicy" (expected "ingressPolicy"?)')]),
    ],
)
def test_keys(keys: dict[str, Any], found: list[tuple[str, str]]) -> None:
    network = NetworkConfigList.from_json(
        {"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": "firewall", **keys}]}
    )
    assert [*remarks(network)] == found


POLICIES = st.sampled_from(["", "open", "same-bridge", "isolated", "closed"])
ADDRESSES = st.lists(st.sampled_from([f"10.244.1.{last}/24" for last in range(4, 8)]), unique=True)


@settings(max_examples=100, deadline=None)
@given(addresses=ADDRESSES, policy=POLICIES, times=st.integers(1, 2))
def test_del_leaves_the_node_as_it_was(addresses: list[str], policy: str, times: int) -> None:
    """What is common to all containers stays; another container made it before, and is the measure."""
    node = machine(Clock(1))
    other, own = attachment(node, 1), attachment(node, 2)
    call("firewall", step("ADD", ["10.244.1.2/24"], policy), other)
    before = node.ipv4.tables.save()
    for _ in range(times):
        call("firewall", step("ADD", addresses, policy), own)
    call("firewall", step("DEL", addresses, policy), own)
    assert node.ipv4.tables.save() == before
    assert call("firewall", step("CHECK", ["10.244.1.2/24"], policy), other) == "ok"
