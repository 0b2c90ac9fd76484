"""Matches and targets that ask for nothing but a packet's bytes, beside this machine's kernel: the same packets, counted by
the same rules, leave with the same bytes."""

from __future__ import annotations

import json
import random
import struct
import sys
import time

from emu.clock import EPOCH_NS, SECOND, Clock
from emu.kernel.netfilter.save import parse_restore
from emu.wire.addr import ip4
from emu.wire.checksum import checksum
from emu.wire.frame import ICMP, SCTP, TCP, UDP, Frame
from linux import Linux
from rules import Device, FakeNetns

AH, ESP = 51, 50
SENDER = """
import json, socket, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
tap.bind(("lo", 0))
tap.settimeout(2)
seen = []
for packet in json.load(sys.stdin):
    data = bytes.fromhex(packet)
    try:
        raw.sendto(data, (socket.inet_ntoa(data[16:20]), 0))
    except PermissionError:
        seen.append("")
        continue
    while True:
        frame, where = tap.recvfrom(65535)
        if where[2] == socket.PACKET_OUTGOING and frame[18:20] == data[4:6]:
            break
    seen.append(frame[14:].hex())
print(json.dumps(seen))
"""
MATCHES = """
-p tcp -m tcp
-p tcp -m tcp --tcp-option 2
-p tcp -m tcp --tcp-flags SYN,ACK SYN
-p tcp -m tcp --dport 80
-p tcp -m tcp ! --dport 80 --sport 1000:40000
-p udp -m udp --dport 80
-p udp -m udp ! --sport 80
-p tcp -m multiport --dports 80,443
! -p tcp -m tcp --dport 80
! -p tcp -m tcp ! --dport 80:90
! -p tcp -m tcp --tcp-flags SYN,ACK SYN
! -p udp -m udp --sport 1000:40000
-m string --string "GET /" --algo bm
-m string --string "GET /" --algo kmp
-m string ! --string "GET /" --algo bm
-m string --string "gEt /" --algo bm --icase
-m string --hex-string "|0d0a|" --algo bm
-m string --hex-string "|7f000002|" --algo kmp --to 20
-m string --hex-string "|7f000002|" --algo kmp --to 19
-m string --string "GET" --algo kmp --from 41
-m string --string "GET" --algo kmp --from 20 --to 60
-m u32 --u32 "0x0>>0x16&0x3c@0x0>>0x10=0x1:0x9c40"
-m u32 ! --u32 "0x6&0xff=0x6"
-m u32 --u32 "0x0>>0x16&0x3c@0xc>>0x1a&0x3c@0x0=0x47455420"
-m u32 --u32 "0x0>>0x16&0x3c@0x4&0xf0000000<<0x1=0x0,0x20000000:0xffffffff"
-m u32 --u32 "0x64=0x0:0xffffffff"
-m u32 --u32 "0x10&0xff=0x2&&0x6&0xff=0x6,0x11"
-m ecn --ecn-ip-ect 0
-m ecn --ecn-ip-ect 1
-m ecn ! --ecn-ip-ect 3
-p tcp -m ecn --ecn-tcp-ece
-p tcp -m ecn --ecn-tcp-ece ! --ecn-tcp-cwr
-p tcp -m ecn --ecn-tcp-cwr --ecn-ip-ect 0
-m policy --dir out --pol none
-m policy --dir out --pol ipsec
-m policy --dir out --pol ipsec --proto esp
-m realm --realm 0x5
-m realm ! --realm 0x5
-m realm --realm 0x0/0xff
-p sctp -m sctp --dport 80
-p sctp -m sctp --sport 0:65535
-p sctp -m sctp ! --sport 0:65535
-p sctp -m sctp --chunk-types any DATA
-p sctp -m sctp --chunk-types any DATA:UBe
-p sctp -m sctp --chunk-types all DATA,SACK
-p sctp -m sctp ! --chunk-types all DATA,SACK
-p sctp -m sctp --chunk-types only DATA,SACK
-p sctp -m sctp --chunk-types only DATA:E,SACK
-p sctp -m sctp --chunk-types only ALL
-p sctp -m sctp --chunk-types any NONE
-p sctp -m sctp ! --chunk-types any INIT,ABORT:t
-p ah -m ah --ahspi 7
-p ah -m ah ! --ahspi 5:9
-p esp -m esp --espspi 7
-p esp -m esp ! --espspi 0:6
-p icmp -m icmp --icmp-type 8
-m iprange --dst-range 127.0.0.9-127.0.0.2
"""
CHANGES = """
-p tcp -m tcp --dport 80 -j ECN --ecn-tcp-remove
-p tcp -m tcp --sport 1000:30000 -j TCPOPTSTRIP --strip-options 2,8
-p tcp -m tcp --dport 443 -j TCPOPTSTRIP --strip-options 3,4,5
-p tcp -m tcp --dport 443 -j TCPOPTSTRIP
"""


