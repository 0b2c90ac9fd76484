"""Matches and targets that keep state: how they are written, what they count, and this machine's kernel beside them."""

from __future__ import annotations

import re
import time

import pytest

from emu.errors import InputError
from emu.kernel.netfilter.rule_reader import parse_rules
from kernel_lab import kernel_judges
from odd_packets import CLIENT, SERVER, ip, udp
from router_pair import FILTER, EmuRouter, Router, alike, kernel_router, verdict

OTHER = "10.0.1.3"
X = "-m hashlimit --hashlimit-name x"
# What iptables 1.8.9 made of them, and "" where it refused them (1.8.11 refuses --ctproto 0 and 4:3)
SPELLED = [
    ("-m conntrack --ctexpire 5:9", "-m conntrack --ctexpire 5:9"),
    ("-m conntrack ! --ctexpire 3:3", "-m conntrack ! --ctexpire 3"),
    ("-m conntrack --ctexpire :5", "-m conntrack --ctexpire 0:5"),
    ("-m conntrack --ctexpire 5:", "-m conntrack --ctexpire 5:4294967295"),
    ("-m conntrack --ctexpire 4:3", ""),
    ("-m conntrack --ctexpire 42949672956", ""),
    ("-m conntrack --ctproto 0", ""),
    (
        "-m conntrack --ctdir REPLY --ctexpire 5:9 --ctorigsrcport 1 --ctstatus ASSURED --ctorigsrc 1.2.3.4",
        "-m conntrack --ctorigsrc 1.2.3.4 --ctorigsrcport 1 --ctstatus ASSURED --ctexpire 5:9 --ctdir REPLY",
    ),
    ("-m quota --quota 0x20", "-m quota --quota 32"),
    ("-m quota ! --quota 18446744073709551615", "-m quota ! --quota 18446744073709551615"),
    ("-m quota --quota 18446744073709551616", ""),
    (
        "-m connbytes --connbytes :1000 --connbytes-mode bytes --connbytes-dir both",
        "-m connbytes --connbytes 0:1000 --connbytes-mode bytes --connbytes-dir both",
    ),
    (
        "-m connbytes ! --connbytes 10:1000 --connbytes-mode packets --connbytes-dir reply",
        "-m connbytes ! --connbytes 10:1000 --connbytes-mode packets --connbytes-dir reply",
    ),
    (
        "-m connbytes --connbytes 1000: --connbytes-mode avgpkt --connbytes-dir original",
        "-m connbytes --connbytes 1000 --connbytes-mode avgpkt --connbytes-dir original",
    ),
    ("-m connbytes --connbytes 10:0 --connbytes-mode packets --connbytes-dir original", ""),
    ("-m connbytes --connbytes 0:1000 --connbytes-mode packets", ""),
    ("-m connlimit --connlimit-above 2", "-m connlimit --connlimit-above 2 --connlimit-mask 32 --connlimit-saddr"),
    (
        "-m connlimit ! --connlimit-above 2 --connlimit-mask 255.255.0.0 --connlimit-daddr",
        "-m connlimit --connlimit-upto 2 --connlimit-mask 16 --connlimit-daddr",
    ),
    ("-m connlimit --connlimit-mask 24", ""),
    ("-m helper --helper ftp-2121", "-m helper --helper ftp-2121"),
    ("-m helper", ""),
    ('-m connlabel --label "41" --set', '-m connlabel --label "41" --set'),
    ("-m connlabel --label 128", ""),
    (f"{X} --hashlimit-upto 7/minute", "-m hashlimit --hashlimit-upto 7/min --hashlimit-burst 5 --hashlimit-name x"),
    (
        f"{X} --hashlimit-upto 86400/day",
        "-m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 5 --hashlimit-name x --hashlimit-htable-expire 86400000",
    ),
    (f"{X} ! --hashlimit-above 3/sec", "-m hashlimit --hashlimit-upto 3/sec --hashlimit-burst 5 --hashlimit-name x"),
    (
        f"{X} --hashlimit-above 4kb/s --hashlimit-burst 5000",
        "-m hashlimit --hashlimit-above 4kb/s --hashlimit-burst 8kb --hashlimit-name x",
    ),
    (f"{X} --hashlimit-upto 100b/s", "-m hashlimit --hashlimit-upto 96b/s --hashlimit-name x"),
    (f"{X} --hashlimit-upto 5000mb/s", "-m hashlimit --hashlimit-upto 5286113568b/s --hashlimit-name x"),
    (f"{X} --hashlimit-upto 4kb/s --hashlimit-burst 5", ""),
    (
        f"{X} --hashlimit-upto 1/sec --hashlimit-mode dstport,srcip --hashlimit-srcmask 24 --hashlimit-htable-max 50",
        (
            "-m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 5 --hashlimit-mode srcip,dstport --hashlimit-name x "
            "--hashlimit-htable-max 50 --hashlimit-srcmask 24"
        ),
    ),
    (
        f"{X} --hashlimit-upto 40/sec --hashlimit-rate-match --hashlimit-rate-interval 10",
        (
            "-m hashlimit --hashlimit-upto 40/sec --hashlimit-burst 5 --hashlimit-name x --hashlimit-rate-match "
            "--hashlimit-rate-interval 10"
        ),
    ),
    (f"{X} --hashlimit-upto 1000001/sec", ""),
    (f"{X} --hashlimit-upto 1/day --hashlimit-burst 10000", ""),
    (f"{X} --hashlimit-upto 1/sec --hashlimit-above 2/sec", ""),
    ("-m hashlimit --hashlimit-upto 1/sec", ""),
]
TARGETS = [
    ("-j CT --zone 5", "-j CT --zone 5"),
    ("-j CT --zone 0", "-j CT"),
    ("-j CT --zone-orig mark", "-j CT --zone-orig mark"),
    ("-j CT --zone-orig 5 --zone-reply 6", "-j CT --zone 6"),
    ("-j CT --zone-reply 6 --zone-orig 5", "-j CT --zone 5"),
    ("-j CT --zone-orig 6 --zone 0x10", "-j CT --zone-orig 16"),
    ("-j CT --zone 65536", ""),
    ("-j CT --notrack --zone 3", "-j CT --notrack --zone 3"),
    ("-j CT --ctevents secmark,new --expevents new", "-j CT --ctevents new,secmark --expevents new"),
    ("-j CT --ctevents foo", ""),
    ("-p tcp -j CT --zone 3 --helper ftp", "-p tcp -j CT --helper ftp --zone 3"),
    ("-p udp -j CT --helper ftp", ""),
    ("-j CT --helper ftp", ""),
]


