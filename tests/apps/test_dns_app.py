"""The app dns: what it knows, what it leaves to upstreams, over UDP and TCP."""

from __future__ import annotations

from emu import Lab, craft
from emu.apps import start
from emu.apps.dns import DnsServer
from emu.clock import SECOND
from emu.wire.dns import PORT, Answer, Message, Question, Record

SERVER, UPSTREAM = "10.0.1.2", "10.0.2.2"
HERE = Answer(answers=(Record("here.", "A", 30, "10.1.1.1"),))
ALIAS = Answer(answers=(Record("alias.", "CNAME", 30, "there."),), chase="there.")
MANY = Answer(answers=tuple(Record("many.", "A", 30, f"10.0.0.{index}") for index in range(40)))
KNOWN = {"here.": HERE, "alias.": ALIAS, "many.": MANY}


class Bench:
    """A client, a server, and an upstream that is silent until a test sets its answer."""

    def __init__(self, protocol: str = "UDP") -> None:
        self.lab = Lab()
        self.client, server, self.upstream = (self.lab.host(name) for name in ("client", "server", "upstream"))
        self.lab.cable(self.client, "10.0.1.1/24", server, f"{SERVER}/24")
        self.lab.cable(server, "10.0.2.1/24", self.upstream, f"{UPSTREAM}/24")
        running = start("dns", server, PORT, protocol)
        assert isinstance(running, DnsServer)
        self.server = running
        self.server.authority = lambda question: KNOWN.get(question.name)
        self.server.upstreams = (UPSTREAM,)

    def upstream_answers(self, answer: Answer) -> None:
        running = start("dns", self.upstream, PORT, "UDP")
        assert isinstance(running, DnsServer)
        running.authority = lambda question: answer

    def ask(self, name: str, kind: str = "A", seconds: float = 0.1) -> Message | None:
        socket = self.client.sockets.udp(7)
        socket.connect((SERVER, PORT))
        socket.send(craft.dns_query(Question(name, kind), 99))
        self.lab.run(seconds)
        return craft.dns_parse(socket.recv()) if socket.inbox else None


def test_what_it_knows() -> None:
    response = Bench().ask("here.")
    assert response is not None
    assert (response.ident, response.rcode, response.answers, response.authoritative) == (
        99,
        "NOERROR",
        HERE.answers,
        True,
    )


def test_what_others_know_is_asked_of_them_in_the_same_flow() -> None:
    bench = Bench()
    there = Record("there.", "A", 30, "203.0.113.10")
    bench.upstream_answers(Answer(answers=(there,), authoritative=False))
    response = bench.ask("there.")
    assert response is not None and (response.answers, response.authoritative, response.recursion_available) == (
        (there,),
        False,
        True,
    )
    alias = bench.ask("alias.")
    assert alias is not None and alias.answers == (*ALIAS.answers, there)
    asked = bench.lab.frames("upstream/eth0")
    assert asked and {frame.flow for frame in asked if frame.data[12:14] == b"\x08\0"} == {7}


def test_an_error_of_upstream_is_handed_on() -> None:
    bench = Bench()
    bench.upstream_answers(Answer("NXDOMAIN", authoritative=False))
    response = bench.ask("there.")
    assert response is not None and response.rcode == "NXDOMAIN"


def test_a_silent_upstream_is_asked_twice() -> None:
    bench = Bench()
    silent = bench.upstream.sockets.udp()
    silent.bind(("0.0.0.0", PORT))
    assert bench.ask("there.", seconds=3.9) is None
    bench = Bench()
    silent = bench.upstream.sockets.udp()
    silent.bind(("0.0.0.0", PORT))
    response = bench.ask("there.", seconds=4.1)
    assert response is not None and response.rcode == "SERVFAIL"
    questions = [craft.dns_parse(data).question for data, *_ in silent.inbox]
    assert questions == [Question("there.", "A")] * 2
    assert bench.lab.clock.now < 5 * SECOND


def test_an_upstream_that_refuses_costs_no_time() -> None:
    response = Bench().ask("there.", seconds=0.1)  # no socket listens: an ICMP error
    assert response is not None and response.rcode == "SERVFAIL"


def test_without_upstreams_others_are_refused() -> None:
    bench = Bench()
    bench.server.upstreams = ()
    response = bench.ask("there.")
    assert response is not None and response.rcode == "REFUSED"


def test_addresses_are_shuffled_and_long_answers_truncated() -> None:
    bench = Bench()
    first, second = bench.ask("many."), bench.ask("many.")
    assert first is not None and second is not None
    assert first.truncated and second.truncated
    assert first.answers != second.answers
    assert set(first.answers) < set(MANY.answers)


def test_tcp_takes_several_questions_and_any_length() -> None:
    bench = Bench("TCP")
    socket = bench.client.sockets.tcp()
    socket.connect((SERVER, PORT))
    queries = [craft.dns_query(Question(name, "A"), ident) for ident, name in enumerate(("many.", "here."))]
    data = b"".join(len(each).to_bytes(2, "big") + each for each in queries)
    for part in (data[:1], data[1:20], data[20:]):
        socket.send(part)
        bench.lab.run(0.1)
    stream = socket.recv()
    response = []
    while stream:
        size = int.from_bytes(stream[:2], "big")
        response.append(craft.dns_parse(stream[2 : 2 + size]))
        stream = stream[2 + size :]
    assert [(each.ident, each.truncated, len(each.answers)) for each in response] == [(0, False, 40), (1, False, 1)]


def test_what_is_no_query_gets_no_answer() -> None:
    bench = Bench()
    socket = bench.client.sockets.udp()
    socket.connect((SERVER, PORT))
    for data in (b"who?", b"", craft.dns_answer(Message(1, Question("here.", "A")), HERE)):
        socket.send(data)
    bench.lab.run(0.1)
    assert not socket.inbox and not socket.errors


def test_a_server_that_stops_forgets_what_it_asked() -> None:
    bench = Bench()
    silent = bench.upstream.sockets.udp()
    silent.bind(("0.0.0.0", PORT))
    bench.ask("there.")
    bench.server.stop()
    bench.lab.run(6)
    assert len(silent.inbox) == 1
