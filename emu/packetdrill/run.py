"""A script run on the virtual clock: one emulated host with a tun device, the script's program in it, the script's network behind it.

A failure states the event's line, what was expected and what was there. Must not know how scripts are written or shown.
"""

from __future__ import annotations

import errno
from collections import deque
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from emu.clock import SECOND, TICK_NS, US, Clock, wheel_slot
from emu.errors import InputError
from emu.kernel import boot
from emu.kernel.link.tun import Tun
from emu.packetdrill import code, shell
from emu.packetdrill.call import Call
from emu.packetdrill.calls import Calls, Differs, Waiting
from emu.packetdrill.datagram import Talk, decode, encode, in_script_time
from emu.packetdrill.packet import Packet, Tcp
from emu.packetdrill.script import Event, Script, Shell, parse
from emu.wire.addr import ip4, ip4_text

# packetdrill's own defaults
LOCAL, NETMASK, GATEWAY, REMOTE = "192.168.0.1", 16, "192.168.0.2", "192.0.2.1"
BIND_PORT = CONNECT_PORT = 8080
MTU = 1500
TOLERANCE_US = 10_000  # the kernel's timers are up to two ticks of 4 ms late
REMOTE_PORTS = 33_000  # the first port of the far side
_SLOT_NS = 64 * TICK_NS  # where the wheel stands matters within so much
_OPTIONS = (
    "tolerance_usecs",
    "local_ip",
    "remote_ip",
    "gateway_ip",
    "netmask_ip",
    "mtu",
    "bind_port",
    "connect_port",
    "ip_version",
    "tcp_ts_tick_usecs",
    "strict_segments",
)
_ONLY = {"ip_version": "ipv4", "tcp_ts_tick_usecs": "1000"}
_NUMBERS = frozenset(("tolerance_usecs", "mtu", "bind_port", "connect_port"))
_LEFT_OUT = frozenset(("ip_version", "netmask_ip", "tcp_ts_tick_usecs"))


@dataclass(frozen=True)
class Failure:
    """The event that failed, what was wrong, and rows of (what, expected, actual)."""

    event: Event
    what: str
    rows: tuple[tuple[str, str, str], ...] = ()


class Failed(Exception):
    """The script's expectation does not hold."""

    def __init__(self, what: str, *rows: tuple[str, str, str]) -> None:
        super().__init__(what)
        self.what, self.rows = what, rows


@dataclass(frozen=True)
class Result:
    """A script that ran: None as its failure if all of it held. `notes`: settings that emu does not model."""

    script: Script
    failure: Failure | None
    events: int
    notes: tuple[str, ...]


@dataclass
class _Pending:
    """A blocking call that has not ended."""

    event: Event
    call: Call
    waiting: Waiting
    end_ns: int | None


def run(text: str, file: str, tolerance_us: int = TOLERANCE_US, seed: int = 0) -> Result:
    """Read and run a script. Raises InputError with file and line: it cannot be read, or has what is outside of the subset."""
    script = parse(text, file)
    return _Run(script, tolerance_us, seed).run()