def tcp(chance: random.Random) -> bytes:
    options = b"".join(
        chance.sample(
            [b"\2\4\5\xb4", b"\4\2", b"\3\3\7", b"\1", b"\1", b"\x08\x0a" + bytes(range(8))], chance.randrange(7)
        )
    )
    options += b"\1" * (-len(options) % 4) if chance.randrange(2) else bytes(-len(options) % 4)
    head = struct.pack(
        "!HHIIBBHHH", chance.choice((999, 1000, 30000, 40000)), chance.choice((80, 90, 443)), 1, chance.randrange(1 << 32),
        (20 + len(options)) // 4 << 4, chance.choice((0x02, 0xC2, 0x12, 0x52, 0x10, 0x90)), 65535, 0, 0,
    )  # fmt: skip
    return head + options + chance.choice((b"", b"GET / HTTP/1.0\r\n\r\n", b"get /x", b"xGET"))


def udp(chance: random.Random) -> bytes:
    data = chance.choice((b"", b"GET /", b"\r\n", b"gEt /GET"))
    return struct.pack("!HHHH", chance.choice((80, 1000, 40000)), chance.choice((53, 80, 85)), 8 + len(data), 0) + data


def sctp(chance: random.Random) -> bytes:
    data = struct.pack("!HHII", 40000, chance.choice((80, 81)), 7, 0)
    for kind in chance.sample((0, 0, 1, 3, 3, 6, 77), chance.randrange(4)):
        body = bytes(chance.randrange(6))
        data += struct.pack("!BBH", kind, chance.randrange(16), 4 + len(body)) + body
        data += bytes(-len(body) % 4) if chance.randrange(4) else b""
    return data + chance.choice((b"", b"", b"", b"\0", b"\0\0\0\0"))


def spi(chance: random.Random, place: int) -> bytes:
    return (bytes(place) + struct.pack("!I", chance.choice((0, 5, 7, 9, 10))) + bytes(8))[
        : chance.choice((20, 20, 20, 8, 6))
    ]


def ipv4(chance: random.Random, ident: int) -> bytes:
    proto = chance.choice((TCP, TCP, TCP, UDP, SCTP, SCTP, AH, ESP, ICMP))
    body = {
        TCP: lambda: tcp(chance), UDP: lambda: udp(chance), SCTP: lambda: sctp(chance), AH: lambda: spi(chance, 4),
        ESP: lambda: spi(chance, 0), ICMP: lambda: struct.pack("!BBHHH", 8, 0, 0, 5, 1),
    }[proto]()  # fmt: skip
    src, dst = ip4("127.0.0.1"), ip4(f"127.0.0.{chance.choice((2, 3))}")
    if proto in (TCP, UDP):
        at = 16 if proto == TCP else 6
        pseudo = struct.pack("!IIBBH", src, dst, 0, proto, len(body))
        body = body[:at] + checksum(pseudo + body).to_bytes(2, "big") + body[at + 2 :]
    frag = chance.choice((0, 0, 0, 0, 0, 0x2000, 5))  # nf_tables reads the ports of a later fragment, too
    head = struct.pack("!BBHHHBBHII", 0x45, chance.randrange(4), 20 + len(body), ident, frag, 64, proto, 0, src, dst)
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body


