"""The stub resolver beside glibc 2.36: which names, in which order, by which ports, how long; and a pod's resolv.conf.

The tables of questions were read off a real glibc that asked a server of each of these tempers.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emu import Lab, craft
from emu.apps.dns import DnsServer
from emu.clock import SECOND
from emu.errors import InputError
from emu.kube.api.core import Container, DnsConfigOption, Pod, PodDnsConfig, PodSpec
from emu.kube.api.meta import ObjectMeta
from emu.kube.dns.resolv_conf import ResolvConf, of_pod
from emu.kube.dns.resolver import Lookup, candidates, look_up
from emu.wire.dns import PORT, Answer, Message, Record
from emu.wire.frame import TCP, UDP, Frame

SEARCH = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")
POD = ResolvConf(("10.0.0.2",), SEARCH, ("ndots:5",))
KNOWN = ("foo.default.svc.cluster.local.", "b.other.svc.cluster.local.", "www.example.com.")

# -- names -----------------------------------------------------------------------------------------

IN_ALL = [f"{{}}.{suffix}." for suffix in SEARCH]


@pytest.mark.parametrize(
    ("name", "options", "tried"),
    [
        ("foo", ("ndots:5",), [*IN_ALL, "{}."]),
        ("b.other", ("ndots:5",), [*IN_ALL, "{}."]),
        ("a.b.c.d.e", ("ndots:5",), [*IN_ALL, "{}."]),
        ("a.b.c.d.e.f", ("ndots:5",), ["{}.", *IN_ALL]),
        ("foo.", ("ndots:5",), ["{}"]),
        ("foo", (), [*IN_ALL, "{}."]),
        ("www.example.com", (), ["{}.", *IN_ALL]),
        ("www.example.com", ("ndots:2",), ["{}.", *IN_ALL]),
        ("www.example.com", ("ndots:3",), [*IN_ALL, "{}."]),
        ("foo", ("ndots:0",), ["{}.", *IN_ALL]),
    ],
)
def test_candidates(name: str, options: tuple[str, ...], tried: list[str]) -> None:
    conf = POD._replace(options=options)
    assert [each for each, _ in candidates(name, conf)] == [each.format(name) for each in tried]


def test_the_root_in_the_search_list_stands_for_the_name_itself() -> None:
    assert [each for each, _ in candidates("foo", ResolvConf((), ("a.b", ".")))] == ["foo.a.b.", "foo."]


# -- over the wire ---------------------------------------------------------------------------------

Temper = Callable[[Message, bool], bytes | None]


def knows(message: Message, stream: bool) -> bytes | None:
    question = message.question
    assert question is not None
    if question.name not in KNOWN:
        return craft.dns_answer(message, Answer("NXDOMAIN"))
    records = (Record(question.name, "A", 30, "10.0.0.1"),) if question.kind == "A" else ()
    return craft.dns_answer(message, Answer(answers=records))


def answers(rcode: str) -> Temper:
    return lambda message, stream: craft.dns_answer(message, Answer(rcode))


def only_a(message: Message, stream: bool) -> bytes | None:
    assert message.question is not None
    return knows(message, stream) if message.question.kind == "A" else None


def big(message: Message, stream: bool) -> bytes | None:
    question = message.question
    assert question is not None
    records = tuple(Record(question.name, "A", 30, f"10.0.1.{index}") for index in range(40))
    answer = Answer(answers=records if question.kind == "A" else ())
    return craft.dns_answer(message, answer, 65535 if stream else 512)


class Bench:
    """A client and a server of some temper; `log` is what the server was asked: second, protocol, port, question."""

    def __init__(self, temper: Temper | None) -> None:
        self.lab = Lab()
        self.client, self.server = self.lab.host("client"), self.lab.host("server")
        self.lab.cable(self.client, "10.0.0.1/24", self.server, "10.0.0.2/24", default=True)
        self.temper = temper
        if temper is not None:
            for protocol in ("UDP", "TCP"):
                running = DnsServer(self.server, PORT, protocol, "server")
                running.serve = self._serve(protocol == "TCP")  # type: ignore[method-assign]  # a server of another temper

    def _serve(self, stream: bool) -> Callable[..., None]:
        def serve(data: bytes, flow: int, limit: int, send: Callable[[bytes], None]) -> None:
            assert self.temper is not None
            answer = self.temper(craft.dns_parse(data), stream)
            if answer is not None:
                send(answer)

        return serve

    def look_up(self, name: str, conf: ResolvConf = POD, kinds: tuple[str, ...] = ("A", "AAAA")) -> Lookup:
        return look_up(self.client, conf, name, flow=3, kinds=kinds)

    @property
    def log(self) -> list[tuple[int, str, int, str, str]]:
        """Second, protocol, number of the client's port (the first is 0), type and name of each question."""
        ports: dict[int, int] = {}
        found = []
        for captured in self.lab.frames("client/eth0"):
            frame = Frame.parse(captured.data)
            if captured.direction != "out" or frame.proto not in (UDP, TCP):
                continue
            data = captured.data[frame.l4 + (8 if frame.proto == UDP else captured.data[frame.l4 + 12] >> 4 << 2) :]
            protocol = "udp" if frame.proto == UDP else "tcp"
            while data:
                if protocol == "tcp":
                    size = int.from_bytes(data[:2], "big")
                    message, data = craft.dns_parse(data[2 : 2 + size]), data[2 + size :]
                else:
                    message, data = craft.dns_parse(data), b""
                number = ports.setdefault(frame.sport, len(ports))
                assert message.question is not None and captured.flow == 3
                second = captured.time_ns // SECOND
                found.append((second, protocol, number, message.question.kind, message.question.name))
        return found


