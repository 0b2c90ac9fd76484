"""Views of a namespace: text in the words of the kernel's own tools, and data with the same values."""

from __future__ import annotations

import json
from functools import cache

import pytest

from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.save import parse_restore, save
from emu.report import columns, views
from emu.scenario.run import Run, run
from emu.scenario.script import load_text
from linux import Linux
from small import scenario

SCENARIO = scenario("views", '- tcp: {from: default/client, to: "svc/web:80", send: hello}\n')


@cache
def done() -> Run:
    return run(load_text(SCENARIO))


def net(name: str = "node-1") -> Netns:
    return done().cluster.namespaces[name]


def test_every_view_is_there_and_is_plain_data() -> None:
    assert sorted(views) == [
        "conntrack",
        "counters",
        "fdb",
        "interfaces",
        "ip-rules",
        "neigh",
        "routes",
        "rules",
        "sockets",
    ]
    for name, view in views.items():
        report = view(net("default/web") if name == "sockets" else net())
        assert report.data, name
        assert json.loads(json.dumps(report.data)) == report.data
        assert report.text == report.text.rstrip("\n")


def test_rules_come_back_as_they_are() -> None:
    text = views["rules"](net()).text
    assert save(parse_restore(text)).rstrip("\n") == text
    assert "-j DNAT --to-destination 10.244.2.2:8080" in text


def test_rules_as_data_count() -> None:
    data = views["rules"](net()).data
    hits = [each["packets"] for chain in data["nat"].values() for each in chain["rules"] if "DNAT" in each["rule"]]
    assert hits == [1]
    assert data["filter"]["FORWARD"]["policy"] == "ACCEPT"


@pytest.mark.twin
def test_the_real_iptables_takes_our_rules_and_prints_the_same(linux: Linux) -> None:
    text = views["rules"](net()).text
    space = linux.namespace("views")
    linux.run(space, "iptables-restore", stdin=text + "\n")
    saved = linux.run(space, "iptables-save")
    lines = [line for line in saved.splitlines() if not line.startswith("#")]
    assert sorted(lines) == sorted(text.splitlines())


def test_routes() -> None:
    report = views["routes"](net())
    assert report.text.splitlines()[:3] == [
        "default via 192.168.51.1 dev eth0",
        "10.244.1.0/24 dev cbr0 proto kernel scope link src 10.244.1.1",
        "192.168.51.0/24 dev eth0 proto kernel scope link src 192.168.51.11",
    ]
    # as `ip -j route` prints it: what does not apply is no key
    assert report.data[0] == {
        "dst": "default", "gateway": "192.168.51.1", "dev": "eth0", "protocol": "boot", "flags": [],
    }  # fmt: skip


def test_open_ports() -> None:
    report = views["sockets"](net("default/web"))
    assert report.text == "tcp LISTEN 0.0.0.0:8080"
    assert report.data == [{"netid": "tcp", "state": "LISTEN", "local": "0.0.0.0", "port": 8080}]


def test_neighbours_and_what_the_bridge_learned() -> None:
    neighbours = views["neigh"](net("default/client"))
    (gateway,) = neighbours.data
    assert (gateway["dst"], gateway["dev"]) == ("10.244.1.1", "eth0")
    assert neighbours.text == f"10.244.1.1 dev eth0 lladdr {gateway['lladdr']} {gateway['state'][0]}"
    learned = [each for each in views["fdb"](net()).data if not each["state"]]
    assert [each["master"] for each in learned] == ["cbr0"]
    client = net("default/client").devices["eth0"].mac.hex(":")
    assert [each["mac"] for each in learned] == [client]


def test_connections() -> None:
    report = views["conntrack"](net())
    assert "src=10.244.1.2 dst=10.96.0.10" in report.text
    assert "src=10.244.2.2 dst=10.244.1.2" in report.text
    assert views["conntrack"](net("default/client")).text == ""


def test_interfaces() -> None:
    report = views["interfaces"](net())
    assert [each["ifname"] for each in report.data[:3]] == ["lo", "eth0", "cbr0"]
    assert report.text.splitlines()[0].split() == [
        "INDEX",
        "NAME",
        "KIND",
        "STATE",
        "MTU",
        "MAC",
        "BRIDGE",
        "ADDRESSES",
    ]
    assert [each["master"] for each in report.data if each["linkinfo"]["info_kind"] == "veth" and "master" in each] == [
        "cbr0"
    ]


def test_columns_align_and_show_empty_cells() -> None:
    rows: list[dict[str, object]] = [{"a": 1, "b": ""}, {"a": "long", "b": ["x", "y"]}, {"a": None, "b": True}]
    assert columns(("A", "B"), rows, ("a", "b")) == "A      B\n1      -\nlong   x, y\n-      yes"