def spelled(text: str, table: str, chain: str) -> str:
    try:
        return parse_rules(text.replace('"', "").split(), table, chain)[0].spec
    except InputError:
        return ""


@pytest.mark.parametrize(("given", "saved"), SPELLED)
def test_matches_are_written_as_iptables_writes_them(given: str, saved: str) -> None:
    assert spelled(given, "filter", "FORWARD") == saved


@pytest.mark.parametrize(("given", "saved"), TARGETS)
def test_ct_is_written_as_iptables_writes_it(given: str, saved: str) -> None:
    assert spelled(given, "raw", "PREROUTING") == saved


RULES = f"""*filter
-A FORWARD -m quota --quota 200
-A FORWARD -m quota ! --quota 200
-A FORWARD -m quota --quota 0
-A FORWARD -m connbytes --connbytes 2:3 --connbytes-mode packets --connbytes-dir both
-A FORWARD -m connbytes ! --connbytes 2:3 --connbytes-mode packets --connbytes-dir original
-A FORWARD -m connbytes --connbytes 100 --connbytes-mode bytes --connbytes-dir reply
-A FORWARD -m connbytes --connbytes 32:40 --connbytes-mode avgpkt --connbytes-dir both
-A FORWARD -m connlimit --connlimit-above 2 --connlimit-mask 32 --connlimit-saddr
-A FORWARD -m connlimit --connlimit-above 3 --connlimit-mask 24 --connlimit-saddr
-A FORWARD -m connlimit --connlimit-upto 2 --connlimit-mask 32 --connlimit-daddr
-A FORWARD -m connlabel --label "7"
-A FORWARD -p udp -m udp --dport 3001 -m connlabel --label "7" --set
-A FORWARD -m connlabel ! --label "7"
-A FORWARD -m helper --helper ftp
-A FORWARD -m helper ! --helper ftp
-A FORWARD -m conntrack --ctexpire 29:30
-A FORWARD -m conntrack --ctexpire 0
-A FORWARD -m conntrack ! --ctexpire 0:100
-A FORWARD {X}1 --hashlimit-upto 2/hour --hashlimit-burst 3 --hashlimit-mode srcip
-A FORWARD {X}2 --hashlimit-above 2/hour --hashlimit-burst 3 --hashlimit-mode srcip,dstport
-A FORWARD {X}3 --hashlimit-upto 2/hour --hashlimit-burst 4 --hashlimit-mode dstip --hashlimit-dstmask 8
-A FORWARD {X}4 --hashlimit-upto 96b/s --hashlimit-mode srcip
-A FORWARD {X}5 --hashlimit-above 1kb/s --hashlimit-burst 2kb
-A FORWARD {X}6 --hashlimit-upto 3/sec --hashlimit-burst 2 --hashlimit-rate-match
-A FORWARD {X}1 --hashlimit-above 1000/sec --hashlimit-burst 90
COMMIT
"""
_LINE = re.compile(r"\[(\d+:\d+)\] (-A FORWARD .*)")


def counted(router: Router) -> list[tuple[str, str]]:
    found = (_LINE.fullmatch(line.strip()) for line in router.saved().splitlines())
    return [(each[2], each[1]) for each in found if each is not None]