def pairs(*rows: tuple[int, str, int, str]) -> list[tuple[int, str, int, str, str]]:
    return [(second, protocol, port, kind, name) for second, protocol, port, name in rows for kind in ("A", "AAAA")]


FOO = "foo.default.svc.cluster.local."
EVERYWHERE = [f"foo.{suffix}." for suffix in SEARCH] + ["foo."]


@pytest.mark.parametrize(
    ("temper", "name", "log", "error"),
    [
        (knows, "foo", pairs((0, "udp", 0, FOO)), ""),
        (knows, f"{FOO}", pairs((0, "udp", 0, FOO)), ""),
        (
            knows,
            "b.other",
            pairs((0, "udp", 0, "b.other.default.svc.cluster.local."), (0, "udp", 1, "b.other.svc.cluster.local.")),
            "",
        ),
        (knows, "nope", pairs(*((0, "udp", i, each.replace("foo", "nope")) for i, each in enumerate(EVERYWHERE))), "NXDOMAIN"),
        (answers("NOERROR"), "foo", pairs(*((0, "udp", i, each) for i, each in enumerate(EVERYWHERE))), "NODATA"),
        (
            answers("SERVFAIL"),
            "foo",
            pairs(*((0, "udp", i, each) for i, each in enumerate(EVERYWHERE) for _ in range(2))),
            "SERVFAIL",
        ),
        (
            answers("REFUSED"),
            "foo",
            pairs((0, "udp", 0, FOO), (0, "udp", 0, FOO), (0, "udp", 1, "foo."), (0, "udp", 1, "foo.")),
            "REFUSED",
        ),
        (
            lambda message, stream: None,
            "foo",
            pairs((0, "udp", 0, FOO), (5, "udp", 0, FOO), (10, "udp", 1, "foo."), (15, "udp", 1, "foo.")),
            "ETIMEDOUT",
        ),
        (
            only_a,
            "foo",
            [*pairs((0, "udp", 0, FOO), (5, "udp", 0, FOO)), (10, "udp", 1, "A", FOO), (10, "udp", 2, "AAAA", FOO)],
            "",
        ),
        (big, "foo", pairs((0, "udp", 0, FOO), (0, "tcp", 1, FOO)), ""),
        (None, "foo", pairs((0, "udp", 0, FOO), (0, "udp", 1, FOO)), "ECONNREFUSED"),
    ],
    ids=["known", "absolute", "one more", "unknown", "nodata", "servfail", "refused", "silent", "only A", "big", "no server"],
)  # fmt: skip
def test_questions(temper: Temper | None, name: str, log: list[tuple[int, str, int, str, str]], error: str) -> None:
    bench = Bench(temper)
    found = bench.look_up(name)
    assert bench.log == log
    assert found.error == error
    assert bool(found.addresses) is (not error)
    ended_s = log[-1][0] + (5 if temper is only_a or error == "ETIMEDOUT" else 0)
    assert bench.lab.clock.now // SECOND == ended_s


