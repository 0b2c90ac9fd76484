"""The stub resolver, as in glibc: search list and ndots, A and AAAA from one port, timeouts, TCP for long answers.

It uses real sockets of the client's namespace, so every frame belongs to the flow that needs the name. Sources: glibc
resolv/res_query.c, res_send.c; sysdeps/posix/getaddrinfo.c. Must not know clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from errno import EIO
from typing import Any, NamedTuple, Protocol

from emu import craft
from emu.clock import SECOND
from emu.errors import InputError, SocketError
from emu.kernel.net.family import Address
from emu.kernel.transport.icmp_errors import meaning
from emu.kernel.transport.udp import UdpSocket
from emu.kube.dns.resolv_conf import ResolvConf
from emu.wire.addr import ip4, ip4_text
from emu.wire.dns import PORT, Message, Question, Record, absolute

BOTH = ("A", "AAAA")
LOOPBACK = "127.0.0.1"  # the server that glibc uses if no nameserver is configured
LONGEST_NAME, LONGEST_LABEL = 254, 63
TIMED_OUT, NO_DATA, NO_NAME, TRUNCATED = "ETIMEDOUT", "NODATA", "NXDOMAIN", "TC"
UNUSABLE = ("SERVFAIL", "NOTIMP", "REFUSED", "FORMERR")  # the next server is tried
# what getaddrinfo returns
EAI = {NO_DATA: "EAI_NODATA", NO_NAME: "EAI_NONAME"}
EAI_AGAIN = "EAI_AGAIN"


class Client(Protocol):
    """The client's namespace: its clock, its sockets (as `emu.kernel.transport.sockets`) and its addresses."""

    @property
    def name(self) -> str: ...
    @property
    def clock(self) -> Any: ...
    @property
    def sockets(self) -> Any: ...
    @property
    def addresses(self) -> Sequence[Address]: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to one server. `result`: the records' data, or NXDOMAIN, NODATA, SERVFAIL, TC, ETIMEDOUT ..."""

    name: str
    kind: str
    server: str
    result: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} @{self.server}: {self.result}"


class Lookup(NamedTuple):
    """The result of a look-up. `addresses` are in the order in which an application tries them; `records` are those of the
    last answers; `error` is "" or NXDOMAIN, NODATA, SERVFAIL, ETIMEDOUT, ECONNREFUSED ...; `asked` has every question."""

    name: str
    addresses: tuple[str, ...] = ()
    records: tuple[Record, ...] = ()
    error: str = ""
    asked: tuple[Asked, ...] = ()

    @property
    def eai(self) -> str:
        """The name of getaddrinfo's error, "" for none."""
        return EAI.get(self.error, EAI_AGAIN) if self.error else ""

    @property
    def canonical(self) -> str:
        """The name that has the addresses, at the end of all CNAMEs."""
        return self.records[-1].name if self.records else ""

    @property
    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "name": self.name,
            "addresses": list(self.addresses),
            "canonical": self.canonical,
            "error": self.error,
            "eai": self.eai,
            "asked": [str(each) for each in self.asked],
        }

    def __str__(self) -> str:
        found = ", ".join(self.addresses) or ", ".join(each.data for each in self.records)
        return f"{self.name}: {self.error or found} ({len(self.asked)} questions)"


def candidates(name: str, conf: ResolvConf) -> Iterator[tuple[str, bool]]:
    """The absolute names that are tried for a name, in order; True marks the name without a search domain."""
    if name.endswith("."):
        yield name, True
        return
    as_it_is_first = name.count(".") >= conf.number("ndots")
    if as_it_is_first:
        yield absolute(name), True
    for suffix in conf.searches:
        yield absolute(name if suffix == "." else f"{name}.{suffix}"), False
    if not as_it_is_first and "." not in conf.searches:
        yield absolute(name), True


def look_up(net: Client, conf: ResolvConf, name: str, *, flow: int = 0, kinds: tuple[str, ...] = BOTH) -> Lookup:
    """Look a name up from a namespace; virtual time passes. The frames are those of `flow`."""
    stub = _Stub(net, conf, flow, kinds)
    records, error = stub.search(name)
    addresses = tuple(each.data for each in records if each.kind == "A")
    return Lookup(name, _sorted(net, addresses), records, error, tuple(stub.asked))


