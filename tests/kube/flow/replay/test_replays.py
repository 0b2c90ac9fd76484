"""Captures replayed in a cluster, in both modes: each packet has its end, payloads are equal, and what differs is stated."""

from __future__ import annotations

import pytest

from emu.capture.reader import reading
from emu.kube.cluster import Cluster
from replayed import DATA, Seen, cluster, conserved, replay

AS_RECORDED = [
    # capture, who serves, packets that arrive when sockets speak
    ("http", "svc/web:80", 6),
    ("print-flags", "svc/web:80", 6),  # HTTP over loopback
    ("tls", "svc/web:80", 16),
    ("tls", "default/web", 16),
    ("loss", "svc/web:80", 17),
    ("dns_udp", "svc/web:53", 2),
    ("dns_udp", "", 2),
    ("dns_tcp", "", 6),
    ("fragments", "svc/web:53", 2),
    ("fragments", "", 2),
    ("ping", "default/web", 6),
    ("ping", "node/node-2", 6),
    ("ping", "", 6),
    ("bgp-encap", "default/web", 1),
]


@pytest.mark.parametrize(("name", "server", "arrive"), AS_RECORDED, ids=lambda value: str(value) or "outside")
def test_sockets_speak_what_was_recorded(name: str, server: str, arrive: int) -> None:
    where = cluster()
    seen = replay(where, name, server=server)
    verdicts = seen.verdicts
    assert verdicts.get("same", 0) + verdicts.get("rewritten", 0) == arrive, verdicts
    assert set(verdicts) <= {"same", "rewritten", "not sent"}
    assert [each.outcome for each in seen.flows] == ["delivered"] * seen.totals.flows
    assert seen.totals.differences == 0 and not [each for each in seen.packets if each.differences]
    assert all(each.payload[0] == each.payload[1] for each in seen.flows)
    assert where.flows == {}  # nothing of a replay without a capture stays
    assert conserved(where)


FRAMES = [
    ("http", "svc/web:80", {"rewritten": 10}),
    ("tls", "svc/web:80", {"rewritten": 23}),
    ("tls", "default/web", {"same": 23}),
    ("loss", "svc/web:80", {"rewritten": 37}),
    ("dns_udp", "svc/web:53", {"rewritten": 2}),
    ("dns_tcp", "", {"rewritten": 11}),  # masqueraded
    ("fragments", "svc/web:53", {"rewritten": 6, "not sent": 1}),
    ("ping", "default/web", {"same": 6}),
    ("bgp-encap", "default/web", {"same": 1}),
    ("forces1", "default/web", {"same": 4, "dropped": 16}),
]


@pytest.mark.parametrize(("name", "server", "verdicts"), FRAMES)
def test_packets_as_they_are(name: str, server: str, verdicts: dict[str, int]) -> None:
    where = cluster()
    seen = replay(where, name, server=server, mode="frames")
    assert seen.verdicts == verdicts
    assert seen.totals.differences == verdicts.get("dropped", 0)
    assert conserved(where)


def test_sctp_has_no_endpoint_and_is_sent_as_it_is() -> None:
    """The association began before the recording: connection tracking takes its packets for INVALID, as the kernel does."""
    seen = replay(cluster(), "forces1", server="default/web")
    assert seen.totals.notes == ["emu has no endpoint of sctp: its packets are sent as they are"]
    dropped = [each for each in seen.packets if each.verdict == "dropped"]
    assert {each.why for each in dropped} == {"NETFILTER_DROP, -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP"}
    assert {each.at for each in dropped} == {"node-1/cbr0", "node-2/cbr0"}


def test_a_service_is_nat_there_and_its_inverse_back() -> None:
    seen = replay(cluster(), "http", server="svc/web:80")
    there, back = seen.packets[0], seen.packets[1]
    web = seen.flows[0].nat.partition("-> ")[2]
    assert seen.flows[0].nat == f"DNAT 10.96.0.100:80 -> {web}"
    assert [str(change) for change in there.changes] == [f"dst 10.96.0.100:80 -> {web}"]
    assert [str(change) for change in back.changes] == [f"src {web} -> 10.96.0.100:80"]
    assert (there.at, there.way, back.at, back.way) == ("default/web", "->", "default/client", "<-")
    assert (there.ttl, back.ttl) == (61, 61)


def test_the_pauses_are_the_recordings() -> None:
    where = cluster()
    began_ns = where.clock.now
    assert replay(where, "http", server="svc/web:80").totals.elapsed_ns >= 90_000_000
    assert replay(where, "http", server="svc/web:80", multiplier=9.0).totals.elapsed_ns < 20_000_000
    assert where.clock.now > began_ns


def test_the_server_itself_serves_again_afterwards() -> None:
    where = cluster()
    replay(where, "http", server="svc/web:80")
    flow = where.tcp("default/client", "svc/web:80", b"hello")
    assert (flow.outcome.word, flow.received) == ("delivered", b"hello")


