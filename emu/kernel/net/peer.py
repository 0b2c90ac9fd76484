"""Rate limits of ICMP errors: for each remote address that they are sent to (net/ipv4/inetpeer.c), and for a whole namespace
(icmp_global_allow of net/ipv4/icmp.c).

ICMP's token bucket, a router's errors and its redirects share the time of the last message. All count in jiffies: two times
within one tick are one. Must not know the messages, nor namespaces.
"""

from __future__ import annotations

from emu.clock import SECOND, TICK_NS, Clock

BURST = 6  # XRLIM_BURST_FACTOR
HZ = SECOND // TICK_NS
NEVER = -60 * HZ


class Peer:
    """struct inet_peer: `tokens` of the bucket (jiffies), `last` the jiffy of its last update, `redirects` sent in a row; how
    many `fragments` came from it. Intervals, costs and pauses are jiffies, too."""

    __slots__ = ("fragments", "last", "redirects", "tokens")

    def __init__(self, now_ns: int) -> None:
        self.last = now_ns // TICK_NS + NEVER
        self.tokens = self.redirects = self.fragments = 0

    def allows(self, now_ns: int, interval: int) -> bool:
        """inet_peer_xrlim_allow: a burst of six, then one in each interval."""
        self._fill(now_ns, BURST * interval)
        return self._take(interval)

    def error(self, now_ns: int, cost: int, burst: int) -> bool:
        """ip_error: a router's own limit for packets without a route; the same bucket, checked before ICMP's limit."""
        self._fill(now_ns, burst)
        return self._take(cost)

    def _fill(self, now_ns: int, most: int) -> None:
        now = now_ns // TICK_NS
        self.tokens, self.last = min(self.tokens + now - self.last, most), now

    def _take(self, cost: int) -> bool:
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def redirect(self, now_ns: int, number: int, load: int, silence: int) -> bool:
        """ip_rt_send_redirect: may another redirect be sent? At most `number`, each after twice the pause, until the peer was
        silent for a while."""
        now = now_ns // TICK_NS
        if now > self.last + silence:
            self.tokens = self.redirects = 0
        if self.redirects >= number:
            self.last = now
            return False
        if self.redirects and now <= self.last + (load << self.redirects):
            return False
        self.last = now
        self.redirects += 1
        return True


class Bucket:
    """icmp_global: the messages that a namespace may still send. A message costs 0, 1 or 2, drawn by the caller."""

    __slots__ = ("_credit", "_stamp")

    def __init__(self) -> None:
        self._credit, self._stamp = 0, -HZ

    def allows(self, now_ns: int, per_second: int, burst: int) -> bool:
        """icmp_global_allow: refilled when it is empty, and not before 20 ms have passed."""
        if self._credit > 0:
            return True
        now = now_ns // TICK_NS
        passed = min(now - self._stamp, HZ)
        more = per_second * passed // HZ
        if passed < HZ // 50 or not more:
            return False
        self._stamp = now
        self._credit = min(self._credit + more, burst)
        return True

    def consume(self, cost: int) -> None:
        self._credit -= cost


class Peers(dict[int, Peer]):
    """The remote addresses of one family in one namespace, and the bucket of the namespace."""

    __slots__ = ("_clock", "bucket")

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.bucket = Bucket()

    def __missing__(self, addr: int) -> Peer:
        """inet_getpeer: the entry of an address, made at the first call."""
        found = self[addr] = Peer(self._clock.now)
        return found
