"""portmap on emulated namespaces: what the rules are, that packets follow them, and that DEL leaves what was there before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cni_judge import BRIDGE, machine
from emu.clock import Clock
from emu.errors import EmuError, Undecided
from emu.kernel import boot
from emu.kernel.net.netns import Netns
from emu.kube.cni import invoke
from emu.kube.cni.config import NetworkConfigList
from emu.kube.cni.keys import remarks
from emu.kube.cni.plugins.portmap import Mapping, PortMapConf, rules_of
from emu.kube.cni.spec import IP, Attachment, CniError, Host

RESULT = {"cniVersion": "1.0.0", "ips": [{"address": "10.244.1.2/24"}]}


def config(*mappings: tuple[int, int, str], **keys: Any) -> dict[str, Any]:
    maps = [{"hostPort": host, "containerPort": port, "protocol": protocol} for host, port, protocol in mappings]
    made = {"cniVersion": "1.0.0", "name": "net", "type": "portmap", "prevResult": RESULT}
    return {**made, "runtimeConfig": {"portMappings": maps}, **keys}


def attachment(node: Netns, number: int = 1) -> Attachment:
    return Attachment(f"cid{number}", boot.namespace(node.clock, f"pod{number}"), "eth0", Host(node))


def state(node: Netns) -> tuple[str, int]:
    return node.ipv4.tables.save(), node.sysctl.conf(BRIDGE, "route_localnet")


def test_the_rules_are_pure() -> None:
    conf = PortMapConf("net", masq_all=True)
    conf.runtime_config.port_mappings = [Mapping(80, 8080, "tcp", "192.0.2.1")]
    found = rules_of(conf, "cid1", IP("10.244.1.2/24"))
    assert found.chain == "CNI-DN-a4f1c0cea3480fe949fc9"
    base = ["-p", "tcp", "--dport", "80", "-d", "192.0.2.1"]
    assert found.rules == [
        [*base, "-s", "0.0.0.0/0", "-j", "CNI-HOSTPORT-SETMARK"],
        [*base, "-j", "DNAT", "--to-destination", "10.244.1.2:8080"],
    ]


def test_the_nftables_backend_is_not_modelled() -> None:
    node = machine(Clock(1))
    with pytest.raises(Undecided, match="nftables"):
        invoke.add("portmap", config((80, 80, "tcp"), backend="nftables"), attachment(node))
    assert state(node) == ("", 0)


def test_a_backend_that_no_one_knows() -> None:
    node = machine(Clock(1))
    with pytest.raises(CniError, match='failed to parse config: unrecognized backend "ipvs"'):
        invoke.add("portmap", config((80, 80, "tcp"), backend="ipvs"), attachment(node))
    assert state(node) == ("", 0)


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"backend": "iptables", "snat": True, "conditionsV6": ["-d", "::1"], "masqAll": True}, []),
        ({"backend": "nftables"}, [("plugin portmap", '"backend" is not modelled: the nftables backend')]),
        ({"conditionV4": []}, [("plugin portmap", 'unknown key "conditionV4" (expected "conditionsV4"?)')]),
    ],
)
def test_keys(keys: dict[str, Any], found: list[tuple[str, str]]) -> None:
    plugin = {"type": "portmap", "capabilities": {"portMappings": True}, **keys}
    network = NetworkConfigList.from_json({"name": "net", "cniVersion": "1.0.0", "plugins": [plugin]})
    assert [*remarks(network)] == found


def test_the_result_before_is_handed_on() -> None:
    node = machine(Clock(1))
    for given_ports in ([(80, 80, "tcp")], []):
        result = invoke.add("portmap", config(*given_ports), attachment(node))
        assert result.to_json("1.0.0") == RESULT


PORTS = st.lists(
    st.tuples(st.integers(-1, 90), st.integers(0, 90), st.sampled_from(["tcp", "udp", "sctp", "quic"])), max_size=4
)
KEYS = st.fixed_dictionaries(
    {},
    optional={
        "snat": st.booleans(),
        "markMasqBit": st.integers(0, 31),
        "conditionsV4": st.sampled_from([["-d", "192.0.2.1"], ["-s", "192.0.2.1,192.0.2.2"], ["--nonsense"]]),
    },
)


@settings(max_examples=150, deadline=None)
@given(before=PORTS, ports=PORTS, keys=KEYS)
def test_del_leaves_the_node_as_it_was(before: list[Any], ports: list[Any], keys: dict[str, Any]) -> None:
    """Whatever an ADD did, also one that failed half-way. Another container made what is common to all before."""
    node = machine(Clock(1))
    other, own = attachment(node, 2), attachment(node, 1)

    def run(command: Any, who: Attachment, what: dict[str, Any]) -> None:
        try:
            command("portmap", what, who)
        except EmuError:
            assert command is not invoke.delete

    run(invoke.add, other, config((99, 99, "tcp"), **keys))
    run(
        invoke.add,
        other,
        config((99, 99, "tcp"), *((host, port, "udp") for host, port, _ in before if host > 0 < port)),
    )
    was = state(node)
    valid = [each for each in ports if each[0] > 0 and each[1] > 0]
    run(invoke.add, own, config(*ports, **keys))
    run(invoke.delete, own, config(*valid, (1, 1, "tcp")))
    assert state(node) == was
    run(invoke.delete, own, config((1, 1, "tcp")))
    assert state(node) == was
    run(invoke.delete, other, config((1, 1, "tcp")))
    assert not [line for line in state(node)[0].splitlines() if "CNI-DN-" in line]
