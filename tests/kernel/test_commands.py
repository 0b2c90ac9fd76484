"""Commands of iptables, ipset, ip route and ip rule on a namespace: what they change, as iptables 1.8.9 (nf_tables) and the kernel do."""

from __future__ import annotations

import pytest

from emu.clock import Clock
from emu.errors import InputError
from emu.kernel import boot, commands
from emu.kernel.net.netns import Netns


@pytest.fixture
def net() -> Netns:
    made, other = (boot.namespace(Clock(), name) for name in ("host", "other"))
    boot.veth(made, "eth0", other, "eth0", "02:00:00:00:00:01", "02:00:00:00:00:02")
    boot.address(made, "eth0", "10.0.0.1/24")
    return made


def main(net: Netns) -> list[str]:
    return [each.text() for each in net.ipv4.fib.main]


def policy(net: Netns) -> list[str]:
    return [each.text() for each in net.ipv4.fib.rules]


CONNECTED = "10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.1"


def test_delete_without_a_chain_takes_all_user_chains_or_none(net: Netns) -> None:
    for line in ("-N A", "-N B", "-A A -j ACCEPT"):
        commands.iptables(net, line)
    with pytest.raises(InputError, match="chain 'A' is not empty"):
        commands.iptables(net, "-X")
    assert ":B - " in net.ipv4.tables.save()
    commands.iptables(net, "-F")
    commands.iptables(net, "--table filter -X")
    assert ":A" not in net.ipv4.tables.save()


def test_a_flush_keeps_policies_and_other_tables(net: Netns) -> None:
    for line in ("-P FORWARD DROP", "-N A", "-A FORWARD -j A", "-t nat -A POSTROUTING -j MASQUERADE"):
        commands.iptables(net, line)
    commands.iptables_flush(net, ["filter"])
    text = net.ipv4.tables.save()
    assert "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n" in text
    assert "-A POSTROUTING -j MASQUERADE" in text
    commands.iptables_flush(net)
    assert "MASQUERADE" not in net.ipv4.tables.save()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('-A INPUT -m comment --comment "two words" -j DROP', '-A INPUT -m comment --comment "two words" -j DROP'),
        ("--append INPUT ! -s 10.0.0.0/8 -j DROP", "-A INPUT ! -s 10.0.0.0/8 -j DROP"),
        ("-A INPUT -t mangle -j MARK --set-mark 1", "-A INPUT -j MARK --set-xmark 0x1/0xffffffff"),
        ("-I INPUT 1 -p tcp -m tcp --dport 22 -j ACCEPT", "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"),
    ],
)
def test_rules_are_read_as_the_shell_hands_them_on(net: Netns, line: str, shown: str) -> None:
    commands.check_iptables(line)
    commands.iptables(net, line)
    assert shown in net.ipv4.tables.save().splitlines()


def test_routes_are_deleted_by_what_is_stated(net: Netns) -> None:
    for text in (
        "10.9.0.0/16 via 10.0.0.5",
        "10.9.0.0/16 via 10.0.0.6 metric 7",
        "blackhole 10.8.0.0/16",
        "10.9.0.0/16 dev eth0 tos 0x10",
    ):
        commands.route_add(net, text)
    for text in (
        "10.9.0.0/16 via 10.0.0.9",
        "10.9.0.0/16 metric 8",
        "10.9.0.0/24",
        "10.8.0.0/16 table 7",
        "unreachable 10.8.0.0/16",
    ):
        with pytest.raises(InputError, match="No such process"):
            commands.route_del(net, text)
    commands.route_del(net, "10.9.0.0/16")
    assert main(net)[-2:] == ["10.9.0.0/16 tos 0x10 dev eth0 scope link", "10.9.0.0/16 via 10.0.0.6 dev eth0 metric 7"]
    commands.route_del(net, "10.9.0.0/16 tos 0x10")
    commands.route_del(net, "10.9.0.0/16 via 10.0.0.6 dev eth0")
    commands.route_del(net, "10.8.0.0/16")
    assert main(net) == [CONNECTED]
    commands.route_del(net, "10.0.0.0/24 proto kernel")
    assert main(net) == []
    commands.route_del(net, "local 10.0.0.1")
    assert net.ipv4.addr_type(0x0A000001) == "UNICAST"


def test_a_route_is_replaced_or_stays(net: Netns) -> None:
    commands.route_replace(net, "default via 10.0.0.5")
    commands.route_replace(net, "default via 10.0.0.6")
    commands.route_replace(net, "default via 10.0.0.7 metric 3")
    with pytest.raises(InputError, match="the gateway is not on a link"):
        commands.route_replace(net, "default via 172.16.0.1")
    assert main(net) == ["default via 10.0.0.6 dev eth0", "default via 10.0.0.7 dev eth0 metric 3", CONNECTED]


def test_rules_are_deleted_by_what_is_stated(net: Netns) -> None:
    """`not` is not compared, the first that fits goes: asked of a kernel."""
    commands.rule_add(net, "not from 1.1.1.1 lookup 100 priority 50")
    commands.rule_del(net, "from 1.1.1.1")
    commands.rule_add(net, "from 1.1.1.1 lookup 100 priority 50")
    commands.rule_add(net, "from 1.1.1.1 prohibit priority 60")
    commands.rule_del(net, "not from 1.1.1.1 prohibit")
    assert policy(net)[1] == "50: from 1.1.1.1 lookup 100"
    commands.rule_del(net, "lookup 100")
    with pytest.raises(InputError, match="No such file or directory"):
        commands.rule_del(net, "from 9.9.9.9")
    commands.rule_del(net, "priority 0")
    assert policy(net) == ["32766: from all lookup main", "32767: from all lookup default"]


def test_sets_are_filled_and_emptied(net: Netns) -> None:
    for line in (
        "create a hash:ip",
        "add a 10.0.0.1-10.0.0.3",
        "del a 10.0.0.2",
        "create a hash:ip -exist",
        "add a 10.0.0.1 -exist",
    ):
        commands.check_ipset(line)
        commands.ipset(net, line)
    assert len(net.ipv4.tables.ipsets["a"].elements) == 2
    for line, message in (
        ("add a 10.0.0.1", "already in set"),
        ("del a 10.0.0.9", "it's not added"),
        ("flush b", "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            commands.ipset(net, line)
    commands.ipset(net, "del a 10.0.0.9 -exist")
    commands.ipset(net, "flush")
    assert net.ipv4.tables.ipsets.save() == "create a hash:ip\n"
    commands.ipset(net, "create six hash:ip family inet6")
    commands.ipset(net, "add six fd00::1")
    commands.ipset(net, "destroy")
    assert net.ipv4.tables.ipsets == {}
