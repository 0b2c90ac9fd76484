"""The page's document, made of scenes: interfaces, flows, frames, words, tables and rules. Must not know HTML."""

from __future__ import annotations

from collections.abc import Iterable

from emu.kernel.net.netns import Netns
from emu.kernel.netfilter.ruleset import BUILT_IN
from emu.report.html.layout import Planner, Sight
from emu.report.html.model import Chain, Document, Port, Rules, Run
from emu.report.html.scene import Scene
from emu.report.html.sights import Sights, Words
from emu.version import VERSION
from emu.wire.addr import ip4_text, mac_text
from emu.wire.captured import is_ipv4
from emu.wire.frame import AF_INET


def document(scenes: Iterable[Scene]) -> Document:
    """The document of one page, a part a scene."""
    return Document(emu=VERSION, runs=[_run(scene) for scene in scenes])


def _run(scene: Scene) -> Run:
    capture = scene.capture
    capture.mark()  # reads devices and names again
    words = Words()
    captured = scene.frames()
    frames = Sights(words).frames(captured, capture.stories)
    shown = ports(scene)
    planner = Planner(shown, scene.roles)
    sights: dict[int, list[Sight]] = {}
    for each in captured:
        heard = each.direction == "in" and not is_ipv4(each.data)
        sights.setdefault(each.flow, []).append(Sight(each.place.number, heard))
    rules = {name: [Rules(0, chains)] for name, net in scene.namespaces.items() if (chains := _chains(net))}
    return Run(
        name=scene.name,
        description=scene.description,
        exit=scene.exit,
        failures=scene.failures,
        notes=scene.notes,
        names={
            ip4_text(addr): names[0] for (family, addr), names in capture.names.items() if names and family == AF_INET
        },
        namespaces=scene.roles,
        interfaces=shown,
        steps=scene.steps,
        flows=scene.flows,
        layouts=[planner.layout(flow, sights.get(flow["flow"], [])) for flow in scene.flows],
        frames=frames,
        words=words.all,
        state={},
        rules=rules,
    )


def ports(scene: Scene) -> list[Port]:
    """The interfaces of a scene, each at the place of its number."""
    interfaces = scene.capture.interfaces
    numbers = {id(each.device): each.number for each in interfaces if each.device is not None}
    return [
        Port(
            n=each.number,
            name=each.name,
            ns=each.owner,
            dev=each.device_name,
            kind=each.kind,
            mac=mac_text(each.mac) if each.mac else "",
            addrs=[f"{ip4_text(addr)}/{netmask.bit_count()}" for addr, netmask in each.addresses],
            master=each.bridge,
            peer=numbers.get(id(getattr(each.device, "peer", None))),
        )
        for each in interfaces
    ]


def _chains(net: Netns) -> dict[str, Chain]:
    """The chains of a namespace that have rules, and the base chains beside them; none where no chain has a rule."""
    tables = net.ipv4.tables.ruleset.tables
    found = {
        f"{table} {chain.name}": Chain(chain.policy, [rule.spec for rule in chain.rules])
        for table in BUILT_IN
        for chain in tables.get(table, {}).values()
        if chain.rules or chain.policy
    }
    return found if any(chain.rules for chain in found.values()) else {}
