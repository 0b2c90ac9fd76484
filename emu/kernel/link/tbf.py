"""The token bucket filter: frames leave a device no faster than at a rate, after a burst (net/sched/sch_tbf.c).

Tokens are nanoseconds of the rate. A frame that finds too few waits in a queue of `limit` bytes (bfifo); one that does not fit
there, or is longer than the bucket, is dropped. Must not know what it delays.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import NamedTuple, Protocol

from emu.clock import SECOND
from emu.errors import InputError
from emu.kernel.link.netem import Outlet
from emu.trail import Note
from emu.wire.frame import Frame
from emu.wire.offload import segments, wire_size

TICK_NS = 64  # PSCHED_SHIFT
TICKS_PER_US = 15.625  # 1000 / 64: what /proc/net/psched states
LATENCY_US = 25_000
_U32 = (1 << 32) - 1


class Qdisc(Protocol):
    """A queueing discipline at a device's way out."""

    def enqueue(self, frame: Frame, device: Outlet) -> None: ...

    def reset(self, device: Outlet) -> None: ...


class RateConfig(NamedTuple):
    """psched_ratecfg_precompute: bytes per second as a factor and a shift."""

    rate: int
    mult: int
    shift: int

    @classmethod
    def of(cls, rate: int) -> RateConfig:
        mult, shift, factor = 1, 0, SECOND
        while rate:
            mult = factor // rate & _U32
            if mult & 1 << 31 or factor & 1 << 63:
                break
            factor, shift = factor << 1, shift + 1
        return cls(rate, mult, shift)

    def l2t_ns(self, size: int) -> int:
        """psched_l2t_ns: how long so many bytes take."""
        return size * self.mult >> self.shift

    def ns_t2l(self, time_ns: int) -> int:
        """psched_ns_t2l: how many bytes leave in this time."""
        return (time_ns << self.shift) // self.mult


def buffer_ticks(rate: int, burst: int) -> int:
    """What tc and the plugin `bandwidth` state as the bucket's size: the time of a burst, in ticks. Bytes per second, bytes."""
    return int(int(burst * 1_000_000 / rate) * TICKS_PER_US)


def limit_bytes(rate: int, burst: int, latency_us: int = LATENCY_US) -> int:
    """The queue of a latency: what leaves in that time, and the burst."""
    return int(rate * float(latency_us) / 1_000_000) + burst


class Tbf:
    """`rate` in bytes per second, `buffer` in ticks (see `buffer_ticks`), `limit` in bytes; `peak` a rate that a burst keeps to,
    0 for none, with `mtu`, the largest frame at it, in ticks. Raises InputError for a bucket that holds no byte.

    `sent`, `dropped` and `overlimits` count as `tc -s qdisc` does.
    """

    __slots__ = (
        "_due_ns", "_peak", "_queue", "_rate", "backlog", "buffer", "dropped", "limit", "max_size", "mtu_ns", "overlimits", "peak_tokens",
        "sent", "t_c", "ticks", "tokens",
    )  # fmt: skip

    def __init__(self, rate: int, buffer: int, limit: int, *, peak: int = 0, mtu: int = 0, now: int = 0) -> None:
        self._rate, self._peak = RateConfig.of(rate), RateConfig.of(peak)
        self.ticks, self.limit = buffer, limit
        self.buffer = buffer * TICK_NS
        self.max_size = min(self._rate.ns_t2l(min(self.buffer, _U32)), _U32)
        self.mtu_ns = mtu * TICK_NS
        if peak:
            self.max_size = min(self.max_size, self._peak.ns_t2l(min(self.mtu_ns, _U32)))
        if not rate or not self.max_size:
            raise InputError("invalid argument", expected="a rate, and a burst of at least a byte")
        self.tokens, self.peak_tokens, self.t_c = self.buffer, self.mtu_ns, now
        self._queue: deque[tuple[Frame, int]] = deque()
        self._due_ns = 0
        self.backlog = self.dropped = self.overlimits = self.sent = 0

    @property
    def rate(self) -> int:
        """Bytes per second."""
        return self._rate.rate

    def enqueue(self, frame: Frame, device: Outlet) -> None:
        """tbf_enqueue."""
        size = wire_size(frame)
        if size > self.max_size:
            if frame.gso_size and frame.largest + 14 <= self.max_size:
                pieces = segments(frame)
                device.net.copied += len(pieces) - 1
                for piece in pieces:
                    self.enqueue(piece, device)
                return
            self._drop(frame, device, f"longer than the bucket of {self.max_size} bytes (tbf)")
        elif self.backlog + size > self.limit:
            self._drop(frame, device, f"the queue holds {self.limit} bytes (tbf limit)")
        else:
            self._queue.append((frame, size))
            self.backlog += size
            self._dequeue(device)

    def reset(self, device: Outlet) -> None:
        """tbf_reset: the device went down, and what waits is gone."""
        device.net.absorbed += len(self._queue)
        self._queue.clear()
        self.backlog = self._due_ns = 0
        self.t_c, self.tokens, self.peak_tokens = device.clock.now, self.buffer, self.mtu_ns

    def _drop(self, frame: Frame, device: Outlet, why: str) -> None:
        self.dropped += 1
        if frame.trail is not None:
            frame.trail.append(Note(f"{device.name} drops the frame: {why}"))
        device.drop(device, frame, "QDISC_DROP")

    def _dequeue(self, device: Outlet) -> None:
        """tbf_dequeue: what there are tokens for leaves; for the rest the watchdog calls again."""
        now = device.clock.now
        if self._due_ns > now:  # the watchdog is set: the first in the queue waits
            return
        while self._queue:
            frame, size = self._queue[0]
            since = min(now - self.t_c, self.buffer)
            peak_tokens = 0
            if self._peak.rate:
                peak_tokens = min(since + self.peak_tokens, self.mtu_ns) - self._peak.l2t_ns(size)
            tokens = min(since + self.tokens, self.buffer) - self._rate.l2t_ns(size)
            if tokens < 0 or peak_tokens < 0:
                self.overlimits += 1
                if frame.trail is not None:
                    wait_us = max(-tokens, -peak_tokens) / 1000
                    frame.trail.append(
                        Note(f"{device.name} holds the frame for {wait_us:.3f} us: its bucket is empty (tbf)")
                    )
                self._due_ns = now + max(-tokens, -peak_tokens)
                device.clock.call_at(self._due_ns, partial(self._dequeue, device))
                return
            self._queue.popleft()
            self.backlog -= size
            self.sent += 1
            self.t_c, self.tokens, self.peak_tokens = now, tokens, peak_tokens
            device.leave(frame)


def text(tbf: Tbf) -> str:
    """As `tc qdisc show` states the parameters, without units: bytes per second, bytes, microseconds."""
    buffer_us = int(tbf.ticks / TICKS_PER_US)
    burst = int(float(tbf.rate) * buffer_us / 1_000_000)
    return f"tbf rate {tbf.rate} burst {burst} lat {int(1_000_000 * (tbf.limit / tbf.rate) - buffer_us)}"