@dataclass
class _Run:
    script: Script
    tolerance_us: int
    seed: int
    sent: deque[tuple[int, Packet]] = field(default_factory=deque)
    notes: list[str] = field(default_factory=list)
    pending: _Pending | None = None

    def __post_init__(self) -> None:
        options = self._options()
        self.clock = Clock(self.seed)
        self.net = boot.namespace(self.clock, "host")
        self.tun = Tun(self.clock, "tun0", self._read, int(options.get("mtu", MTU)))
        self.tun.offload = True
        self.net.attach(self.tun)
        local, gateway = options.get("local_ip", LOCAL), options.get("gateway_ip", GATEWAY)
        boot.address(self.net, self.tun, f"{local}/{NETMASK}")
        boot.route(self.net, f"default via {gateway} dev tun0")
        self.local = ip4(local), int(options.get("bind_port", BIND_PORT))
        self.remote = ip4(options.get("remote_ip", REMOTE)), int(options.get("connect_port", CONNECT_PORT))
        self.tolerance_ns = int(options.get("tolerance_usecs", self.tolerance_us)) * US
        self.talk = Talk(self.local, self.remote)
        self.ports = REMOTE_PORTS
        self.calls = Calls(
            self.net, (ip4_text(self.local[0]), self.local[1]), (ip4_text(self.remote[0]), self.remote[1])
        )
        self.began_ns = self.clock.now
        self.last: Event | None = None
        self.last_ns = self.last_event_ns = 0

    def _options(self) -> dict[str, str]:
        file, given = self.script.file, self.script.options
        for name, (value, line) in given.items():
            if name not in _OPTIONS or value != _ONLY.get(name, value):
                what, known = f"the option --{name}={value} is outside of the subset", map("--{}".format, _OPTIONS)
                raise InputError(what, file=file, line=line, expected=", ".join(known))
            if name in _NUMBERS and not value.isdecimal():
                raise InputError(f"--{name}={value} has no number", file=file, line=line, expected=f"--{name}=N")
        return {name: value for name, (value, _) in given.items() if name not in _LEFT_OUT}

    def run(self) -> Result:
        done = 0
        for event in self.script.events:
            try:
                self._event(event)
            except InputError as error:
                raise error.at(file=self.script.file, line=event.line) from None
            except Failed as failed:
                failure = Failure(event, failed.what, failed.rows)
                return Result(self.script, failure, done, self._notes())
            except Differs as differs:
                rows = ((differs.what, differs.expected, differs.actual),)
                return Result(self.script, Failure(event, "another value", rows), done, self._notes())
            done += 1
        return Result(self.script, None, done, self._notes())

    def _notes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.notes))

    @property
    def now_ns(self) -> int:
        """The script's time."""
        return self.clock.now - self.began_ns

    # -- events ---------------------------------------------------------------------------------

    def _event(self, event: Event) -> None:
        body, (begin_ns, end_ns) = event.body, self._times(event)
        self.last_event_ns = self.last_ns
        self.last, self.last_ns = event, begin_ns
        if isinstance(body, Shell):
            if not body.cleanup:
                shell.run(body.text, self.net.sysctl, Path(self.script.file).parent, self.notes)
            return
        if isinstance(body, Packet) and body.outbound:
            self._expect(event, body, begin_ns, end_ns)
            return
        self._advance(begin_ns)
        if isinstance(body, Packet):
            self._inject(body)
        elif isinstance(body, Call):
            self._call(event, body, end_ns)
        else:
            self._code(body.text)

    def _times(self, event: Event) -> tuple[int, int | None]:
        """From when to when, in the script's time. A relative time counts from the time of the event before, as the script has it; after
        one that may come at any time, from now."""
        when = event.when
        if when.any_time:
            return self.now_ns, None
        begin_ns, end_ns = when.begin_ns, when.end_ns
        if when.relative:
            anchored = self.last is not None and self.last.when.anchored and when.anchored
            base_ns = self.last_ns if anchored else self.now_ns
            begin_ns, end_ns = begin_ns + base_ns, None if end_ns is None else end_ns + base_ns
        return begin_ns, end_ns

    def _advance(self, to_ns: int, for_packet: bool = False) -> None:
        """Let time pass, also for a call that waits; `for_packet`: only until a packet comes."""
        limit_ns = self.began_ns + to_ns
        while True:
            self._wake()
            if self.clock.now >= limit_ns or (for_packet and self.sent):
                break
            self.clock.run(limit_ns, lambda: bool(for_packet and self.sent) or self._ready())
            if not self._ready() and not (for_packet and self.sent):
                self.clock.run_until(limit_ns)
        self._wake()

    def _ready(self) -> bool:
        pending = self.pending
        if pending is None or isinstance(pending.waiting.result, _Done):
            return pending is not None
        result = pending.waiting.result()
        if result is None:
            return False
        pending.waiting = Waiting(_Done(result))
        return True

    def _wake(self) -> None:
        if not self._ready():
            return
        pending, self.pending = self.pending, None
        assert pending is not None
        result = pending.waiting.result()
        self.clock.run_until(self.clock.now)
        self._check_result(pending.call, result if result is not None else 0)
        if pending.end_ns is not None and abs(self.now_ns - pending.end_ns) > self.tolerance_ns:
            raise Failed(
                f"{pending.call.name}() of line {pending.event.line} ended at another time",
                ("time", _s(pending.end_ns), _s(self.now_ns)),
            )

    def _inject(self, packet: Packet) -> None:
        what = packet.what
        if isinstance(what, Tcp) and what.syn and "." not in what.flags:
            self.ports += 1
            self.talk = Talk(self.local, (self.remote[0], self.ports))
        elif not isinstance(what, Tcp):
            self._udp_ends()
        self.tun.write(encode(packet, self.talk))
        self.clock.run_until(self.clock.now)

    def _udp_ends(self) -> None:
        """A datagram, or an error about one, is for the last UDP socket, if there is one."""
        for file in reversed(list(self.calls.files.values())):
            if not hasattr(file.socket, "endpoint") and file.socket.port:
                self.talk = Talk((self.local[0], file.socket.port), self.remote)
                return

    def _read(self, data: bytes) -> None:
        """The host sent a packet."""
        source = int.from_bytes(data[34:36], "big")
        if data[23] == 6 and data[47] & 0x12 == 2 and (source != self.talk.local[1] or self.talk.isn is None):
            self.talk = Talk((self.local[0], source), self.remote)  # its own connection
        self.sent.append((self.clock.now - self.began_ns, decode(data, self.talk)))

    def _expect(self, event: Event, expected: Packet, begin_ns: int, end_ns: int | None) -> None:
        any_time = event.when.any_time
        late_ns = max(self.tolerance_ns, _late_ns(begin_ns - self.last_event_ns))
        last_ns = begin_ns + 3600 * SECOND if any_time else (begin_ns if end_ns is None else end_ns) + late_ns
        self._advance(last_ns, for_packet=True)
        if not self.sent:
            raise Failed("no packet was sent", ("packet", str(expected), "none"), ("time", f"until {_s(last_ns)}", "-"))
        time_ns, live = self.sent.popleft()
        live = self._based(live, expected)
        live = self._joined(live, expected, last_ns)
        actual = in_script_time(live, expected, self.talk, "tcp_ts_tick_usecs" in self.script.options)
        rows = _differences(expected, actual, self.tolerance_ns)
        if rows:
            raise Failed("another packet was sent", ("packet", str(expected), _like(actual, expected)), *rows)
        if not any_time and not begin_ns - self.tolerance_ns <= time_ns <= last_ns:
            window = _s(begin_ns) if end_ns is None else f"{_s(begin_ns)} to {_s(end_ns)}"
            raise Failed(
                "the packet was sent at another time",
                ("packet", str(expected), "the same"),
                ("time", window, _s(time_ns)),
            )

    def _based(self, live: Packet, expected: Packet) -> Packet:
        """The host chose the number of its SYN: it is the script's."""
        has, want = live.what, expected.what
        if isinstance(has, Tcp) and isinstance(want, Tcp) and has.syn and want.syn and want.seq and not has.seq:
            return replace(live, what=replace(has, seq=want.seq))
        return live

    def _joined(self, live: Packet, expected: Packet, last_ns: int) -> Packet:
        """Segments that continue `live`, put together as far as the script's packet is long, with the flags of the last: how much goes at once is not what a script states
        (packetdrill without --strict_segments)."""
        want = expected.what
        strict = "strict_segments" in self.script.options
        while (
            not strict and isinstance(want, Tcp) and isinstance(live.what, Tcp) and 0 < live.what.length < want.length
        ):
            self._advance(last_ns, for_packet=True)
            following = self.sent[0][1].what if self.sent else None
            if not isinstance(following, Tcp) or following.seq != live.what.seq + live.what.length:
                break
            self.sent.popleft()
            whole = replace(live.what, length=live.what.length + following.length, flags=following.flags)
            live = replace(live, what=whole)
        return live

    def _call(self, event: Event, call: Call, end_ns: int | None) -> None:
        if self.pending is not None:
            raise Failed(f"{self.pending.call.name}() of line {self.pending.event.line} still waits")
        result = self.calls.make(call, event.when.blocking)
        self.clock.run_until(self.clock.now)
        if isinstance(result, Waiting):
            if not event.when.blocking:
                raise Failed(f"{call.name}() waits", ("result", _result(call.result, call.errno), "none yet"))
            self.pending = _Pending(event, call, result, end_ns)
            return
        self._check_result(call, result)

    @staticmethod
    def _check_result(call: Call, result: int) -> None:
        actual, name = (result, "") if result >= 0 else (-1, errno.errorcode.get(-result, str(-result)))
        if call.result is None:
            return
        if actual != call.result or (call.errno and name != call.errno):
            raise Failed(
                f"{call.name}() gave another result",
                ("result", _result(call.result, call.errno), _result(actual, name)),
            )

    def _code(self, text: str) -> None:
        socket = self.calls.last
        if socket is None or socket.endpoint is None:
            raise InputError("there is no connection to ask for TCP_INFO", expected="code after connect() or accept()")
        wrong = code.failures(text, socket.endpoint.info(self.clock.now)._asdict())
        if wrong:
            raise Failed("an assertion does not hold", *(("assert", test, values) for test, values in wrong))


