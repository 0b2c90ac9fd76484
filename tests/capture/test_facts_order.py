"""Facts of frames that really walked: the kernel's order, connections by namespace, and the end of an entry."""

from __future__ import annotations

from emu.kernel.net.netns import Netns
from emu.lab import Lab


def between_two_routers() -> tuple[Lab, Netns, Netns]:
    """client - one - two - server, with a rule in FORWARD and a masquerade on each router."""
    lab = Lab()
    client, one, two, server = lab.host("client"), lab.router("one"), lab.router("two"), lab.host("server")
    lab.cable(client, "10.0.0.2/24", one, "10.0.0.1/24", default=True)
    lab.cable(one, "10.1.0.1/24", two, "10.1.0.2/24", default=True)
    lab.cable(server, "10.2.0.2/24", two, "10.2.0.1/24", default=True)
    for router in (one, two):
        lab.iptables(router, "-A FORWARD -p tcp -j ACCEPT", "-t nat -A POSTROUTING -j MASQUERADE")
    return lab, client, server


def facts_of(lab: Lab, interface: str, flags: str) -> list[str]:
    frame = next(each for each in lab.frames(interface) if f"[{flags}]" in each.line())
    comment: str = frame.comment()
    return comment.splitlines()[1:-1]


def test_a_router_looks_up_the_route_and_lowers_the_ttl_before_forward() -> None:
    lab, client, _server = between_two_routers()
    client.sockets.tcp(1).connect(("10.2.0.2", 80))
    lab.run(1)
    assert facts_of(lab, "one/eth1", "S")[:3] == [
        "route default via 10.1.0.2 dev eth1",
        "ttl 64 -> 63",
        "filter FORWARD rule 1: ACCEPT",
    ]


def test_entries_of_two_namespaces_have_two_names() -> None:
    lab, client, _server = between_two_routers()
    client.sockets.tcp(1).connect(("10.2.0.2", 80))
    lab.run(1)
    for router in ("one", "two"):
        assert any(fact.endswith(f"ct NEW {router}#1") for fact in facts_of(lab, f"{router}/eth1", "S"))


def test_a_reset_as_the_only_answer_ends_the_entry() -> None:
    lab, client, _server = between_two_routers()
    client.sockets.tcp(1).connect(("10.2.0.2", 80))
    lab.run(1)
    facts = [facts_of(lab, f"{router}/eth0", "RA") for router in ("one", "two")]
    assert [[fact for fact in each if fact.startswith("ct ")] for each in facts] == [
        ["ct one#1 is destroyed"],
        ["ct two#1 is destroyed"],
    ]
    assert not list(lab.namespaces["one"].conntrack or ())


def test_a_node_shows_the_route_before_output_and_the_one_after_dnat() -> None:
    lab, _client, _server = between_two_routers()
    one = lab.namespaces["one"]
    lab.iptables(one, "-t nat -A OUTPUT -d 10.9.9.9 -j DNAT --to-destination 10.0.0.2")
    one.sockets.ping(1).send("10.9.9.9")
    lab.run(1)
    frame = next(each for each in lab.frames("one/eth0") if "echo-request" in each.line())
    facts = frame.comment().splitlines()[1:-1]
    assert [fact.split(" src ")[0] for fact in facts if "POSTROUTING" not in fact][:4] == [
        "born here: ping sends an echo request",
        "route default via 10.1.0.2 dev eth1",
        "nat OUTPUT: DNAT dst 10.9.9.9 -> 10.0.0.2, ct NEW one#1",
        "rule 1 of OUTPUT: -d 10.9.9.9/32 -j DNAT --to-destination 10.0.0.2",
    ]
    assert any(fact.startswith("route 10.0.0.0/24 dev eth0") for fact in facts[4:])
