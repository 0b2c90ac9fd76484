"""The page's document: its types are the format, of which `schema` is the JSON Schema. Readers refuse a larger `format`.

Sentences, facts, lines and trail entries are kept once a run, in `words`, and named by their place there. The keys of a frame,
of which there are thousands, have one or two letters. Must not know where the facts come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from emu.quiz import Question

SNAP = 256  # bytes of a frame that the document keeps

Role = Literal["pod", "node", "underlay", "outside", "host", "router"]
Way = Literal["in", "out", "in-other", "drop"]
Table = dict[str, list[str]]  # by the table's name (neigh, fdb, ct, routes), its lines
Delta = dict[str, tuple[list[str], list[str]]]  # by the table's name, lines that are gone and lines that are new


class Namespace(msgspec.Struct, frozen=True, omit_defaults=True):
    """A network namespace. `node` is the node that a pod runs on."""

    name: str
    role: Role
    node: str = ""


class Port(msgspec.Struct, frozen=True):
    """An interface; `n` is its place in the list. `peer` is the other end of its cable, `master` the bridge it is a port of."""

    n: int
    name: str
    ns: str
    dev: str
    kind: str
    mac: str
    addrs: list[str]
    master: str
    peer: int | None


class Step(msgspec.Struct, frozen=True):
    """A step of the scenario, counted from 1: the numbers of its flows, or what it changed, in words."""

    n: int
    name: str
    action: str
    change: str
    flows: list[int]


class Frame(msgspec.Struct, omit_defaults=True):
    """One frame at one interface. `l`, `s`, `x`, `c`, `tr` are places in `words`."""

    f: int  # flow
    h: int  # hop
    t: int  # virtual time, ns
    i: int  # interface
    w: Way
    p: int  # packet: all sights of one packet have one number, counted from 1
    l: int  # the frame in one line
    s: int  # the sentence
    a: int = 0  # the packet that this one is for: that waits for this ARP request, or that this one answers
    b: str = ""  # base64: the first sight of a packet, or one of another length
    d: list[tuple[int, str]] = []  # else patches of the sight before: offset, hex; absent: the same bytes
    no: int = 0  # the frame's number in the flow's file, where that is not the hop
    z: int = 0  # the true length, where it is over SNAP
    x: list[int] = []  # facts
    c: list[int] = []  # lines of the story
    tr: list[int] = []  # trail entries as JSON
    st: dict[str, Delta] = {}  # by namespace, what its tables lost and got since the frame before


class Chain(msgspec.Struct, frozen=True):
    """A chain of iptables: the policy of a base chain, and its rules as iptables-save writes them."""

    policy: str
    rules: list[str]


class Rules(msgspec.Struct, frozen=True):
    """The chains ("nat KUBE-SERVICES") that are in force from the frame at this place of `frames` on."""

    since: int = msgspec.field(name="from")
    chains: Mapping[str, Chain]


class Chapter(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step of a flow's story, at the hop where it is stated first: its number (`label`), and the line as comments have it."""

    flow: int
    hop: int
    label: str
    text: str
    back: bool = False


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place of the map and the ladder, left to right: interface `n`, or, with -1, one port for all interfaces of `fold`."""

    n: int
    ns: str
    dev: str
    kind: str
    master: str = ""
    title: str = ""
    fold: list[int] = []


class Box(msgspec.Struct, frozen=True, omit_defaults=True):
    """A machine, or a pod in one: from column `first` to column `last`. `addr` is its address, `inside` the box around a pod."""

    ns: str
    role: Role
    first: int
    last: int
    addr: str = ""
    inside: str = ""


class Bridge(msgspec.Struct, frozen=True):
    """A bridge: the columns of its ports, its own included."""

    ns: str
    dev: str
    ports: list[int]


class Lane(msgspec.Struct, frozen=True):
    """The kernel of a namespace, under these columns: its stages in the order of a packet's way. `ports` are the columns where
    packets come in to it, which are no ports of a bridge."""

    ns: str
    first: int
    last: int
    stages: list[str]
    ports: list[int]


class Layout(msgspec.Struct, frozen=True):
    """The map of one flow in columns: it is the same at each step. `cables` join columns that are peers."""

    flow: int
    columns: list[Column]
    boxes: list[Box]
    cables: list[tuple[int, int]]
    bridges: list[Bridge]
    lanes: list[Lane]


class Run(msgspec.Struct, kw_only=True):
    """What one page, or one part of it, shows. `names` gives addresses their names, `flows` is as in the JSON of a run; the outcome of
    frames of which none is known is "". `notes` are what is not modelled or missing, a sentence each. `seed` is None where none
    is known."""

    name: str
    description: str = ""
    exit: int = 0
    failures: list[str] = []
    notes: list[str] = []
    seed: int | None = None
    names: dict[str, str]
    namespaces: list[Namespace]
    interfaces: list[Port]
    steps: list[Step]
    flows: list[dict[str, Any]]
    layouts: list[Layout]
    chapters: list[Chapter] = []
    frames: list[Frame]
    words: list[str]
    state: dict[str, Table]
    rules: dict[str, list[Rules]]
    questions: list[Question] = []


class Comparison(msgspec.Struct, frozen=True):
    """Two flows side by side, of the runs at the places `left` and `right`. A pair is a hop of each, counted from 0 (-1: none), and
    whether both are the same."""

    left: int
    left_flow: int = msgspec.field(name="leftFlow")
    right: int
    right_flow: int = msgspec.field(name="rightFlow")
    pairs: list[tuple[int, int, bool]]


class Link(msgspec.Struct, frozen=True):
    """A page beside this one, in the same folder: the index, or the story before or after it."""

    rel: Literal["index", "prev", "next"]
    href: str
    title: str


class Document(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The whole of a page's data. `emu` is the version that wrote it; `opens` is what to see first where the URL's hash names nothing, as
    it would stand there: `flow=1&step=14`."""

    format: Literal[1]
    emu: str
    runs: list[Run]
    comparisons: list[Comparison] = []
    links: list[Link] = []
    opens: str = ""


def schema() -> dict[str, Any]:
    """The JSON Schema of a document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Document)}


def encode(document: Document) -> bytes:
    """As JSON; the same document gives the same bytes."""
    return msgspec.json.encode(document)
