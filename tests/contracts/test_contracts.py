"""One test an extension point, run on whatever its shelf finds: drop a file into the folder, and it is held to this.

Matches, targets, CNI plugins, networks, apps, views, steps, and the gallery's scenarios have tests of their own besides.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any

import pytest

from emu.apps import apps
from emu.clock import Clock
from emu.errors import EmuError, InputError, SocketError, Undecided
from emu.kernel import boot
from emu.kernel.netfilter.hooks import STOLEN, STOP, Drop, Reject
from emu.kernel.netfilter.lookup import ACT, scan
from emu.kernel.netfilter.matches import Given, HotDrop, Match, Where, matches
from emu.kernel.netfilter.ruleset import Chain, Rule
from emu.kernel.netfilter.save import parse_restore, save
from emu.kernel.netfilter.targets import CONTINUE, Target, targets
from emu.kube.cni.spec import Attachment, CniError, Host, Result, plugins
from emu.lab import Lab
from emu.registry import Shelf
from emu.report import Report, run_views, sentence, views
from emu.scenario.steps import actions
from emu.testing.strategies import Spot, Topology
from emu.wire.frame import ICMP, TCP, UDP, Frame
from rules import packet

ROOT = Path(__file__).parents[2]
SHELVES: dict[str, tuple[Shelf[Any], str]] = {
    "match": (matches, "emu/kernel/netfilter/matches"),
    "target": (targets, "emu/kernel/netfilter/targets"),
    "plugin": (plugins, "emu/kube/cni/plugins"),
    "app": (apps, "emu/apps"),
    "view": (views, "emu/report"),
    "view of a run": (run_views, "emu/report"),
    "action": (actions, "emu/scenario/steps"),
}
PARTS = [(kind, name) for kind, (shelf, _) in SHELVES.items() for name in sorted(shelf)]


def source_of(part: Any) -> Path:
    return Path(inspect.getsourcefile(part) or "").relative_to(ROOT)


# -- every part ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_a_part_lies_in_its_folder_and_states_what_it_is(kind: str, name: str) -> None:
    shelf, folder = SHELVES[kind]
    part = shelf[name]
    path = source_of(part)
    assert path.parent.as_posix() == folder, "one file in the extension point's folder is all it takes"
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    assert "ust not know" in docstring or len(docstring.splitlines()) > 1
    module = sys.modules[part.__module__]
    assert not [each for each in vars(module).values() if getattr(each, "__name__", "").startswith("scapy")]


@pytest.mark.parametrize("kind", SHELVES)
def test_an_unknown_name_is_bad_input_with_the_nearest(kind: str) -> None:
    shelf, _ = SHELVES[kind]
    name = min(shelf)
    with pytest.raises(InputError, match=f"{name!r}") as error:
        shelf[f"{name}x"]
    assert f"{name}x" in str(error.value)


# -- matches and targets ---------------------------------------------------------------------------------------------

NUMBERS = [
    "0",
    "1",
    "2",
    "5",
    "80",
    "100",
    "1/2",
    "0x1/0xff",
    "10.0.0.1",
    "10/second",
    "eth0",
    "NEW",
    "0.5",
    "random",
    "nth",
]
WORDS = ["in", "none", "bm", "random", *NUMBERS, "80,81", "8/0", "LOCAL", "02:00:00:00:00:01", "unicast", "SYN", "SYN,ACK SYN", "name", "DATA", "1:2",
         "10.0.0.1-10.0.0.9", "10.0.0.0/24", "10.0.0.1:80", "icmp-port-unreachable", "ESTABLISHED", "set1", "src", "tcp", "0&0xff=1:2", "packets", "both"]  # fmt: skip
FEW, TRIES = 3, 300  # spellings of each set of options, and how many are tried for them
PROTOS = {"": 0, "tcp": TCP, "udp": UDP, "icmp": ICMP, "sctp": 132}
WHOLE = {
    "--connbytes": "1:2",
    "--connbytes-dir": "both",
    "--connbytes-mode": "packets",
}  # of a match that needs them all
OWN = {"ah": 51, "esp": 50}  # matches that want a protocol of their own


def built(kind: type[Match] | type[Target], where: Where, words: Mapping[str, str]) -> Match | Target | None:
    """The part with these options, each with its word (as often as it takes one); None where that is refused."""
    given = {}
    for name, word in words.items():
        count = kind.options[name]
        given[name] = Given(name, False, tuple((word.split() * count)[:count]))
    try:
        return kind.build(given, where)
    except EmuError:
        return None


def arguments(kind: type[Match] | type[Target], where: Where) -> dict[str, Sequence[str]]:
    """The words to try for each option: those that it takes alone, or all where it needs another beside it."""
    found: dict[str, Sequence[str]] = {}
    for name, count in kind.options.items():
        words = WORDS if count else [""]
        found[name] = [word for word in words if built(kind, where, {name: word}) is not None] or words
    return found


def spellings(kind: type[Match] | type[Target], where: Where) -> Iterator[Match | Target]:
    """Some of what can be built from none, one or two of the options, with plain words for arguments."""
    options = list(kind.options)
    sets: list[tuple[str, ...]] = [(), *((one,) for one in options)]
    sets += [(one, other) for one in options for other in options if one < other]
    words = arguments(kind, where)
    seen = set()
    whole = built(kind, where, WHOLE) if WHOLE.keys() == kind.options.keys() else None
    if whole is not None:
        yield whole
    for names in sets:
        found = 0
        for chosen in islice(product(*(words[name] for name in names)), TRIES):
            part = built(kind, where, dict(zip(names, chosen, strict=True)))
            if part is not None and part.spec() not in seen:
                seen.add(part.spec())
                found += 1
                yield part
            if found == FEW:
                break


PLACES = {
    "filter": ("FORWARD", "OUTPUT", "INPUT"), "nat": ("PREROUTING", "POSTROUTING"), "mangle": ("PREROUTING",),
    "raw": ("PREROUTING",),
}  # fmt: skip
CHAINS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")


def places(kind: type[Target] | None = None) -> Iterator[tuple[str, str]]:
    """Tables and chains where a part may stand."""
    for table, chains in PLACES.items():
        for chain in chains:
            tables, allowed = (kind.tables, kind.chains) if kind is not None else ((), ())
            if (not tables or table in tables) and (not allowed or chain in allowed):
                yield table, chain


def frames(net: Any, chain: str) -> Iterator[Frame]:
    """Packets with the devices that this chain's hook shows."""
    for proto, frag in ((TCP, 0), (UDP, 0), (ICMP, 0), (132, 0), (47, 0), (TCP, 0x2000), (UDP, 0x00B9)):
        frame = packet(proto=proto, dport=8 << 8 if proto == ICMP else 80, frag=frag)
        frame.indev = net.devices["eth0"] if chain in ("PREROUTING", "INPUT", "FORWARD") else None
        frame.outdev = net.devices["eth1"] if chain in ("FORWARD", "OUTPUT", "POSTROUTING") else None
        yield frame