def test_what_a_look_up_reports() -> None:
    found = Bench(knows).look_up("b.other")
    assert found.addresses == ("10.0.0.1",)
    assert found.canonical == "b.other.svc.cluster.local."
    assert [str(each) for each in found.asked] == [
        "A b.other.default.svc.cluster.local. @10.0.0.2: NXDOMAIN",
        "AAAA b.other.default.svc.cluster.local. @10.0.0.2: NXDOMAIN",
        "A b.other.svc.cluster.local. @10.0.0.2: 10.0.0.1",
        "AAAA b.other.svc.cluster.local. @10.0.0.2: NODATA",
    ]
    assert str(found) == "b.other: 10.0.0.1 (4 questions)"


@pytest.mark.parametrize(
    ("temper", "eai"),
    [
        (knows, "EAI_NONAME"),
        (answers("NOERROR"), "EAI_NODATA"),
        (answers("SERVFAIL"), "EAI_AGAIN"),
        (None, "EAI_AGAIN"),
    ],
)
def test_what_getaddrinfo_returns(temper: Temper | None, eai: str) -> None:
    assert Bench(temper).look_up("nope").eai == eai


def test_a_long_answer_comes_whole_over_tcp() -> None:
    found = Bench(big).look_up("foo")
    assert len(found.addresses) == 40
    assert [each.result for each in found.asked[:1]] == ["TC"]


@pytest.mark.parametrize(
    ("option", "log"),
    [
        ("use-vc", pairs((0, "tcp", 0, FOO))),
        ("no-aaaa", [(0, "udp", 0, "A", FOO)]),
        ("single-request", pairs((0, "udp", 0, FOO))),
        ("single-request-reopen", [(0, "udp", 0, "A", FOO), (0, "udp", 1, "AAAA", FOO)]),
    ],
)
def test_options(option: str, log: list[tuple[int, str, int, str, str]]) -> None:
    bench = Bench(knows)
    assert bench.look_up("foo", POD._replace(options=("ndots:5", option))).addresses == ("10.0.0.1",)
    assert bench.log == log


def test_timeout_and_attempts_are_the_files() -> None:
    bench = Bench(lambda message, stream: None)
    bench.look_up("foo.", POD._replace(options=("timeout:1", "attempts:3")))
    assert [second for second, *_ in bench.log] == [0, 0, 1, 1, 2, 2]


def test_the_second_server_is_asked_where_the_first_is_silent() -> None:
    bench = Bench(knows)
    conf = POD._replace(nameservers=("10.0.0.9", "10.0.0.2"))  # no host has the first address
    found = bench.look_up("foo", conf)
    assert found.addresses == ("10.0.0.1",)
    assert [each.server for each in found.asked] == ["10.0.0.9"] * 2 + ["10.0.0.2"] * 2


def test_a_name_too_long_is_nobodys_and_not_asked_for() -> None:
    bench = Bench(knows)
    assert bench.look_up("x" * 64).error == "NXDOMAIN"
    assert bench.log == []


def test_answers_of_others_do_not_count() -> None:
    def forged(message: Message, stream: bool) -> bytes | None:
        return craft.dns_answer(message._replace(ident=message.ident ^ 1), Answer("NXDOMAIN"))

    assert Bench(forged).look_up("foo.").error == "ETIMEDOUT"


