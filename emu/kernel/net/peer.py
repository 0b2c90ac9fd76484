"""Rate limits of ICMP errors: for each remote address that they are sent to (net/ipv4/inetpeer.c), and for a whole namespace
(icmp_global_allow of net/ipv4/icmp.c).

ICMP's token bucket, a router's errors and its redirects share the time of the last message. Must not know the messages,
nor namespaces.
"""

from __future__ import annotations

from emu.clock import SECOND, Clock

BURST = 6  # XRLIM_BURST_FACTOR
NEVER_NS = -60_000_000_000
HZ = 250


class Peer:
    """struct inet_peer: `tokens_ns` of the bucket, `last_ns` the time of its last update, `redirects` sent in a row; how many
    `fragments` came from it."""

    __slots__ = ("fragments", "last_ns", "redirects", "tokens_ns")

    def __init__(self, now_ns: int) -> None:
        self.last_ns = now_ns + NEVER_NS
        self.tokens_ns = self.redirects = self.fragments = 0

    def allows(self, now_ns: int, interval_ns: int) -> bool:
        """inet_peer_xrlim_allow: a burst of six, then one in each interval."""
        tokens = min(self.tokens_ns + now_ns - self.last_ns, BURST * interval_ns)
        self.last_ns = now_ns
        allowed = tokens >= interval_ns
        self.tokens_ns = tokens - interval_ns if allowed else tokens
        return allowed

    def error(self, now_ns: int, cost_ns: int, burst_ns: int) -> bool:
        """ip_error: a router's own limit for packets without a route; the same bucket, checked before ICMP's limit."""
        self.tokens_ns = min(self.tokens_ns + now_ns - self.last_ns, burst_ns)
        self.last_ns = now_ns
        if self.tokens_ns < cost_ns:
            return False
        self.tokens_ns -= cost_ns
        return True

    def redirect(self, now_ns: int, number: int, load_ns: int, silence_ns: int) -> bool:
        """ip_rt_send_redirect: may another redirect be sent? At most `number`, each after twice the pause, until the peer was
        silent for a while."""
        if now_ns > self.last_ns + silence_ns:
            self.tokens_ns = self.redirects = 0
        if self.redirects >= number:
            self.last_ns = now_ns
            return False
        if self.redirects and now_ns <= self.last_ns + (load_ns << self.redirects):
            return False
        self.last_ns = now_ns
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
        now = now_ns * HZ // SECOND
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