def node() -> Any:
    lab = Lab()
    router, host = lab.router("router"), lab.host("host")
    lab.cable(host, "10.0.0.1/24", router, "10.0.0.254/24")
    lab.cable(lab.host("other"), "10.0.1.1/24", router, "10.0.1.254/24")
    return router


def decided(ask: Callable[[], Any]) -> Any:
    """The answer, or `Undecided` where a part cannot know it or the packet is too broken (the walk ends such a packet)."""
    try:
        return ask()
    except (Undecided, HotDrop):
        return Undecided


@pytest.mark.parametrize("name", sorted(matches))
def test_a_match(name: str) -> None:
    """Frozen, hashable, spelled so that it reads back the same, and it has an answer for any packet at its hooks."""
    kind = matches[name]
    assert issubclass(kind, Match)
    net = node()
    specs = set()
    protos = {name: OWN[name]} if name in OWN else PROTOS
    for (table, chain), (proto, number) in product(places(), protos.items()):
        state = net.ipv4.hooks.states[CHAINS.index(chain)]
        for part in spellings(kind, Where(table, chain, number)):
            assert isinstance(part, Match)
            spec = part.spec()
            if spec not in specs:
                specs.add(spec)
                rule = " ".join(f"-A {chain} {f'-p {proto}' if proto else ''} -m {name} {spec}".split())
                text = save(parse_restore(f"*{table}\n{rule}\nCOMMIT\n"))
                assert spec in text
                assert save(parse_restore(text)) == text
                assert hash(part) == hash(part)
                with pytest.raises((AttributeError, TypeError)):
                    part.surprise = 1  # type: ignore[attr-defined]  # a frozen value takes nothing
            for frame in frames(net, chain):
                answer = decided(partial(part.matches, frame, state))
                assert answer in (True, False, Undecided)
                if kind.pure and answer is not Undecided:
                    assert all(test(frame, state) for test in part.tests()) is answer, "compiled and plain are one"
    assert specs, f"no spelling of {name} was found: add its words to WORDS"