@pytest.mark.parametrize("mode", ["stateful", "frames"])
def test_a_rule_that_drops_is_named(mode: str) -> None:
    where = cluster()
    where.configure("node/node-2", lambda net: net.ipv4.tables.restore(DROP, noflush=True))
    seen = replay(where, "http", server="svc/web:80", mode=mode, timeout_ns=2_000_000_000)
    first = seen.packets[0] if mode == "frames" else next(each for each in seen.packets if each.number == 1)
    dropped = next(each for each in seen.packets if each.number == 1)
    assert (dropped.verdict, dropped.at) == ("dropped", "node-2/eth0"), first
    assert dropped.why == "NETFILTER_DROP, -A FORWARD -p tcp -m tcp --dport 80 -j DROP"
    assert seen.totals.differences >= 1
    answer = next(each for each in seen.packets if each.number == 6)
    assert answer.verdict == "not sent" and answer.differences


DROP = "*filter\n-I FORWARD -p tcp -m tcp --dport 80 -j DROP\nCOMMIT\n"


def test_a_port_where_nothing_listens_refuses() -> None:
    seen = replay(cluster(), "http", server="svc/closed:81")
    assert seen.flows[0].outcome == "refused (RST) at default/web"
    sent = {each.number: each for each in seen.packets}
    assert sent[1].verdict == "dropped" and sent[1].at == "default/web/eth0" and "NO_SOCKET" in sent[1].why
    assert sent[4].verdict == "not sent" and "refused (RST)" in sent[4].why


def test_one_lost_segment_is_a_difference_and_comes_again() -> None:
    where = cluster()
    where.link("default/client", lose=[3])
    seen = replay(where, "http", server="svc/web:80")
    lost = [each for each in seen.packets if each.differences]
    assert seen.flows[0].outcome == "delivered" and seen.flows[0].payload == (80, 80)
    assert len(lost) == 1 and "and sent again" in lost[0].differences[0]


@pytest.mark.usefixtures("unknown_dataplane")
def test_a_policy_that_is_not_modelled_makes_it_undecided() -> None:
    from emu.kube.api.loader import load_text

    text = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}}}"
    where = cluster(network="kindnet")
    for each in load_text(text).objects:
        where.apply(each)
    seen = replay(where, "http", server="default/web:80")
    assert seen.totals.undecided == 1 and "not modelled" in seen.flows[0].undecided


def test_addresses_are_mapped_one_by_one() -> None:
    maps = ["192.168.1.10=default/client", "203.0.113.80=svc/web:80"]
    seen = replay(cluster(), "http", client="", maps=maps)
    assert (seen.flows[0].client, seen.flows[0].server) == ("default/client", "svc/web:80")
    assert seen.totals.differences == 0


def test_without_a_host_in_the_cluster_nothing_is_replayed() -> None:
    seen = replay(cluster(), "http", client="")
    assert dict(seen.totals.left_out) == {"neither of its ends is in the cluster": 10}
    assert seen.totals.flows == 0


def test_an_interface_receives_the_frames_as_they_are() -> None:
    """They are for another MAC, and the node's bridge port does not pass them up."""
    where = cluster()
    seen = replay(where, "http", client="", at="node-1/eth0")
    assert seen.verdicts == {"same": 10}
    assert all("another host's MAC" in each.notes[0] for each in seen.packets)
    assert conserved(where)


def test_an_interface_shows_what_its_host_does() -> None:
    where = cluster()
    node, web = where.node("node-2"), where.pod("default/web")
    with reading(DATA / "http.pcap") as capture:
        frame = bytearray(next(iter(capture)).data)
    frame[0:6] = node.net.device("eth0").mac
    frame[30:34] = web.ip.to_bytes(4, "big")
    for at in (24, 50):
        frame[at : at + 2] = b"\0\0"
    from emu.wire.checksum import checksum, pseudo_sum

    frame[24:26] = checksum(frame[14:34]).to_bytes(2, "big")
    src, dst = int.from_bytes(frame[26:30], "big"), int.from_bytes(frame[30:34], "big")
    frame[50:52] = checksum(frame[34:54], pseudo_sum(src, dst, 6, 20)).to_bytes(2, "big")
    data = bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000") + bytes(8)
    data += len(frame).to_bytes(4, "little") * 2 + frame
    seen = replay(where, data, client="", at="node-2/eth0")
    (packet,) = seen.packets
    assert (packet.verdict, packet.at, packet.ttl) == ("same", "default/web", 63)


def test_a_session_of_the_same_ports_comes_again() -> None:
    """The file twice over, on one clock: the second SYN opens another connection."""
    data = (DATA / "http.pcap").read_bytes()
    where: Cluster = cluster()
    seen: Seen = replay(where, data + _shifted(data[24:]), server="svc/web:80")
    assert seen.totals.flows == 2 and seen.totals.differences == 0
    assert [each.payload for each in seen.flows] == [(80, 80), (80, 80)]


def _shifted(data: bytes) -> bytes:
    """Records 100 s later, with other sequence numbers."""
    found, at = bytearray(data), 0
    while at < len(found):
        size = int.from_bytes(found[at + 8 : at + 12], "little")
        found[at : at + 4] = (int.from_bytes(found[at : at + 4], "little") + 100).to_bytes(4, "little")
        for place in (at + 16 + 38, at + 16 + 42):
            found[place] ^= 0x40
        at += 16 + size
    return bytes(found)
