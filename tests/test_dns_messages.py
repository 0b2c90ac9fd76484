"""DNS messages through the door to Scapy: there and back, cut to size, and refused where they are none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu import craft
from emu.errors import InputError
from emu.wire.dns import UDP_SIZE, Answer, Message, Question, Record, type_name, type_number

NAME = "web.default.svc.cluster.local."
QUERY = Message(0x1234, Question(NAME, "A"))
ONE_OF_EACH = (
    Record(NAME, "A", 30, "10.96.0.1"),
    Record(NAME, "AAAA", 30, "fd00::1"),
    Record(NAME, "CNAME", 30, "www.example.com."),
    Record(NAME, "NS", 30, "ns.dns.cluster.local."),
    Record(NAME, "PTR", 5, "a.b."),
    Record(NAME, "SRV", 30, "0 33 80 db-0.db.data.svc.cluster.local."),
    Record(NAME, "TXT", 28800, "1.1.0"),
    Record("cluster.local.", "SOA", 30, "ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 30"),
)


def test_a_query_is_what_a_stub_resolver_sends() -> None:
    data = craft.dns_query(Question("a.bc.", "AAAA"), 0x1234)
    assert data.hex() == "123401000001000000000000016102626300001c0001"
    assert craft.dns_parse(data) == Message(0x1234, Question("a.bc.", "AAAA"))


@pytest.mark.parametrize("limit", [65535, UDP_SIZE])
@pytest.mark.parametrize("section", ["answers", "authorities", "extras"])
def test_every_record_comes_back(section: str, limit: int) -> None:
    for records in (ONE_OF_EACH, *((each,) for each in ONE_OF_EACH)):
        parsed = craft.dns_parse(craft.dns_answer(QUERY, Answer(**{section: records}), limit))  # type: ignore[arg-type]  # by name
        assert getattr(parsed, section) == records
        assert (parsed.ident, parsed.question, parsed.response, parsed.truncated) == (
            0x1234,
            QUERY.question,
            True,
            False,
        )


@pytest.mark.parametrize("rcode", ["NOERROR", "SERVFAIL", "NXDOMAIN", "REFUSED"])
@pytest.mark.parametrize("authoritative", [True, False])
def test_the_head_of_an_answer(rcode: str, authoritative: bool) -> None:
    parsed = craft.dns_parse(craft.dns_answer(QUERY, Answer(rcode, authoritative=authoritative)))
    assert (parsed.rcode, parsed.authoritative, parsed.recursion_available) == (rcode, authoritative, not authoritative)
    assert parsed.recursion_desired


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 60), extras=st.integers(0, 5), limit=st.integers(100, 1500))
def test_an_answer_never_grows_past_its_limit(count: int, extras: int, limit: int) -> None:
    answers = tuple(Record(NAME, "A", 30, f"10.0.0.{index}") for index in range(count))
    more = tuple(Record(f"x{index}.{NAME}", "A", 30, "10.0.1.1") for index in range(extras))
    data = craft.dns_answer(QUERY, Answer(answers=answers, extras=more), limit)
    parsed = craft.dns_parse(data)
    assert len(data) <= limit
    assert parsed.answers == answers[: len(parsed.answers)]
    assert parsed.truncated is (len(parsed.answers) + len(parsed.extras) < count + extras)
    if parsed.truncated:  # one more would not have fitted
        assert len(data) + 16 + 20 > limit
        assert not parsed.extras or parsed.answers == answers


def test_names_are_compressed_only_where_space_is_short() -> None:
    answers = tuple(Record(NAME, "A", 30, f"10.0.0.{index}") for index in range(10))
    long, short = (craft.dns_answer(QUERY, Answer(answers=answers), limit) for limit in (UDP_SIZE, 300))
    assert long.count(b"\3web\7default") == 11 and short.count(b"\3web\7default") == 1
    assert craft.dns_parse(long).answers == craft.dns_parse(short).answers == answers


@pytest.mark.parametrize("data", [b"", b"abc", b"\0" * 11, craft.dns_query(Question("a.", "A"), 1)[:-3]])
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(InputError):
        craft.dns_parse(data)


@given(st.binary(max_size=200))
def test_odd_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        parsed = craft.dns_parse(data)
    except InputError:
        return
    assert parsed.ident == int.from_bytes(data[:2], "big")


@pytest.mark.parametrize(("kind", "number"), [("A", 1), ("SRV", 33), ("TYPE65", 65)])
def test_types_by_name_and_number(kind: str, number: int) -> None:
    assert (type_number(kind), type_name(number)) == (number, kind)
