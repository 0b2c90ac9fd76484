"""The README's two properties, in the form that a user would write them, and quoted there: short, so without types."""
# mypy: disable-error-code="no-untyped-def,union-attr"

from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

import emu
from emu.kernel.boot import route

port = st.integers(1, 65535)


@given(port, port, st.binary(max_size=100))
@settings(deadline=None)  # the first frame imports Scapy
def test_nat_there_and_back_is_identity(asked, real, data):
    lab = emu.Lab()
    client, router, server = lab.host("client"), lab.router("router"), lab.host("server")
    lab.cable(client, "10.0.0.2/24", router, "10.0.0.1/24", default=True)
    lab.cable(server, "10.1.0.2/24", router, "10.1.0.1/24", default=True)
    lab.iptables(router, f"-t nat -A PREROUTING -p udp --dport {asked} -j DNAT --to-destination 10.1.0.2:{real}")
    listening, talking = server.sockets.udp(), client.sockets.udp()
    listening.bind(("10.1.0.2", real))
    talking.connect(("10.9.9.9", asked))
    talking.send(data)
    listening.sendto(*listening.recvfrom())
    assert talking.recv() == data  # connected: it receives from 10.9.9.9 only


@given(st.sets(st.integers(1, 24)), st.ip_addresses(v=4, network="10.0.0.0/8"))
@settings(deadline=None)
def test_the_longest_prefix_wins(lengths, target):
    lab = emu.Lab()
    router = lab.router("router")
    nets = [ip_network(("10.0.0.0", length), strict=False) for length in lengths]
    for number, net in enumerate(nets):
        lab.cable(router, f"192.168.{number}.1/24", lab.host(f"next-{number}"), f"192.168.{number}.2/24")
        route(router, f"{net} via 192.168.{number}.2")
    longest = max((net for net in nets if target in net), key=lambda net: net.prefixlen, default=None)
    taken = router.ipv4.fib.lookup(int(ip_address(target)))
    assert taken is None if longest is None else str(ip_address(taken.gateway)) == f"192.168.{nets.index(longest)}.2"
