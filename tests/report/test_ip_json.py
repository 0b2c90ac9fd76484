"""What `ip -j` never prints: every such value is one InputError with the file and the path, and no other exception."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.errors import InputError
from emu.report.node import read_node
from emu.testing.strategies import examples

RULES = "*filter\nCOMMIT\n"
ROUTES: list[dict[str, Any]] = [
    {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0", "protocol": "dhcp", "prefsrc": "10.0.0.2", "metric": 100, "flags": []},
    {"dst": "10.244.1.0/24", "dev": "cbr0", "protocol": "kernel", "scope": "link", "prefsrc": "10.244.1.1", "flags": []},
    {"dst": "10.9.0.0/16", "nexthops": [{"gateway": "10.0.0.3", "dev": "eth0", "weight": 1, "flags": ["onlink"]}], "flags": []},
    {"type": "blackhole", "dst": "10.8.0.0/16", "table": "100", "metrics": [{"mtu": 1400}], "flags": []},
    {"type": "local", "dst": "10.0.0.2", "dev": "eth0", "table": "local", "scope": "host", "flags": []},
]  # fmt: skip
ADDRESSES: list[dict[str, Any]] = [
    {"ifname": "lo", "mtu": 65536, "address": "00:00:00:00:00:00", "addr_info": []},
    {
        "ifname": "eth0", "mtu": 1500, "address": "02:00:00:00:00:01", "flags": ["UP"],
        "addr_info": [{"family": "inet", "local": "10.0.0.2", "prefixlen": 24, "scope": "global"}, {"family": "inet6"}],
    },
]  # fmt: skip
POLICY: list[dict[str, Any]] = [
    {"priority": 0, "src": "all", "table": "local"},
    {"priority": 100, "src": "10.0.0.0", "srclen": 8, "fwmark": "0x4000", "fwmask": "0x4000", "table": "100", "iif": "eth0"},
]  # fmt: skip
GIVEN = {"routes": ROUTES, "addresses": ADDRESSES, "policy": POLICY}
FILES = {name: f"{name}.json" for name in GIVEN}


def build(**given: Any) -> None:
    texts = {name: json.dumps(value) for name, value in given.items()}
    read_node(RULES, **texts, files=FILES).build()  # type: ignore[arg-type]  # every value is a text


@pytest.mark.parametrize(
    ("name", "entry", "error_text"),
    [
        ("routes", {"dst": "10.244.1.3", "dev": "eth0", "flags": None}, "[0].flags: null is no list of texts"),
        ("routes", {"dst": "default", "gateway": "10.1.1.1", "dev": "eth0", "metric": "x"}, "[0].metric: 'x' is no number"),
        ("routes", {"dst": "default", "nhid": 7}, "[0].dev: is missing from a unicast route"),
        ("routes", {"dst": "10.244.1.3", "scope": "host"}, "[0].dev: is missing from a unicast route"),
        ("routes", {"dst": "10.244.1.3", "dev": "eth0", "flags": 7}, "[0].flags: a number is no list of texts"),
        ("routes", {"dst": 5, "dev": "eth0"}, "[0].dst: a number is no text"),
        ("routes", {"dst": "10.0.0.0/33", "dev": "eth0"}, "[0].dst: '10.0.0.0/33' is not a CIDR"),
        ("routes", {"dst": "default", "nexthops": [{"gateway": 1, "dev": "e"}]}, "[0].nexthops[0].gateway: a number is no text"),
        ("routes", {"dst": "default", "nexthops": {}}, "[0].nexthops: an object is not what `ip -j` prints"),
        ("routes", {"dst": "default", "dev": "e", "metrics": [None]}, "[0].metrics[0]: null is not what `ip -j` prints"),
        ("routes", {"dst": "default", "dev": "e", "metric": True}, "[0].metric: True is no number"),
        ("routes", {"dst": "default", "dev": "e", "table": "²"}, "[0].table: unknown routing table '²'"),
        ("addresses", {"ifname": "e", "addr_info": [1]}, "[0].addr_info[0]: a number is not what `ip -j` prints"),
        ("addresses", {"ifname": "e", "addr_info": [{"family": "inet", "prefixlen": 1}]}, "[0].addr_info[0].local: is missing"),
        (
            "addresses", {"ifname": "e", "addr_info": [{"family": "inet", "local": "10.0.0.1"}]},
            "[0].addr_info[0].prefixlen: is missing",
        ),
        ("addresses", {"mtu": 5}, "[0].ifname: is missing"),
        ("policy", {"priority": "first", "src": "all"}, "[0].priority: 'first' is no number"),
        ("policy", {"priority": 1, "src": "all", "fwmark": "red"}, "[0].fwmark: 'red' is no number"),
        ("policy", {"priority": 1, "src": "10.0.0.0", "srclen": "wide"}, "[0].srclen: 'wide' is no number"),
    ],
)  # fmt: skip
def test_wrong_values(name: str, entry: dict[str, Any], error_text: str) -> None:
    with pytest.raises(InputError) as error:
        build(**{name: [entry]})
    assert str(error.value).startswith(f"{name}.json: {error_text}"), str(error.value)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "data/iptables-dumps").glob("*.json")), ids=str)
def test_real_dumps_are_taken(path: Path) -> None:
    name = next(name for name, word in (("policy", "rule"), ("addresses", "addr"), ("routes", "")) if word in path.name)
    build(**{name: json.loads(path.read_text())})


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    for step, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(each, (*path, step))


WILD: st.SearchStrategy[Any] = st.sampled_from([
    None, True, -1, 0, 33, 1 << 40, 1.5, float("nan"), "", "x", "²", "0x", "10.0.0.1", "10.0.0.0/8", "fe80::1", "default", "all",
    "9" * 5000, [], [None], [[]], {}, {"dev": 1}, {"dev": "eth9"}, ["onlink", 1], "local", "unicast", "eth0", "\0", "a/b",
])  # fmt: skip


@given(st.data())
@examples(400)
def test_any_change_is_taken_or_one_error(data: st.DataObject) -> None:
    given = copy.deepcopy(GIVEN)
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(given)))
        *front, last = data.draw(st.sampled_from(list(places(given[name]))[1:] or [("",)]))
        at: Any = given[name]
        for step in front:
            at = at[step]
        if data.draw(st.booleans()):
            at[last] = copy.deepcopy(data.draw(WILD))
        elif last != "":
            del at[last]
        if not given[name]:
            break
    try:
        build(**given)
    except InputError as error:
        wrong = error
    else:
        return
    assert wrong.file in (*FILES.values(), None)
    assert len(str(wrong)) < 1200
