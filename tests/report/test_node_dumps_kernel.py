"""The dumps of whole nodes in this machine's kernel: each packet meets the same rules there, and one of the same outcomes.

The real kernel draws; what it drew must be one of the outcomes that the emulator follows, with the counters
of every rule equal, and the packet that leaves the same (but for the port of a random source NAT).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from emu.report.node import Node
from emu.report.outcomes import DELIVERED, LEAVES, UNDECIDED, Outcome, Probe, outcomes
from emu.report.outcomes import packet as first_packet
from emu.report.packet import complete
from emu.wire.addr import ip4_text, mac_text
from emu.wire.frame import ICMP, TCP, Frame
from emu.wire.tcp import SYN
from linux import Linux
from node_dumps import NAMES, Dump, read

# For each order, a line: injects a frame at one far end, or has the node itself send; prints what came out of the far ends. What is
# expected has five seconds, as a busy machine is late. What comes later than its order's end is seen in the next one's.
DRIVER = """
import ctypes, json, os, select, socket, sys, time
node, *names = sys.argv[1:]
ends = {}
for name in names:
    ends[name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    ends[name].bind((name, 0))
print("ready", flush=True)

def from_node(proto, src, sport, dst, dport, uid):
    with open("/run/netns/" + node) as there:
        assert ctypes.CDLL(None).setns(there.fileno(), 0x40000000) == 0
    os.setuid(uid)  # the socket keeps who opened it
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if proto == 6 else socket.SOCK_DGRAM)
    s.bind((src, sport))
    s.setblocking(False)
    try:
        s.connect((dst, dport))
        s.send(b"")
    except OSError:
        pass
    time.sleep(0.05)

for line in sys.stdin:
    order = json.loads(line)
    if order["frame"]:
        ends[order["enter"]].send(bytes.fromhex(order["frame"]))
    else:
        child = os.fork()
        if not child:
            try:
                from_node(*order["sender"])
            except BaseException as wrong:
                sys.stderr.write(repr(wrong))
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    seen, began = [], time.monotonic()
    while True:
        late = len(seen) < order["expected"]
        left = began + (5 if late else order["quiet_s"]) - time.monotonic()
        if left <= 0:
            break
        for sock in select.select(list(ends.values()), [], [], left)[0]:
            data, address = sock.recvfrom(2000)
            if address[2] != socket.PACKET_OUTGOING:
                seen.append([address[0], data.hex()])
    print(json.dumps(seen), flush=True)