@pytest.mark.parametrize("name", sorted(targets))
def test_a_target(name: str) -> None:
    """It may stand somewhere, is spelled so that it reads back the same, and answers with data."""
    kind = targets[name]
    assert issubclass(kind, Target)
    specs = set()
    for (table, chain), proto in product(places(kind), ("", "tcp")):
        net = node()
        state = net.ipv4.hooks.states[CHAINS.index(chain)]
        for part in spellings(kind, Where(table, chain, PROTOS[proto])):
            assert isinstance(part, Target)
            spec = part.spec()
            if spec not in specs:
                specs.add(spec)
                rule = f"-A {chain} {f'-p {proto} ' if proto else ''}{spec}"
                text = save(parse_restore(f"*{table}\n{rule}\nCOMMIT\n"))
                assert spec in text
                assert save(parse_restore(text)) == text
            if kind.act is Target.act:
                [(_tests, op, _argument, _rule)] = scan(Chain(chain, rules=(Rule(table, chain, 1, (), part),)))
                assert op != ACT, "it has no code, so the walk must know it by its type"
                continue
            for frame in frames(net, chain):
                verdict = decided(partial(part.act, frame, state))
                known = (None, CONTINUE, STOLEN, STOP, Undecided)
                assert verdict in known or isinstance(verdict, Drop | Reject)
    assert specs, f"no spelling of {name} was found: add its words to WORDS"


# -- CNI plugins ------------------------------------------------------------------------------------------------------

CONFIG = {
    "cniVersion": "1.0.0",
    "name": "net",
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.1.0/24"}]]},
}


def attachment() -> Attachment:
    clock = Clock(1)
    return Attachment("c1", boot.namespace(clock, "pod"), "eth0", Host(boot.namespace(clock, "node")), "")


FAILING_DEL = ("host-device", "ipvlan", "vlan", "vrf")  # they want their keys, and then the interface


@pytest.mark.parametrize("name", sorted(plugins))
def test_a_cni_plugin(name: str) -> None:
    """ADD gives a result that every version can express (or refuses with a CNI error), CHECK holds after it, DEL is
    idempotent (or, as the plugins that are copied are, an error) and leaves neither devices nor rules for the container
    behind."""
    plugin = plugins[name]()
    config = {**CONFIG, "type": name}
    there = attachment()
    pod = there.netns
    assert pod is not None
    devices = sorted(pod.devices)
    try:
        result = plugin.add(config, there)
    except CniError as error:
        failure = error.to_json()
    else:
        failure = {"code": 1, "msg": "none"}
        assert isinstance(result, Result)
        for version in ("0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"):
            if version != "0.2.0" or result.ips:
                assert result.to_json(version)["cniVersion"] == version
        again = result.to_json("1.0.0")
        assert Result.from_json(again).to_json("1.0.0") == again
        plugin.check({**config, "prevResult": again}, there)
        plugin.delete({**config, "prevResult": again}, there)
    assert failure["code"]
    assert failure["msg"]
    for _ in range(2):
        with pytest.raises(CniError) if name in FAILING_DEL else nullcontext():
            plugin.delete(config, there)
    assert sorted(pod.devices) == devices
    assert not there.host.netns.conntrack or len(there.host.netns.conntrack) == 0