def emus(net: FakeNetns, data: bytes) -> str:
    """The packet after emu's rules, in hexadecimal; "" where they drop it."""
    frame = Frame.parse(bytes(12) + b"\x08\x00" + data, trail=[])
    frame.outdev = Device("lo")
    for hook in ("OUTPUT", "POSTROUTING"):
        if net.run(hook, frame) is not None:
            return ""
    return bytes(frame.buf[14:]).hex()


def both(linux: Linux, text: str, packets: list[bytes], clock: Clock | None = None) -> None:
    """The same packets through the same rules: counters and bytes."""
    netns = linux.namespace("bytes")
    linux.run(netns, "iptables-restore", stdin=text.replace("*mangle\n", "*mangle\n-A INPUT -j DROP\n"))  # no answers
    seen = linux.run(netns, sys.executable, "-c", SENDER, stdin=json.dumps([each.hex() for each in packets]))
    theirs = [
        line
        for line in linux.run(netns, "iptables-save", "-c").splitlines()
        if " OUTPUT " in line or " POSTROUTING " in line
    ]
    theirs = [line for line in theirs if line.startswith("[")]
    net = FakeNetns(clock=clock or Clock(), local=frozenset((ip4("127.0.0.1"),)))
    ruleset = parse_restore(text)
    net.tables.replace(ruleset)
    assert [emus(net, each) for each in packets] == json.loads(seen)
    assert [line for line in net.tables.save(counters=True).splitlines() if line.startswith("[")] == theirs


def chain(name: str, rules: str) -> str:
    return "".join(f"-A {name} {rule}\n" for rule in rules.strip().splitlines())


def test_bytes_are_matched_and_changed_as_the_kernel_does(linux: Linux) -> None:
    text = f"*mangle\n{chain('OUTPUT', MATCHES)}{chain('POSTROUTING', CHANGES)}COMMIT\n"
    chance = random.Random(20240607)
    both(linux, text, [ipv4(chance, 1 + number) for number in range(400)])


def test_the_time_is_the_clocks(linux: Linux) -> None:
    """The virtual clock set to this machine's date, and rules two hours around it."""
    now_s = int(time.time())
    clock = Clock()
    clock.run_until(now_s * SECOND - EPOCH_NS)

    def date(seconds: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))

    def hour(seconds: int) -> str:
        return time.strftime("%H:%M:%S", time.gmtime(seconds))

    today = time.gmtime(now_s)
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[today.tm_wday]
    late = f"--datestop {date(now_s + 7200)}"
    rules = [
        f"-m time --datestart {date(now_s - 7200)} {late}", f"-m time --datestart {date(now_s + 3600)} {late}",
        f"-m time --datestop {date(now_s - 3600)}", f"-m time --timestart {hour(now_s - 7200)} --timestop {hour(now_s + 7200)} {late}",
        f"-m time --timestart {hour(now_s + 7200)} --timestop {hour(now_s - 7200)} {late}", f"-m time --weekdays {day} {late}",
        f"-m time ! --weekdays {day} {late}", f"-m time --monthdays {today.tm_mday} {late}",
        f"-m time --monthdays {today.tm_mday % 28 + 1} {late}",
        f"-m time --timestart {hour(now_s + 7200)} --timestop {hour(now_s + 3600)} --weekdays {day} {late}",
    ]  # fmt: skip
    text = f"*mangle\n{chain('OUTPUT', chr(10).join(rules))}COMMIT\n"
    chance = random.Random(7)
    data = udp(chance)
    head = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(data), 9, 0, 64, UDP, 0, ip4("127.0.0.1"), ip4("127.0.0.1"))
    both(linux, text, [head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + data], clock)