"""
TABLES = ("raw", "mangle", "nat", "filter")
RESET = "; ".join([*(f"iptables -t {table} -Z" for table in TABLES), "conntrack -F"])


class Real:
    """The dump's node in the real kernel: every link a veth whose far end is in one other namespace."""

    def __init__(self, linux: Linux, dump: Dump, node: Node) -> None:
        self.linux = linux
        self.net, self.far = linux.namespace("node"), linux.namespace("far")
        self.far_of = {name: f"far{number}" for number, name in enumerate(node.links)}
        run = linux.run
        for where in (self.net, self.far):
            for key in ("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"):
                run(where, "sysctl", "-qw", key)
        run(self.net, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
        run(self.net, "sysctl", "-qw", "net.ipv4.conf.default.rp_filter=0", "net.ipv4.icmp_ratelimit=0")
        run(self.net, "sysctl", "-qw", "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.default.send_redirects=0")
        for name, (mac, mtu) in node.links.items():
            far = self.far_of[name]
            words = ("address", mac_text(mac), "mtu", str(mtu), "type", "veth", "peer", "name", far, "netns", self.far)
            run(self.net, "ip", "link", "add", name, *words)
            run(self.net, "ip", "link", "set", name, "arp", "off", "up")
            run(self.far, "ip", "link", "set", far, "arp", "off", "up")
        for device, addr, length, _scope in node.addresses:
            run(self.net, "ip", "addr", "add", f"{ip4_text(addr)}/{length}", "dev", device)
        emulated, _sent = node.build()
        run(self.net, "ip", "route", "flush", "table", "main")
        for number, table in emulated.ipv4.fib.tables.items():
            for route in sorted(table, key=lambda each: each.gateway) if number != 255 else ():
                text = route.text() if route.onlink or not route.gateway else f"{route.text()} onlink"
                run(self.net, "ip", "route", "add", *text.split(), "table", str(number))
        for rule in emulated.ipv4.fib.rules:
            if rule.priority not in (0, 32766, 32767):
                asked = ["priority", str(rule.priority), "from", str(rule.src), "to", str(rule.dst)]
                asked += ["fwmark", f"{rule.mark}/{rule.mask}"] if rule.mask else []
                run(self.net, "ip", "rule", "add", *asked, "lookup", str(rule.table))
        if dump.ipset:
            run(self.net, "ipset", "restore", stdin=dump.ipset)
        run(self.net, "iptables-restore", stdin=dump.rules)

    @contextmanager
    def driven(self) -> Iterator[None]:
        """The driver runs while the block does."""
        words = ["ip", "netns", "exec", self.far, sys.executable, "-c", DRIVER, self.net, *self.far_of.values()]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as self.driver:
            try:
                self._answer()
                yield
            finally:
                self.driver.kill()

    def _answer(self) -> str:
        assert self.driver.stdout is not None
        line = self.driver.stdout.readline()
        assert line, "the driver has ended"
        return line

    def send(self, probe: Probe, node: Node, leaves: set[bool]) -> tuple[Counter[str], list[tuple[str, Frame]]]:
        """Counters by rule, and the frames that left, by interface. `leaves`: whether one is expected; both, if the kernel draws."""
        self.linux.run(self.net, "sh", "-ec", RESET)
        enter = self.far_of.get(probe.device, "")
        frame = ""
        if enter:
            sent = first_packet(probe.proto, (probe.src, probe.sport), (probe.dst, probe.dport), SYN, 1, 0)
            frame = (node.links[probe.device][0] + bytes(sent.buf[6:])).hex()
        order = {
            "frame": frame, "enter": enter, "expected": int(leaves == {True}), "quiet_s": 0.25 if len(leaves) > 1 else 0.05,
            "sender": (probe.proto, ip4_text(probe.src), probe.sport, ip4_text(probe.dst), probe.dport, probe.uid),
        }  # fmt: skip
        assert self.driver.stdin is not None
        self.driver.stdin.write(f"{json.dumps(order)}\n")
        self.driver.stdin.flush()
        seen = json.loads(self._answer())
        near = {far: name for name, far in self.far_of.items()}
        frames = [(near[far], Frame.parse(bytes.fromhex(data))) for far, data in seen]
        return counted(self.linux.run(self.net, "iptables-save", "-c")), frames


def counted(text: str) -> Counter[str]:
    found: Counter[str] = Counter()
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("["):
            counters, _, rule = line.partition(" ")
            packets = int(counters[1:].partition(":")[0])
            if packets:
                found[f"{table} {rule}"] += packets
    return found


def emulated(outcome: Outcome) -> Counter[str]:
    return Counter({f"{rule.table} {rule}": n for rule, n in outcome.there.counted.items() if n})


def own(frame: Frame, probe: Probe) -> bool:
    return frame.proto == probe.proto and not (probe.proto == TCP and frame.buf[frame.l4 + 13] & 4)


def result_of(frame: Frame) -> tuple[int, int, int, bytes]:
    """What rules may change beside addresses: TOS, TTL, length, and TCP's options."""
    end = frame.l4 + (frame.buf[frame.l4 + 12] >> 4) * 4 if frame.proto == TCP else 0
    return frame.buf[15], frame.buf[22], frame.tot_len, bytes(frame.buf[frame.l4 + 20 : end])


@pytest.mark.parametrize("name", NAMES)
def test_a_node_decides_as_the_kernel_with_its_rules_does(name: str, linux: Linux) -> None:
    dump = read(name)
    if dump.ipset and shutil.which("ipset") is None:
        pytest.skip("skipped: no real kernel to probe (no ipset)")
    node = dump.node()
    real = Real(linux, dump, node)
    with real.driven():
        assert sum(judged(real, node, probe) for probe in dump.probes)


def judged(real: Real, node: Node, probe: Probe) -> bool:
    """The kernel and the emulator agree on a packet; whether it leaves the node."""
    found = list(outcomes(node, complete(node, probe)))
    assert all(outcome.there.word != UNDECIDED for outcome in found)
    theirs, frames = real.send(probe, node, {outcome.there.word == LEAVES for outcome in found})
    if any(outcome.there.word == DELIVERED for outcome in found):
        # the kernel's answer walks on; the rules that the packet itself met are those of PREROUTING and OUTPUT
        outcome = found[0]
        assert emulated(outcome).items() <= theirs.items(), (probe, emulated(outcome) - theirs)
        return False
    fitting = [outcome for outcome in found if emulated(outcome) == theirs]
    assert fitting, (probe, [(emulated(outcome) - theirs, theirs - emulated(outcome)) for outcome in found])
    out = [(device, frame) for device, frame in frames if own(frame, probe)]
    outcome = fitting[0]
    if outcome.there.word != LEAVES:
        assert not out, probe
        return False
    device, frame = out[0]
    src, _sport, dst, dport = outcome.there.ended
    seen = frame.src, frame.dst, 0 if frame.proto == ICMP else frame.dport
    assert (device, *seen) == (outcome.there.device, src, dst, dport), probe
    if probe.device:  # of its own packets the kernel chooses options and identifiers itself
        assert result_of(frame) == result_of(outcome.there.frame), probe
    return True
