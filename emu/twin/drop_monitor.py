"""The kernel's drop monitor: each packet that the kernel frees as dropped, with its reason, namespace, device and headers.

A BPF program at the tracepoint `skb:kfree_skb` copies them into a ring; it ends with this process. `dropwatch` sees the
same. Must not know what the emulator dropped.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
from typing import NamedTuple

from emu.twin.btf import layout

# linux/bpf.h
_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
MAP_CREATE, PROG_LOAD, RAW_TRACEPOINT_OPEN = 0, 5, 17
MAP_TYPE_RINGBUF, PROG_TYPE_RAW_TRACEPOINT, PSEUDO_MAP_FD = 27, 17, 1
PROBE_READ_KERNEL, RINGBUF_OUTPUT = 113, 130
PREFIX = "SKB_DROP_REASON_"
RING = 1 << 20
BUSY, DISCARDED, SIZE = 1 << 31, 1 << 30, (1 << 30) - 1

# One record: number of the namespace, reason, protocol (as on the wire), device, and the packet's first bytes
RECORD = struct.Struct("=IIH2x16s4x88s")
INUM, REASON, PROTOCOL, DEVICE, DATA = 0, 4, 8, 12, 32
_R0, _R1, _R2, _R3, _R4, _R6, _R7, _R9, _FP = 0, 1, 2, 3, 4, 6, 7, 9, 10
_BASE = -RECORD.size  # the record on the program's stack, and below it eight bytes for a pointer
_POINTER = _BASE - 8


class Dropped(NamedTuple):
    """A packet that the kernel dropped: the namespace's number, the reason without its prefix, the device ("" if none),
    and 88 bytes from the packet's network header on (what is behind a shorter packet is no part of it). `protocol` is its
    EtherType."""

    space: int
    reason: str
    device: str
    protocol: int
    packet: bytes


class NoMonitor(Exception):
    """Why this kernel offers no drop monitor."""


class _Program:
    """Instructions with labels: jumps go forward to a label that comes later."""

    def __init__(self) -> None:
        self.code: list[list[int]] = []
        self.jumps: list[tuple[int, str]] = []
        self.labels: dict[str, int] = {}

    def add(self, opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        self.code.append([opcode, dst | src << 4, off, imm])

    def label(self, name: str) -> None:
        self.labels[name] = len(self.code)

    def jump(self, name: str, *, opcode: int = 0x05, dst: int = 0) -> None:
        """Jump to a label: always, or by `opcode` comparing `dst` with 0 (0x15 equal, 0x55 not equal)."""
        self.jumps.append((len(self.code), name))
        self.add(opcode, dst)

    def read(self, to: int, size: int, pointer: int, offset: int) -> None:
        """probe_read_kernel(stack + to, size, register `pointer` + offset)."""
        self.add(0xBF, _R1, _FP)
        self.add(0x07, _R1, imm=to)
        self.add(0xB7, _R2, imm=size)
        self.add(0xBF, _R3, pointer)
        self.add(0x07, _R3, imm=offset)
        self.add(0x85, imm=PROBE_READ_KERNEL)

    def follow(self, pointer: int, offset: int, instead: str) -> None:
        """R9 = *(pointer + offset); go to `instead` for a null pointer, or memory that cannot be read."""
        self.read(_POINTER, 8, pointer, offset)
        self.jump(instead, opcode=0x55, dst=_R0)
        self.add(0x79, _R9, _FP, off=_POINTER)
        self.jump(instead, opcode=0x15, dst=_R9)

    def encoded(self) -> bytes:
        for at, name in self.jumps:
            self.code[at][2] = self.labels[name] - at - 1
        return b"".join(struct.pack("=BBhi", *each) for each in self.code)


def _program(ring: int) -> bytes:
    of = layout().offset
    net_of = of("net_device", "nd_net", "net")
    p = _Program()
    p.add(0xBF, _R6, _R1)
    p.add(0x79, _R7, _R6)  # the first argument: the skb
    for at in range(_BASE, 0, 8):
        p.add(0x7A, _FP, off=at)
    # the namespace: of the device; without one, of the route's device; without a route, of the socket
    p.follow(_R7, of("sk_buff", "dev"), "route")
    p.read(_BASE + DEVICE, 16, _R9, of("net_device", "name"))
    p.follow(_R9, net_of, "route")
    p.jump("namespace")
    p.label("route")
    p.read(_POINTER, 8, _R7, of("sk_buff", "_skb_refdst"))
    p.add(0x79, _R9, _FP, off=_POINTER)
    p.add(0x57, _R9, imm=-2)  # SKB_DST_NOREF
    p.jump("socket", opcode=0x15, dst=_R9)
    p.follow(_R9, of("dst_entry", "dev"), "socket")
    p.read(_BASE + DEVICE, 16, _R9, of("net_device", "name"))
    p.follow(_R9, net_of, "socket")
    p.jump("namespace")
    p.label("socket")
    p.follow(_R7, of("sk_buff", "sk"), "end")
    p.follow(_R9, of("sock", "__sk_common", "skc_net", "net"), "end")
    p.label("namespace")
    p.read(_BASE + INUM, 4, _R9, of("net", "ns", "inum"))
    p.add(0x79, _R1, _R6, off=16)  # the third argument: the reason
    p.add(0x63, _FP, _R1, off=_BASE + REASON)
    p.read(_BASE + PROTOCOL, 2, _R7, of("sk_buff", "protocol"))
    p.read(_POINTER, 2, _R7, of("sk_buff", "network_header"))
    p.add(0x69, _R6, _FP, off=_POINTER)
    p.follow(_R7, of("sk_buff", "head"), "end")
    p.add(0x0F, _R9, _R6)
    p.read(_BASE + DATA, 88, _R9, 0)
    p.add(0x18, _R1, PSEUDO_MAP_FD, imm=ring)
    p.add(0x00)
    p.add(0xBF, _R2, _FP)
    p.add(0x07, _R2, imm=_BASE)
    p.add(0xB7, _R3, imm=RECORD.size)
    p.add(0xB7, _R4)
    p.add(0x85, imm=RINGBUF_OUTPUT)
    p.label("end")
    p.add(0xB7, _R0)
    p.add(0x95)
    return p.encoded()


def _bpf(command: int, attributes: bytes, *kept: object) -> int:
    """The system call; `kept` are the buffers that `attributes` points to. Raises NoMonitor."""
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise NoMonitor(f"the number of bpf() on {platform.machine()} is not known")
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = int(libc.syscall(number, command, buffer, 128))
    if result < 0:
        raise NoMonitor(f"bpf(): {os.strerror(ctypes.get_errno())}")
    return result


class DropMonitor:
    """Watches from now on. Raises NoMonitor with the reason why this kernel offers none."""

    def __init__(self) -> None:
        self._files: list[int] = []
        try:
            self._names = {
                value: name.removeprefix(PREFIX) for value, name in layout().values("skb_drop_reason").items()
            }
            self._ring = self._keep(_bpf(MAP_CREATE, struct.pack("=IIII", MAP_TYPE_RINGBUF, 0, 0, RING)))
            code, licence = ctypes.create_string_buffer(_program(self._ring)), ctypes.create_string_buffer(b"GPL")
            count, where = (len(code) - 1) // 8, (ctypes.addressof(code), ctypes.addressof(licence))
            head = struct.pack("=IIQQ", PROG_TYPE_RAW_TRACEPOINT, count, *where)
            program = self._keep(_bpf(PROG_LOAD, head, code, licence))
            name = ctypes.create_string_buffer(b"kfree_skb")
            self._keep(_bpf(RAW_TRACEPOINT_OPEN, struct.pack("=QI", ctypes.addressof(name), program), name))
            page = mmap.PAGESIZE
            self._consumer = mmap.mmap(self._ring, page)
            self._producer = mmap.mmap(self._ring, page + 2 * RING, prot=mmap.PROT_READ, offset=page)
        except (OSError, LookupError) as error:
            self.close()
            raise NoMonitor(str(error)) from None
        except NoMonitor:
            self.close()
            raise

    def _keep(self, number: int) -> int:
        self._files.append(number)
        return number

    def take(self) -> list[Dropped]:
        """What was dropped on this machine since the last call, in the kernel's order."""
        found = []
        (at,) = struct.unpack_from("=Q", self._consumer, 0)
        while True:
            (end,) = struct.unpack_from("=Q", self._producer, 0)
            if at >= end:
                break
            begin = mmap.PAGESIZE + at % RING
            (head,) = struct.unpack_from("=I", self._producer, begin)
            if head & BUSY:
                break
            if not head & DISCARDED:
                found.append(self._read(begin + 8))
            at += 8 + (head & SIZE) + 7 & ~7
            struct.pack_into("=Q", self._consumer, 0, at)
        return found

    def _read(self, begin: int) -> Dropped:
        space, reason, protocol, device, data = RECORD.unpack_from(self._producer, begin)
        name = device.partition(b"\0")[0].decode(errors="replace")
        ether_type = int.from_bytes(protocol.to_bytes(2, "little"))
        return Dropped(space, self._names.get(reason, str(reason)), name, ether_type, data)

    def close(self) -> None:
        self._producer.close()  # each holds a file of its own
        self._consumer.close()
        for number in reversed(self._files):
            os.close(number)
        self._files.clear()
