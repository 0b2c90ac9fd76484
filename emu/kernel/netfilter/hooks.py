"""The five inet hooks: lists of `(priority, fn)`, in the kernel's order.

All that decides about a packet registers here. A hook function is `fn(frame, state)` and returns
None to accept, or a verdict object; it sends nothing itself. Empty hooks cost nothing. Must not know
devices, routing or sockets (include/uapi/linux/netfilter.h, netfilter_ipv4.h).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from emu.clock import Clock, Draws
from emu.wire.frame import Frame

PRE_ROUTING, LOCAL_IN, FORWARD, LOCAL_OUT, POST_ROUTING = range(5)
HOOK_NAMES = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")

# NF_IP_PRI_*
PRI_DEFRAG, PRI_RAW, PRI_CONNTRACK, PRI_MANGLE = -400, -300, -200, -150
PRI_DSTNAT, PRI_FILTER, PRI_SECURITY, PRI_SRCNAT, PRI_CONFIRM = -100, 0, 50, 100, 2**31 - 1


class Route(Protocol):
    """What rules read of a route (net/fib_semantics.py)."""

    @property
    def kind(self) -> str: ...
    @property
    def device(self) -> Any: ...
    @property
    def mtu(self) -> int: ...


class Settings(Protocol):
    """What rules may do with the namespace's sysctls."""

    def __setitem__(self, name: str, value: int, /) -> None: ...


class Netns(Protocol):
    """What netfilter may use of the namespace that it runs in; implemented by `net/netns.py`."""

    @property
    def name(self) -> str: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def sysctl(self) -> Settings: ...

    def random(self, purpose: str) -> Draws:
        """The namespace's own random source of one purpose."""
        ...


class Memory(Protocol):
    """What matches and targets find beside the rules (netfilter/table.py)."""

    @property
    def memory(self) -> dict[Any, Any]:
        """What matches remember between packets, by match."""
        ...

    @property
    def ipsets(self) -> Any:
        """The sets that rules may look up (ipset.IpSets, which knows matches)."""
        ...


class Family(Protocol):
    """What netfilter may use of the address family whose hooks it is in; implemented by `net/family.py`."""

    @property
    def number(self) -> int: ...
    @property
    def tables(self) -> Memory: ...

    def addr_type(self, addr: int) -> str:
        """LOCAL, BROADCAST, MULTICAST, UNICAST, BLACKHOLE, UNREACHABLE ... as `fib` knows it (RTN_*)."""
        ...

    def select_addr(self, device: Any, towards: int) -> int:
        """inet_select_addr: the address that `device` shows a peer at `towards`; 0 if it has none."""
        ...

    def reroute(self, frame: Frame) -> str:
        """ip_route_me_harder: route a local packet anew after OUTPUT changed it; the errno name of a failure drops it."""
        ...

    def duplicate(self, frame: Frame, gateway: int, oif: str, hook: int) -> None:
        """nf_dup: send a copy of the packet to a gateway, by the device `oif` unless that is ""."""
        ...

    def route(self, dst: int, src: int = 0, mark: int = 0, iif: str = "") -> Route | None:
        """fib_lookup: the route to an address; None without one."""
        ...

    def local_route(self, addr: int) -> Route | None:
        """The local table's route, whatever its kind."""
        ...

    def find_socket(self, proto: int, dst: int, dport: int, src: int, sport: int) -> Any:
        """The socket that takes a packet with these addresses and ports; None without one. Its `addr` is 0 where it is bound
        to no address, its `remote` None where it is not connected."""
        ...


class HookState:
    """Where a hook function runs: the hook's number, the namespace and the address family. One object a hook, made once.

    The devices are the frame's own `indev` and `outdev` (None where the kernel passes NULL).
    """

    __slots__ = ("family", "hook", "net")

    def __init__(self, hook: int, net: Netns, family: Family) -> None:
        self.hook, self.net, self.family = hook, net, family


class Drop:
    """Drop the packet. `reason` is the kernel's drop reason; `by` the rule, policy or entry that decided; `error` the errno
    name that a local sender gets (NF_DROP_ERR)."""

    __slots__ = ("by", "error", "reason")

    def __init__(self, reason: str, by: Any = None, error: str = "EPERM") -> None:
        self.reason, self.by, self.error = reason, by, error

    def __repr__(self) -> str:
        return f"Drop({self.reason!r})"


class Reject:
    """Drop the packet and answer: `with_` is iptables' `--reject-with` word. The hook's caller sends it."""

    __slots__ = ("with_", "by")

    def __init__(self, with_: str, by: Any = None) -> None:
        self.with_, self.by = with_, by

    def __repr__(self) -> str:
        return f"Reject({self.with_!r})"


class _Word:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


STOLEN = _Word("STOLEN")  # the hook function keeps the frame and continues with it later
STOP = _Word("STOP")  # accept, and skip the rest of this hook

Verdict = Drop | Reject | _Word | None
HookFn = Callable[[Frame, HookState], Verdict]
Entries = tuple[list[tuple[int, int, HookFn]], ...]  # by hook: priority, place among its like, function
NO_ENTRIES: Entries = ([], [], [], [], [])  # of all that have none: most pods. Never changed.


class Hooks:
    """The hook functions of one address family in one namespace. `fns[hook]` is the tuple that the walk runs."""

    __slots__ = ("_entries", "_rewire", "fns", "states")

    def __init__(self, net: Netns, family: Family) -> None:
        self._entries = NO_ENTRIES
        self._rewire: Callable[[], None] | None = None
        self.fns: list[tuple[HookFn, ...]] = [(), (), (), (), ()]
        self.states = tuple(HookState(hook, net, family) for hook in range(5))

    def register(self, hook: int, priority: int, fn: HookFn) -> None:
        """Add `fn`; equal priorities run in the order of registration."""
        self.wake()
        if self._entries is NO_ENTRIES:
            self._entries = ([], [], [], [], [])
        entries = self._entries[hook]
        entries.append((priority, len(entries), fn))
        entries.sort(key=lambda entry: entry[0])
        self.fns[hook] = tuple(entry[2] for entry in entries)

    def unregister(self, hook: int, fn: HookFn) -> None:
        """Remove `fn`; nothing happens if it is not there."""
        self.wake()
        if self._entries is not NO_ENTRIES:
            entries = self._entries[hook]
            entries[:] = [entry for entry in entries if entry[2] != fn]
            self.fns[hook] = tuple(entry[2] for entry in entries)

    def defer(self, hooks: Iterable[int], rewire: Callable[[], None]) -> None:
        """Have `rewire()` change the functions of these hooks before the next packet there, or the next change. Each of
        the hooks has functions now and afterwards: a node that gets no packet pays nothing for new rules."""
        self._rewire = rewire
        for hook in hooks:
            self.fns[hook] = (self._first,)

    def wake(self) -> None:
        """Make the change that was deferred, if there is one."""
        rewire, self._rewire = self._rewire, None
        if rewire is not None:
            rewire()

    def _first(self, frame: Frame, state: HookState) -> Verdict:
        """The first packet after `defer`."""
        self.wake()
        return self.run(state.hook, frame)

    def run(self, hook: int, frame: Frame) -> Verdict:
        """Run a hook. None: continue. STOLEN: the hook function owns the frame now. Drop or Reject: the caller acts."""
        state = self.states[hook]
        for fn in self.fns[hook]:
            verdict = fn(frame, state)
            if verdict is not None:
                return None if verdict is STOP else verdict
        return None