def test_addresses_of_the_own_subnet_come_first() -> None:
    """As glibc 2.36 sorted them for a host 10.0.0.1/24 (there 10.244.1.50/24, with the same bits in common)."""
    answered = ("10.0.2.2", "10.0.0.9", "10.0.3.4", "10.0.0.2")

    def several(message: Message, stream: bool) -> bytes | None:
        assert message.question is not None
        records = tuple(Record(message.question.name, "A", 30, each) for each in answered)
        return craft.dns_answer(message, Answer(answers=records if message.question.kind == "A" else ()))

    assert Bench(several).look_up("foo.").addresses == ("10.0.0.2", "10.0.0.9", "10.0.2.2", "10.0.3.4")


def test_any_type_can_be_asked_for() -> None:
    bench = Bench(lambda m, s: craft.dns_answer(m, Answer(answers=(Record("a.", "SRV", 30, "0 100 80 b."),))))
    found = bench.look_up("a.", kinds=("SRV",))
    assert (found.error, found.records[0].data, found.addresses) == ("", "0 100 80 b.", ())


# -- resolv.conf -----------------------------------------------------------------------------------

NODE = ResolvConf(("192.0.2.1",), ("corp.example",), ("rotate",))


def pod(policy: str, config: PodDnsConfig | None = None, *, host_network: bool = False) -> Pod:
    spec = PodSpec(containers=(Container("c"),), dns_policy=policy, dns_config=config, host_network=host_network)
    return Pod(metadata=ObjectMeta(name="p", namespace="shop"), spec=spec)


CLUSTER = "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:5\n"
CLUSTER_SEARCH = "shop.svc.cluster.local svc.cluster.local cluster.local"
OPTIONS, ROTATE = "options ndots:2 use-vc\n", "options rotate ndots:2 use-vc\n"
OWN = "search corp.example\nnameserver 192.0.2.1\noptions rotate\n"
MORE = PodDnsConfig(
    ("1.1.1.1",), ("x.example", "cluster.local"), (DnsConfigOption("ndots", "2"), DnsConfigOption("use-vc"))
)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (pod("ClusterFirst"), CLUSTER),
        (pod("ClusterFirst", host_network=True), OWN),
        (pod("ClusterFirstWithHostNet", host_network=True), CLUSTER),
        (pod("ClusterFirstWithHostNet"), CLUSTER),
        (pod("Default"), OWN),
        (pod("None", MORE), "search x.example cluster.local\nnameserver 1.1.1.1\noptions ndots:2 use-vc\n"),
        (
            pod("ClusterFirst", MORE),
            f"search {CLUSTER_SEARCH} corp.example x.example\nnameserver 10.96.0.10\nnameserver 1.1.1.1\n{OPTIONS}",
        ),
        (
            pod("Default", MORE),
            f"search corp.example x.example cluster.local\nnameserver 192.0.2.1\nnameserver 1.1.1.1\n{ROTATE}",
        ),
    ],
)
def test_resolv_conf(spec: Pod, text: str) -> None:
    assert of_pod(spec, NODE, "10.96.0.10", "cluster.local").text == text


def test_a_pod_takes_no_more_than_a_resolver_does() -> None:
    config = PodDnsConfig(("1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"), tuple(f"{i}.example" for i in range(40)))
    found = of_pod(pod("None", config), NODE, "10.96.0.10", "cluster.local")
    assert (len(found.nameservers), len(found.searches)) == (3, 32)
    long = PodDnsConfig(("1.1.1.1",), tuple(f"{i}{'x' * 199}" for i in range(20)))
    assert len(" ".join(of_pod(pod("None", long), NODE, "", "").searches)) <= 2048


def test_an_unknown_policy() -> None:
    with pytest.raises(InputError, match="no dnsPolicy 'ClusterLast'"):
        of_pod(pod("ClusterLast"), NODE, "10.96.0.10", "cluster.local")


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ((), (1, 5, 2)),
        (("ndots:5", "timeout:3", "attempts:4"), (5, 3, 4)),
        (("ndots:99", "timeout:99", "attempts:99"), (15, 30, 5)),
        (("ndots:x", "timeout", "ndots:2"), (2, 5, 2)),
    ],
)
def test_numbers_within_glibcs_limits(options: tuple[str, ...], numbers: tuple[int, ...]) -> None:
    conf = ResolvConf(options=options)
    assert tuple(conf.number(each) for each in ("ndots", "timeout", "attempts")) == numbers