class _Done:
    """The result of a call that has ended."""

    def __init__(self, result: int) -> None:
        self.value = result

    def __call__(self) -> int | None:
        return self.value


def _result(number: int | None, name: str) -> str:
    return f"{number} {name}".strip()


@cache
def _late_ns(wait_ns: int) -> int:
    """How late a timer of the kernel's wheel may be that waits for so long (`clock.wheel_slot`): a slot and a tick."""
    wait_ns = max(wait_ns, 0)
    return max(wheel_slot(at_ns, at_ns + wait_ns)[0] - at_ns - wait_ns for at_ns in range(0, _SLOT_NS, TICK_NS))


def _s(ns: int) -> str:
    return f"{ns / SECOND:.6f}".rstrip("0").rstrip(".") + " s"


def _differences(expected: Packet, actual: Packet, tolerance_ns: int) -> list[tuple[str, str, str]]:
    """The fields that are not as the script has them."""
    rows: list[tuple[str, object, object]] = []
    if expected.ttl is not None:
        rows.append(("ttl", expected.ttl, actual.ttl))
    if expected.tos is not None:
        rows.append(("tos", expected.tos, actual.tos))
    if expected.ecn:
        found = ("noecn", "ect1", "ect0", "ce")[(actual.tos or 0) & 3]
        rows.append(("ecn", expected.ecn, "ect01" if expected.ecn == "ect01" and found in ("ect0", "ect1") else found))
    want, has = expected.what, actual.what
    if isinstance(want, Tcp) and isinstance(has, Tcp):
        rows += [("flags", want.flags, has.flags), ("seq", want.seq, has.seq), ("length", want.length, has.length)]
        rows.append(("ack", want.ack, has.ack))
        rows.append(("urgent", want.urgent, has.urgent))
        if want.window is not None:
            rows.append(("win", want.window, has.window))
        if want.options is not None:
            one, other = _options(want), _options(has)
            rows += _timestamps(want, has, tolerance_ns)
            rows.append(("options", one, other))
    elif type(want) is not type(has) or (not isinstance(want, Tcp) and str(want) != str(has)):
        rows.append(("packet", str(want), str(has)))
    return [(name, str(one), str(other)) for name, one, other in rows if one != other]


def _options(tcp: Tcp) -> str:
    """The options, but for the timestamp's values."""
    return ",".join("TS" if each.name == "TS" else str(each) for each in tcp.options or ())


def _timestamps(want: Tcp, has: Tcp, tolerance_ns: int) -> list[tuple[str, object, object]]:
    """The values of both timestamps: TSval may be off by the tolerance, for it counts milliseconds."""
    one = next((each.numbers for each in want.options or () if each.name == "TS"), None)
    other = next((each.numbers for each in has.options or () if each.name == "TS"), None)
    if one is None or other is None:
        return []
    near = abs(one[0] - other[0]) * 1000 * US <= tolerance_ns
    return [("TS val", one[0], one[0] if near else other[0]), ("TS ecr", one[1], other[1])]


def _like(actual: Packet, expected: Packet) -> str:
    """The packet that was sent, as the script would write it: without what the script does not state."""
    text = str(Packet(True, actual.what))
    want = expected.what
    if isinstance(want, Tcp) and isinstance(actual.what, Tcp) and want.window is None:
        text = text.replace(f" win {actual.what.window}", "", 1)
    return text
