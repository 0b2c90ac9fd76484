"""Devices and frames in namespaces of the kernel and in the emulator's: the same commands, the same frames sent, and what
each interface sees of them.

A line of an answer is `NAMESPACE/DEVICE in|out FRAME`, sorted; identifications and checksums of IPv4 are left out. Where the
machine's kernel lacks a kind of device, what another kernel did is in tests/reference/recorded/links.json. Must not know cases.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from emu.clock import Clock
from emu.errors import SocketError
from emu.kernel.net.netns import Netns
from emu.lab import Lab
from emu.twin.ring import Ring
from emu.twin.space import Space, TwinError
from emu.wire.addr import addr_text, mac_text
from emu.wire.frame import ETH_P_ARP, ETH_P_IP, ICMP, IP_HLEN, UDP, Frame
from emu.wire.icmp import DEST_UNREACH
from ip_words import Spaces, run

SPACES = ("node", "pod0", "pod1", "lan")
IGMP = bytes.fromhex("01005e000016")  # reports, which emu does not send
PAUSE_S, QUIET_S = 0.002, 0.06
# node and lan are two machines on one cable
CABLE = "node link add eth0 address 02:00:00:00:00:0a type veth peer name eth0 address 02:00:00:00:00:0b netns lan"


class Send(NamedTuple):
    """A frame that a program sends on a device."""

    space: str
    device: str
    data: bytes


class Datagram(NamedTuple):
    """A datagram of `size` bytes that a new socket sends, from port `sport` to port 9."""

    space: str
    dst: str
    size: int = 8
    sport: int = 5000


@dataclass(frozen=True)
class Case:
    """`commands`: the namespace, then `ip`'s words. They come before any frame."""

    commands: Sequence[str]
    acts: Sequence[Send | Datagram]


def line(data: bytes) -> str:
    """A frame in words."""
    frame = Frame.parse(data)
    tags = ""
    while frame.ethertype == 0x8100:
        tags += f" vlan {(data[14] << 8 | data[15]) & 0xFFF}"
        data = data[:12] + data[16:]
        frame = Frame.parse(data)
    head = f"{mac_text(frame.smac)} > {mac_text(frame.dmac)}{tags}"
    if frame.ethertype == ETH_P_ARP:
        return f"{head} arp {data[20:42].hex()}"
    if frame.ethertype == ETH_P_IP:
        addrs = f"{addr_text(frame.src)} > {addr_text(frame.dst)}"
        rest = data[14 + IP_HLEN : 14 + frame.tot_len]
        if frame.proto == UDP:
            rest = rest[:6] + rest[8:]  # its checksum may be left to a device
        elif frame.proto == ICMP and rest[0] == DEST_UNREACH:
            rest = rest[:2]  # it quotes an identification
        return f"{head} {addrs} ttl {frame.ttl} proto {frame.proto} {rest.hex()}"
    return f"{head} {data[12:].hex()}"


def emulated(case: Case) -> list[list[str]]:
    """One answer for each act."""
    lab = Lab()
    spaces: Spaces = {name: lab.host(name) for name in SPACES}
    _build(spaces, case)
    answers, seen = [], len(lab.frames())
    for act in case.acts:
        _send(spaces[act.space], act)
        lab.clock.drain()
        frames = lab.frames()
        seen_now = [each for each in frames[seen:] if each.direction != "drop" and not each.interface.endswith("/lo")]
        answers.append(sorted(f"{each.interface} {each.direction} {line(each.data)}" for each in seen_now))
        seen = len(frames)
    return answers


def _build(spaces: Spaces, case: Case) -> None:
    for command in (CABLE, *case.commands):
        where, *words = command.split()
        run(spaces, where, words)
    clock: Clock = next(iter(spaces.values())).clock
    clock.drain()


def _send(net: Netns, act: Send | Datagram) -> None:
    if isinstance(act, Send):
        net.sockets.send_packet(act.data, device=act.device)
        return
    sender = net.sockets.udp()
    sender.bind(("0.0.0.0", act.sport))
    with suppress(SocketError):
        sender.sendto(bytes(act.size), (act.dst, 9))
    sender.close()


def kernel(case: Case) -> list[list[str]]:
    """The same of this machine's kernel. Raises TwinError where it lacks a kind of device."""
    with ExitStack() as stack:
        spaces = {name: Space(name) for name in SPACES}
        for space in spaces.values():
            stack.callback(space.close)
            with space.inside():
                for key in ("all", "default"):
                    with suppress(OSError):
                        Path(f"/proc/sys/net/ipv6/conf/{key}/disable_ipv6").write_text("1")
            space.ip([["link", "set", "lo", "up"]])
        for command in (CABLE, *case.commands):
            where, *words = command.split()
            if "netns" in words:
                at = words.index("netns") + 1
                words[at] = spaces[words[at]].path
            if words[0] == "sysctl":
                spaces[where].run("sysctl", "-qw", f"{words[1]}={words[2]}")
            elif words[0] in ("bridge", "nft"):
                spaces[where].run(*words)
            else:
                spaces[where].ip([words])
        rings = {name: Ring(space, 2048) for name, space in spaces.items()}
        for ring in rings.values():
            stack.callback(ring.close)
        for command in case.commands:  # a VRF shows its packets to taps of its own alone
            where, *words = command.split()
            if "vrf" in words:
                with spaces[where].inside():
                    tap = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
                tap.bind((words[2], 3))
        answers = []
        _gather(rings)
        for act in case.acts:
            with suppress(OSError), spaces[act.space].inside():  # ENETDOWN: nothing is sent
                if isinstance(act, Send):
                    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                        raw.bind((act.device, 0))
                        raw.send(act.data)
                else:
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                        sender.bind(("0.0.0.0", act.sport))
                        sender.sendto(bytes(act.size), (act.dst, 9))
            answers.append(_gather(rings))
        return answers


def _gather(rings: dict[str, Ring]) -> list[str]:
    """What was seen until nothing comes any more."""
    found: list[str] = []
    quiet_at = time.monotonic() + QUIET_S
    while time.monotonic() < quiet_at:
        time.sleep(PAUSE_S)
        new = [
            f"{name}/{each.device} {each.way.partition('-')[0]} {line(each.data)}"
            for name, ring in rings.items()
            for each in ring.take()
            if each.device != "lo" and IGMP not in each.data
        ]
        if new:
            quiet_at = time.monotonic() + QUIET_S
        found += new
    return sorted(found)


__all__ = ["Case", "Datagram", "Send", "TwinError", "emulated", "kernel"]
