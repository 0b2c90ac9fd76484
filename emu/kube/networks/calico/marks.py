"""The bits of a packet's mark that felix works with, and the words for them. Must not know what they decide."""

from __future__ import annotations

ACCEPTED, PASSED, DROPPED, SCRATCH_0, SCRATCH_1 = 0x10000, 0x20000, 0x40000, 0x80000, 0x100000
ALL_BITS = ACCEPTED | PASSED | SCRATCH_0 | SCRATCH_1


def jump(target: str) -> str:
    return f"--jump {target}"


def goto(target: str) -> str:
    return f"--goto {target}"


def clear(bits: int) -> str:
    return f"--jump MARK --set-mark 0/{bits:#x}"


def put(bits: int) -> str:
    return f"--jump MARK --set-mark {bits:#x}/{bits:#x}"


def marked(bits: int) -> str:
    return f"-m mark --mark {bits:#x}/{bits:#x}"


def unmarked(bits: int) -> str:
    return f"-m mark --mark 0/{bits:#x}"
