"""The bench without Kubernetes: its defaults, and the input that it refuses."""

from __future__ import annotations

import pytest

from emu.errors import InputError
from emu.lab import Lab


def test_a_router_with_one_dnat_rule_is_six_lines() -> None:
    lab = Lab()
    client, router, server = lab.host("client"), lab.router("router"), lab.host("server")
    lab.cable(client, "10.0.0.2/24", router, "10.0.0.1/24", default=True)
    lab.cable(server, "10.1.0.2/24", router, "10.1.0.1/24", default=True)
    lab.iptables(router, "-t nat -A PREROUTING -d 10.9.9.9 -j DNAT --to-destination 10.1.0.2")
    client.sockets.ping(1).send("10.9.9.9")
    lines = [frame.line() for frame in lab.frames("client/eth0") if frame.flow == 1 and "ICMP" in frame.line()]
    assert [line.split()[2:5] for line in lines] == [
        ["[client>router]", "10.0.0.2>10.9.9.9", "ttl64"],
        ["[router>client]", "10.9.9.9>10.0.0.2", "ttl63"],
    ]


def test_names_and_macs_are_given() -> None:
    lab = Lab()
    one, other = lab.host("one"), lab.host("other")
    ends = [lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24"), lab.cable(one, "", other, "")]
    assert [[device.name for device in pair] for pair in ends] == [["eth0", "eth0"], ["eth1", "eth1"]]
    macs = [device.mac for pair in ends for device in pair]
    assert len(set(macs)) == 4
    assert all(mac[0] & 3 == 2 for mac in macs), "locally administered, unicast"
    assert [str(address) for address in one.ipv4.addresses] == ["127.0.0.1/8", "10.0.0.1/24"]


def test_ports_of_a_bridge_have_no_address() -> None:
    lab = Lab()
    node, pod, other = lab.router("node"), lab.host("pod"), lab.host("other")
    bridge = lab.bridge(node, "cbr0", "10.0.0.1/24")
    lab.cable(pod, "10.0.0.2/24", bridge, "")
    lab.cable(bridge, "", other, "10.0.0.3/24")
    assert [port.device.name for port in bridge.ports] == ["eth1", "eth0"], "newest first"
    socket = pod.sockets.ping()
    socket.send("10.0.0.3")
    assert [reply.ttl for reply in socket.replies] == [64]
    assert lab.frames("node/cbr0")[0].direction == "in", "the question was handed up"


def test_sysctls_by_name() -> None:
    lab = Lab()
    host = lab.host("host", net__ipv4__ip_default_ttl=7)
    lab.cable(host, "10.0.0.1/24", lab.host("other"), "10.0.0.2/24")
    host.sockets.ping(1).send("10.0.0.2")
    assert " ttl7 " in next(
        frame.line() for frame in lab.frames("other/eth0") if frame.flow == 1 and "ICMP" in frame.line()
    )
    with pytest.raises(InputError, match="ip_default_ttl"):
        lab.host("third", net__ipv4__ip_default_tll=7)


@pytest.mark.parametrize(
    ("rule", "error_text"),
    [
        ("-A NOWHERE -j ACCEPT", "no chain 'NOWHERE'"),
        ("-t naat -A INPUT -j ACCEPT", "unknown table 'naat'"),
        ("-A INPUT -j ACEPT", "ACEPT"),
        ("", "no rule is changed"),
        ("-t", "unknown table ''"),
    ],
)
def test_rules_that_cannot_be(rule: str, error_text: str) -> None:
    lab = Lab()
    with pytest.raises(InputError, match=error_text):
        lab.iptables(lab.router("router"), rule)


def test_chains_of_ones_own() -> None:
    lab = Lab()
    router = lab.router("router")
    lab.iptables(router, "-t nat -N KUBE-SVC", "-t nat -A PREROUTING -j KUBE-SVC", "-t nat -A KUBE-SVC -j RETURN")
    assert ":KUBE-SVC - [0:0]" in router.ipv4.tables.save()
    with pytest.raises(InputError, match="already"):
        lab.host("router")


@pytest.mark.parametrize("cidr", ["10.0.0.1/33", "10.0.0/24", "host/24"])
def test_addresses_that_cannot_be(cidr: str) -> None:
    lab = Lab()
    with pytest.raises(InputError):
        lab.cable(lab.host("one"), cidr, lab.host("other"), "10.0.0.2/24")


def test_without_a_capture() -> None:
    lab = Lab(capture=False)
    one, other = lab.host("one"), lab.host("other")
    lab.cable(one, "10.0.0.1/24", other, "10.0.0.2/24")
    socket = one.sockets.ping()
    socket.send("10.0.0.2")
    lab.run(0.5)
    assert len(socket.replies) == 1
    assert lab.clock.now >= 500_000_000
