"""The page's document, made of scenes: interfaces, flows, frames, words, tables and rules. Must not know HTML."""

from __future__ import annotations

from collections.abc import Sequence

from emu.quiz import Question, questions
from emu.report.html.chapters import chapters
from emu.report.html.compare import compare
from emu.report.html.layout import Planner, Sight
from emu.report.html.model import Document, Link, Port, Rules, Run
from emu.report.html.scene import Scene, Sighted
from emu.report.html.sights import Sights, Words
from emu.report.html.tables import Tables, chains
from emu.version import VERSION
from emu.wire.addr import ip4_text, mac_text
from emu.wire.captured import is_ipv4


def document(
    scenes: Sequence[Scene], *, compared: bool = False, links: Sequence[Link] = (), opens: str = ""
) -> Document:
    """The document of one page, a part a scene. `compared`: the second one beside the first. `links` are the pages beside it, `opens` is
    what to see first, as `flow=1&step=14`."""
    runs = [_run(scene) for scene in scenes]
    beside = compare(scenes[0], scenes[1]) if compared else []
    return Document(format=1, emu=VERSION, runs=runs, comparisons=beside, links=list(links), opens=opens)


def _run(scene: Scene) -> Run:
    words = Words()
    frames = Sights(words).frames(scene.frames, scene.stories)
    shown = ports(scene)
    planner = Planner(shown, scene.roles)
    sights: dict[int, list[Sight]] = {}
    for each in scene.frames:
        flooded = each.direction == "in" and not is_ipv4(each.data)
        sights.setdefault(each.flow, []).append(Sight(each.place.number, flooded))
    tables = Tables(scene.states, scene.frames) if scene.states is not None else None
    if tables is not None:
        for frame, delta in zip(frames, tables.deltas(), strict=True):
            frame.st = delta
    if scene.filed:
        for frame, own in zip(frames, scene.frames, strict=True):
            frame.no = own.number if own.number != own.hop else 0
    return Run(
        name=scene.name,
        description=scene.description,
        exit=scene.exit,
        failures=scene.failures,
        notes=scene.notes,
        names=dict(scene.names),
        seed=scene.seed,
        namespaces=scene.roles,
        interfaces=shown,
        steps=scene.steps,
        flows=scene.flows,
        layouts=[planner.layout(flow, sights.get(flow["flow"], [])) for flow in scene.flows],
        chapters=chapters(scene.frames, scene.stories),
        frames=frames,
        words=words.all,
        state=tables.first() if tables is not None else {},
        rules=tables.rules() if tables is not None else _rules(scene),
        questions=asked(scene),
    )


def asked(scene: Scene, seed: int = 0) -> list[Question]:
    """The questions about a scene's flows."""
    interfaces = {each.name for each in scene.interfaces}
    frames: dict[int, list[Sighted]] = {each["flow"]: [] for each in scene.flows}
    for each in scene.frames:
        frames[each.flow].append(each)
    return [q for mine in frames.values() for q in questions(mine, scene.names, interfaces, seed)]


def ports(scene: Scene) -> list[Port]:
    """The interfaces of a scene, each at the place of its number."""
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
            peer=each.peer,
        )
        for each in scene.interfaces
    ]


def _rules(scene: Scene) -> dict[str, list[Rules]]:
    """The rules as they are now, where no others were recorded."""
    return {
        name: [Rules(0, found)] for name, net in scene.namespaces.items() if (found := chains(net.ipv4.tables.ruleset))
    }