class _Stub:
    """One running look-up."""

    def __init__(self, net: Client, conf: ResolvConf, flow: int, kinds: tuple[str, ...]) -> None:
        self.net, self.conf, self.flow = net, conf, flow
        self.kinds = tuple(kind for kind in kinds if kind != "AAAA" or not conf.has("no-aaaa"))
        self.servers = conf.nameservers or (LOOPBACK,)
        self.random = net.clock.random(f"resolver/{net.name}")
        self.asked: list[Asked] = []
        # how questions are sent: together, one after the other, or each from a port of its own
        self.apart = 2 if conf.has("single-request-reopen") else 1 if conf.has("single-request") else 0
        self.over_tcp = conf.has("use-vc")

    # -- names --------------------------------------------------------------------------------

    def search(self, name: str) -> tuple[tuple[Record, ...], str]:
        """__res_context_search: the records, or the error of the whole search."""
        as_is_error = last = ""
        errors: set[str] = set()
        stop = False
        for candidate, as_it_is in candidates(name, self.conf):
            if stop and not as_it_is:
                continue
            records, error = self.query(candidate)
            if not error:
                return records, ""
            if as_it_is:
                as_is_error = as_is_error or (error if not errors else "")
            elif error not in (NO_NAME, NO_DATA, "SERVFAIL"):
                if error not in (TIMED_OUT, *UNUSABLE):
                    return (), error  # no server can be reached: no further name is tried
                stop = True
            errors.add(error)
            last = error
        return (), as_is_error or next((each for each in (NO_DATA, "SERVFAIL") if each in errors), last)

    def query(self, name: str) -> tuple[tuple[Record, ...], str]:
        """__res_context_send: every server in turn, `attempts` times."""
        if len(name) > LONGEST_NAME or any(len(label) > LONGEST_LABEL for label in name.split(".")):
            return (), NO_NAME
        questions: dict[int, Question] = {}
        for kind in self.kinds:
            ident = self.random.randrange(1 << 16)
            questions[ident ^ 1 if ident in questions else ident] = Question(name, kind)
        sockets: dict[str, UdpSocket] = {}
        error, any_reached = "ECONNREFUSED", False
        try:
            for _ in range(self.conf.number("attempts")):
                for number, server in enumerate(self.servers):
                    seconds = self.conf.number("timeout") << number
                    patience_ns = max(1, seconds // len(self.servers) if number else seconds) * SECOND
                    messages, failed = self._ask(server, questions, sockets, patience_ns)
                    if not failed:
                        return _judge(messages)
                    reached = failed == TIMED_OUT or failed in UNUSABLE
                    if reached or not any_reached:
                        error = failed
                    any_reached = any_reached or reached
        finally:
            for socket in sockets.values():
                socket.close()
        return (), error

    # -- messages -----------------------------------------------------------------------------

    def _ask(
        self, server: str, questions: dict[int, Question], sockets: dict[str, UdpSocket], patience_ns: int
    ) -> tuple[list[Message], str]:
        """Send all questions to one server once: the answers, or the error."""
        found: dict[int, Message] = {}
        ask = self._stream if self.over_tcp else self._datagrams
        rounds = [{ident: each} for ident, each in questions.items()] if self.apart else [questions]
        failed = ""
        for each in rounds:
            if self.apart == 2 and server in sockets:
                sockets.pop(server).close()
            failed = failed or ask(server, each, sockets, patience_ns, found)
        self.asked += [
            Asked(each.name, each.kind, server, _result(found[ident]) if ident in found else failed)
            for ident, each in questions.items()
        ]
        if failed == TRUNCATED:
            self.over_tcp = True
            try:
                return self._ask(server, questions, sockets, patience_ns)
            finally:
                self.over_tcp = self.conf.has("use-vc")
        if failed == TIMED_OUT and found:
            if self.apart < 2:  # it answered one of two: perhaps it cannot handle two questions from one port
                self.apart += 1
                return self._ask(server, questions, sockets, patience_ns)
            failed = ""  # the one answer is used
        return list(found.values()), failed or next((m.rcode for m in found.values() if m.rcode in UNUSABLE), "")

    def _datagrams(
        self,
        server: str,
        questions: dict[int, Question],
        sockets: dict[str, UdpSocket],
        patience_ns: int,
        found: dict[int, Message],
    ) -> str:
        """send_dg. A socket that timed out is used again, a socket with an error is not."""
        socket = sockets.get(server)
        try:
            if socket is None:
                socket = sockets[server] = self.net.sockets.udp(self.flow)
                socket.connect((server, PORT))
            for ident, question in questions.items():
                query = craft.dns_query(question, ident)
                try:
                    socket.send(query)
                except SocketError:
                    if not socket.errors:
                        raise
                    socket.send(query)  # the error is of the question before: glibc sends both first
            end_ns = self.net.clock.now + patience_ns
            while not questions.keys() <= found.keys():
                if not self._wait(end_ns, lambda: bool(socket.inbox or socket.errors)):
                    return TIMED_OUT
                if not socket.inbox and not socket.pending:
                    known = meaning(socket.errors[-1].kind, socket.errors[-1].code)
                    socket.pending = known[0] if known else EIO  # IP_RECVERR: every error counts
                message = _parsed(socket.recv())
                if message is not None and questions.get(message.ident) == message.question:
                    found[message.ident] = message
                    if message.truncated:
                        return TRUNCATED
        except SocketError as failure:
            if socket is not None:
                sockets.pop(server).close()
            return failure.name
        return ""

    def _stream(
        self,
        server: str,
        questions: dict[int, Question],
        sockets: dict[str, UdpSocket],
        patience_ns: int,
        found: dict[int, Message],
    ) -> str:
        """send_vc: all questions over one connection, each after its length."""
        socket = self.net.sockets.tcp(self.flow)
        end_ns = self.net.clock.now + patience_ns
        data = b""
        try:
            socket.connect((server, PORT))
            if not self._wait(end_ns, lambda: socket.connected or socket.state == "CLOSE"):
                socket.abort()
                return TIMED_OUT
            queries = [craft.dns_query(each, ident) for ident, each in questions.items()]
            socket.send(b"".join(len(each).to_bytes(2, "big") + each for each in queries))
            while not questions.keys() <= found.keys():

                def ready() -> bool:
                    endpoint = socket.endpoint
                    return endpoint is None or bool(endpoint.readable) or endpoint.eof or endpoint.state == "CLOSE"

                if not self._wait(end_ns, ready):
                    socket.abort()
                    return TIMED_OUT
                more = socket.recv()
                if not more:
                    break
                data += more
                while len(data) >= 2 and len(data) >= 2 + (size := int.from_bytes(data[:2], "big")):
                    message, data = _parsed(data[2 : 2 + size]), data[2 + size :]
                    if message is not None and questions.get(message.ident) == message.question:
                        found[message.ident] = message
            socket.close()
        except SocketError as failure:
            return failure.name
        return "" if questions.keys() <= found.keys() else "ECONNRESET"

    def _wait(self, end_ns: int, done: Callable[[], bool]) -> bool:
        self.net.clock.run(end_ns, done)
        return done()


def _parsed(data: bytes) -> Message | None:
    try:
        message = craft.dns_parse(data)
    except InputError:
        return None
    return message if message.response else None


def _result(message: Message) -> str:
    if message.truncated:
        return TRUNCATED
    if message.rcode != "NOERROR":
        return message.rcode
    return ", ".join(each.data for each in message.answers) or NO_DATA


def _judge(messages: list[Message]) -> tuple[tuple[Record, ...], str]:
    """The records of all answers about one name, or the error that they amount to."""
    records: dict[Record, None] = {}
    for message in messages:
        asked = message.question
        if asked is not None and any(each.kind == asked.kind for each in message.answers):
            records.update(dict.fromkeys(message.answers))
    if records:
        return tuple(records), ""
    return (), NO_DATA if any(message.rcode == "NOERROR" for message in messages) else NO_NAME


def _sorted(net: Client, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """RFC 6724's order as glibc applies it to IPv4: addresses in the source's own subnet first, by the length of the common
    prefix (rule 9); else in the order of the answer (rule 10)."""
    lengths = {each.addr: each.prefix.length for each in net.addresses}

    def nearness(text: str) -> int:
        destination = ip4(text)
        source = net.sockets.source_for(destination)
        length = lengths.get(source, 32)
        return -(32 - common) if (common := (source ^ destination).bit_length()) <= 32 - length else 0

    return tuple(sorted(map(ip4_text, map(ip4, addresses)), key=nearness))