@pytest.mark.parametrize("name", sorted(plugins))
@pytest.mark.parametrize(
    "config", [{}, {"ipam": 5}, {"ipam": {"type": "host-local", "ranges": "x"}}, {"type": 1}], ids=str
)
def test_a_cni_plugin_refuses_what_it_cannot_read(name: str, config: dict[str, Any]) -> None:
    """Never anything but a CNI error or bad input."""
    with suppress(EmuError):
        plugins[name]().add({"cniVersion": "1.0.0", "name": "net", "type": name, **config}, attachment())


# -- apps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(apps))
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_an_app(name: str, protocol: str) -> None:
    """It takes its port and gives it back, refuses a taken one by errno, and bears whatever a client does."""
    lab = Lab()
    server, client = lab.host("server"), lab.host("client")
    lab.cable(server, "10.0.0.1/24", client, "10.0.0.2/24")
    try:
        running = apps[name](server, 8080, protocol, "app")
    except InputError:
        with pytest.raises(InputError, match=f"does not speak {protocol}"):
            apps[name](server, 8080, protocol, "app")
        return
    with pytest.raises(SocketError) as taken:
        apps[name](server, 8080, protocol, "app")
    assert taken.value.name == "EADDRINUSE"
    for data in (b"GET / HTTP/1.0\r\n\r\n", b"\0" * 3000, b"x"):
        converse(lab, client, protocol, data)
    running.stop()
    running.stop()
    apps[name](server, 8080, protocol, "app").stop()
    lab.run(200)


def converse(lab: Lab, client: Any, protocol: str, data: bytes) -> None:
    sock = client.sockets.tcp(1) if protocol == "TCP" else client.sockets.udp(1)
    sock.connect(("10.0.0.1", 8080))
    lab.run(0.1)
    sock.send(data)
    lab.run(0.1)
    with suppress(SocketError):  # silence, or a reset, is an app's right
        sock.recv()
    sock.close()
    lab.run(1)


# -- views ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(views))
def test_a_view(name: str) -> None:
    """Of any namespace, an empty one too: plain data, and text without an end of line; looking changes nothing."""
    import json

    network = Topology(2, (Spot(0, True), Spot(1, False)), frozenset((0,))).build()
    ping = network.hosts[0].sockets.ping(1)
    ping.send(network.topology.address(1))
    listener = network.routers[0].sockets.tcp()
    listener.bind(("0.0.0.0", 22))
    listener.listen()
    network.lab.run(0.1)
    assert 0 < len(sentence(views[name])) <= 100, "what `--help` shows"
    for net in (*network.lab.namespaces.values(), boot.namespace(Clock(), "empty")):
        report = views[name](net)
        assert isinstance(report, Report)
        assert not report.text.endswith("\n")
        assert json.loads(json.dumps(report.data)) is not None
        assert views[name](net) == report
    assert views[name](network.routers[0]).text, "a node that has worked has something to show"


def test_the_shelves_are_full() -> None:
    counts: dict[str, int] = {kind: len(shelf) for kind, (shelf, _) in SHELVES.items()}
    least = {"match": 15, "target": 12, "plugin": 3, "app": 3, "view": 6, "view of a run": 5, "action": 11}
    assert all(counts[kind] >= number for kind, number in least.items()), counts
    check: Callable[[str], bool] = {kind for kind, _ in PARTS}.__contains__
    assert all(map(check, SHELVES))