def differing(rules: str, sent: list[tuple[float, str, bytes]]) -> list[object]:
    """Send packets, each after a pause in seconds; where the counters or the entries differed. The emulated router gets as
    much time as the kernel needed, to the jiffy: where a jiffy decided, the next of three tries will agree."""
    found: list[object] = []
    for _ in range(3):
        found.clear()
        with kernel_router(rules) as kernel:
            router, began, passed = EmuRouter(rules), time.monotonic(), 0.0
            for number, (pause, side, packet) in enumerate(sent):
                time.sleep(pause)
                now = time.monotonic() - began
                kernel.send(side, packet)
                router.wait(now - passed)
                router.send(side, packet)
                passed = now
                if counted(kernel) != counted(router):
                    pairs = zip(counted(kernel), counted(router), strict=True)
                    found.append((number, [pair for pair in pairs if pair[0] != pair[1]]))
                    break
            if "connbytes" in rules and not alike(kernel.conns(), router.conns()):
                found.append((kernel.conns(), router.conns()))
        if not found:
            break
    return found


def datagrams() -> list[tuple[str, bytes]]:
    """Four connections of two clients, with answers; and one that no connection takes."""
    sent = []
    for number in range(24):
        src = (CLIENT, OTHER)[number % 3 == 2]
        ports = 1500, 3000 + number % 2 + (number > 16) * 4
        sent.append(("c", ip(src, SERVER, 17, udp(src, SERVER, ports, bytes(number % 7 * 9)))))
        if number % 4 == 1:
            sent.append(("s", ip(SERVER, src, 17, udp(SERVER, src, ports[::-1], bytes(60)))))
    return [*sent, ("c", ip(CLIENT, SERVER, 17, udp(CLIENT, SERVER, (1500, 3000), b"bad", check="bad")))]


@kernel_judges
def test_the_kernel_counts_the_same() -> None:
    # nf_conncount looks at a group once a jiffy
    assert differing(RULES, [(0.008, side, packet) for side, packet in datagrams()]) == []


@kernel_judges
def test_credit_grows_with_time() -> None:
    rules = f"""*filter
-A FORWARD {X} --hashlimit-upto 5/sec --hashlimit-burst 2 --hashlimit-mode srcip
-A FORWARD {X}b --hashlimit-upto 1kb/s
-A FORWARD {X}r --hashlimit-above 4/sec --hashlimit-burst 1 --hashlimit-rate-match
-A FORWARD {X}e --hashlimit-upto 1/hour --hashlimit-burst 1 --hashlimit-htable-expire 300
COMMIT
"""
    packet = ip(CLIENT, SERVER, 17, udp(CLIENT, SERVER, (1500, 3000), bytes(400)))
    pauses = [0, 0, 0, 0.3, 0, 0.1, 0.2, 0, 1.1, 0, 0, 0, 0, 0, 0.25, 0.25, 0.1, 0.1]
    assert differing(rules, [(pause, "c", packet) for pause in pauses]) == []


ZONES = [
    "-A PREROUTING -p udp -j CT --zone 5",
    "-A PREROUTING -i eth0 -j CT --zone-orig 5",
    "-A PREROUTING -j CT --zone-orig 5",
    "-A PREROUTING -i eth0 -j CT --zone-reply 5",
    "-A PREROUTING -i eth0 -j CT --zone 1\n-A PREROUTING -i eth1 -j CT --zone 2",
    "-A PREROUTING -i eth0 -j CT --zone-orig 1\n-A PREROUTING -i eth1 -j CT --zone-reply 1",
    "-A PREROUTING -s 10.0.1.3/32 -j CT --zone 7\n-A PREROUTING -j CT --zone 8",
    "-A PREROUTING -j CT --notrack --zone 3",
    "-A PREROUTING -p udp -m udp --dport 69 -j CT --helper tftp --zone 4",
    "-A PREROUTING -j CT",
]


@kernel_judges
@pytest.mark.parametrize("rules", ZONES)
@pytest.mark.parametrize("nat", [False, True])
def test_zones(rules: str, nat: bool) -> None:
    """Entries, and what is NEW and ESTABLISHED; with NAT, whether two zones' tuples clash."""
    which = "-o eth1 -p udp" if nat else "-s 192.0.2.1/32"
    text = f"*raw\n{rules}\nCOMMIT\n{FILTER}*nat\n-A POSTROUTING {which} -j SNAT --to-source 10.0.2.1\nCOMMIT\n"
    back = "10.0.2.1" if nat else CLIENT
    with kernel_router(text) as kernel:
        router = EmuRouter(text)
        for number, (side, src, dst, ports) in enumerate([
            ("c", CLIENT, SERVER, (1500, 69)), ("s", SERVER, back, (69, 1500)), ("c", CLIENT, SERVER, (1500, 69)),
            ("c", OTHER, SERVER, (1500, 70)), ("s", SERVER, back, (80, 1500)),
        ]):  # fmt: skip
            packet = ip(src, dst, 17, udp(src, dst, ports, b"data"))
            words = verdict(kernel, side, packet), verdict(router, side, packet)
            assert words[0] == words[1], number
            entries = [
                re.sub(r"port=(?!69|70|80|1500)[0-9]+", "port=drawn", "|".join(each.conns()))
                for each in (kernel, router)
            ]
            assert alike(*(each.split("|") if each else [] for each in entries)), (number, entries)
