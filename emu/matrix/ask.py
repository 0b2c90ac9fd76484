"""Asks one column: a flow for each kind of source and each endpoint, and for each row how many pairs of a pod and an endpoint each flow stands for.

The first source meets every endpoint. Sources that nothing distinguishes from one that was asked (`kinds.py`) share its flow; where two endpoints
that seem alike answer differently after all, each endpoint is asked by itself. Must not know how cells are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from emu.clock import SECOND
from emu.kernel.net.netns import Netns
from emu.kube.flow.flow import Flow
from emu.kube.flow.outcome import address as host_port
from emu.matrix.acquaint import Acquaintance
from emu.matrix.choice import chosen, forget_clients
from emu.matrix.ends import EXTERNAL, OUTER, Choice, Column, Row, Whole, columns_of, rows_of
from emu.matrix.kinds import Kind, Kinds
from emu.matrix.roads import nat_of, road_of, roles_of
from emu.why.ask import send
from emu.why.case import Backend, Case, Line, backends_of
from emu.why.causes import cause
from emu.wire.addr import ip4_text

BEFORE_NS, BETWEEN_NS, BETWEEN_UDP_NS = 10 * SECOND, 2 * SECOND, 190 * SECOND
"""What passes before a column and between two flows, so that the limits of ICMP errors have room again, and no connection of UDP is left over."""
LETTERS = {
    "delivered": ".", "dropped": "x", "rejected": "r", "refused": "R", "timeout": "t", "error": "E", "undecided": "?",
}  # fmt: skip
SOME, NOT_ASKED, HEADLESS = "~", "-", "headless"


class Answer(NamedTuple):
    """What became of one flow. `source` sent it, `endpoint` is what the Service's address became, or the address itself; `pod` has it. `nat` and `path` are in
    the words of `roads.py`; the path is there where frames are captured."""

    source: str
    endpoint: str
    pod: str
    outcome: str
    detail: str
    nat: tuple[str, ...]
    cause: str = ""
    object: str = ""
    sentence: str = ""
    remedy: str = ""
    path: tuple[str, ...] = ()

    @property
    def letter(self) -> str:
        return LETTERS[self.outcome]


Part = tuple[int, int]
"""An answer of the column, by its number, and for how many pairs of a source and an endpoint it stands."""


class Answers(NamedTuple):
    """A column's flows, and for each row its parts; a row that is not asked has none. `endpoints` are those that the rules offer."""

    answers: list[Answer]
    cells: list[tuple[Part, ...]]
    endpoints: list[str]


class Group(NamedTuple):
    """Members of a row of one kind, by the node that they send from ("": none)."""

    kind: Kind
    policed: Kind
    members: tuple[str, ...]
    nodes: dict[str, list[str]]


class Question(NamedTuple):
    """What is asked of a whole cluster; the same in every process."""

    choice: Choice = Choice()
    shared: bool = True
    acquainted: bool = True


class Asker:
    """A cluster with its rows and columns, ready to be asked. Raises InputError for globs that match nothing."""

    def __init__(self, places: Whole, question: Question, line: Line = lambda key, path: "") -> None:
        self.places, self.clock, self.question, self.line = places, places.clock, question, line
        self.rows = rows_of(places, question.choice)
        self.columns = columns_of(places, question.choice)
        self.kinds = Kinds(places, shared=question.shared)
        self.public = {
            each.name: each.external_ips[0]
            for each in places.layout.nodes
            if each.external_ips and places.underlay.translates
        }
        self.known = Acquaintance(places) if question.acquainted else None
        self.groups = [[*self._groups(row)] for row in self.rows]

    def _groups(self, row: Row) -> Iterator[Group]:
        found: dict[tuple[Kind, Kind], list[str]] = {}
        for each in row.members:
            found.setdefault((self.kinds.sender(each), self.kinds.policed(each)), []).append(each)
        for (kind, policed), members in found.items():
            nodes: dict[str, list[str]] = {}
            for each in members:
                nodes.setdefault(self.node_of(each), []).append(each)
            yield Group(kind, policed, tuple(members), nodes)

    def node_of(self, display: str) -> str:
        sandbox = self.places.pods.get(display)
        return sandbox.node.name if sandbox is not None else display

    def ask(self, number: int) -> Answers:
        """The answers of one column."""
        self.clock.run_until(self.clock.now + BEFORE_NS)
        return _Asking(self, self.columns[number]).answers()


class _Endpoint(NamedTuple):
    """An endpoint that the rules offer; `name` is the pod's display name, `node` where it runs."""

    backend: Backend
    kind: Kind
    node: str
    name: str

    @property
    def text(self) -> str:
        return f"{self.backend.address}:{self.backend.port}"

    @property
    def whole(self) -> str:
        """The address with whose it is, as `10.244.1.7:8080 shop/web-0 on node-1`."""
        return " ".join(each for each in (self.text, self.name, f"on {self.node}" if self.node else "") if each)


class _Asking:
    """One column while it is asked. `ranks` has the place of each endpoint in the rules, once a source has met them all."""

    def __init__(self, asker: Asker, column: Column) -> None:
        self.asker, self.column, self.places = asker, column, asker.places
        self.service, self.port = column.service_port(asker.places.store)
        self.endpoints = [*self._offered()]
        self.nodes = {each.node for each in self.endpoints}
        self.names = {each.name for each in self.endpoints}
        self.asked: list[Answer] = []
        self.ranks: dict[str, int] = {}
        self.found: dict[Kind, list[int]] = {}  # answers by what distinguishes their flows
        self.apart = not asker.question.shared  # each endpoint is a kind of its own

    def _offered(self) -> Iterator[_Endpoint]:
        """Ready endpoints; where there is none, those that serve and terminate (kube-proxy's CategorizeEndpoints)."""
        listed = backends_of(self.places.store, self.service, self.port)
        publishes = self.column.by == HEADLESS and self.service.spec.publish_not_ready_addresses
        ready = [each for each in listed if each.ready or publishes]
        for each in ready or [each for each in listed if each.serving and each.terminating]:
            name = f"{each.pod.namespace}/{each.pod.name}" if each.pod is not None else ""
            node = self.asker.node_of(name) if name in self.places.pods else each.node
            yield _Endpoint(each, self.asker.kinds.backend(each), node, name)

    def answers(self) -> Answers:
        cells = [
            _summed(self._cell(row, groups)) for row, groups in zip(self.asker.rows, self.asker.groups, strict=True)
        ]
        return Answers(self.asked, cells, [each.whole for each in self.endpoints])

    def _cell(self, row: Row, groups: Sequence[Group]) -> Iterable[Part]:
        outer = self.column.by in OUTER
        if self.column.protocol not in ("TCP", "UDP") or not (
            outer if row.name == EXTERNAL else not outer or self.asker.question.choice.outer
        ):
            return ()
        if outer:
            return self._through_fronts(groups)
        if self.endpoints and self.column.by == HEADLESS:
            return self._by_pairs(groups, self._direct)
        if self.column.by == HEADLESS:
            return ()
        if self.endpoints and not self._by_place:
            own = [
                each for each in groups if any(map(self.asker.kinds.dumped, each.nodes))
            ]  # rules of their nodes' own
            usual = [each for each in groups if each not in own]
            if usual and not self.ranks:
                self._lead(usual[0])
            return chain(self._by_pairs(usual, self._directed), self._by_node(own))
        return self._by_node(groups)

    # -- a flow for each kind of pair ---------------------------------------------------------------

    def _by_pairs(self, groups: Sequence[Group], ask: Callable[[str, _Endpoint], int]) -> Iterator[Part]:
        """Each source and each endpoint are a pair: the rules offer every endpoint on every node."""
        for group in groups:
            for key, member, endpoint, count in self._pairs(group):
                if key not in self.found:
                    self.found[key] = [ask(member, endpoint)]
                yield self.found[key][0], count

    def _pairs(self, group: Group) -> Iterator[tuple[Kind, str, _Endpoint, int]]:
        """For each kind of pair what distinguishes it, the first such pair, and how many there are."""
        kinds: dict[Kind, list[_Endpoint]] = {}
        for each in self.endpoints:
            kind = each.text if self.apart else each.kind
            kinds.setdefault((kind, self.asker.kinds.bound(group.members[0], each.backend)), []).append(each)
        for kind, endpoints in kinds.items():
            others = len(group.members) * len(endpoints)
            near: dict[str, list[tuple[str, _Endpoint]]] = {}
            for each in endpoints if not self.nodes.isdisjoint(group.nodes) else ():
                for member in group.nodes.get(each.node, ()):
                    near.setdefault("itself" if member == each.name else "same node", []).append((member, each))
                    others -= 1
            for how, pairs in near.items():
                yield (group.kind, kind, how), *pairs[0], len(pairs)
            if others:
                yield (group.kind, kind, "other node"), *self._apart(group, endpoints), others

    @staticmethod
    def _apart(group: Group, endpoints: Sequence[_Endpoint]) -> tuple[str, _Endpoint]:
        """The first source and endpoint on two nodes."""
        return next(
            (members[0], each) for each in endpoints for node, members in group.nodes.items() if node != each.node
        )

    def _lead(self, group: Group) -> None:
        """The first source meets every endpoint. Endpoints that seem alike and answer differently are different kinds from then on."""
        leader = group.members[0]
        numbers = self._enumerated(leader, self.column.address, [self._net(leader)])
        met = {self.asked[number].endpoint: number for number in numbers}
        self.ranks = {self.asked[number].endpoint: rank for rank, number in enumerate(numbers, 1)}
        alone = Group(group.kind, group.policed, (leader,), {self.asker.node_of(leader): [leader]})
        seen: dict[Kind, set[tuple[str, ...]]] = {}
        for each in self.endpoints:
            if each.text in met:
                own = self.asked[met[each.text]]
                kind = each.kind, self.asker.kinds.bound(leader, each.backend), self._how(leader, each)
                seen.setdefault(kind, set()).add((own.outcome, own.detail, own.cause))
        self.apart = self.apart or any(len(each) > 1 for each in seen.values())
        for key, _, endpoint, _ in self._pairs(alone):
            if endpoint.text in met:
                self.found[key] = [met[endpoint.text]]
            elif len(met) == 1 and "" in met:  # the packet did not come as far as to be translated
                self.found[key] = [met[""]]

    def _how(self, member: str, endpoint: _Endpoint) -> str:
        if member == endpoint.name:
            return "itself"
        return "same node" if self.asker.node_of(member) == endpoint.node else "other node"

    def _directed(self, member: str, endpoint: _Endpoint) -> int:
        """By the ClusterIP, to this endpoint."""
        ref, nets = self.column.address, [self._net(member)]
        number, _ = self._send(member, ref, nets, self.ranks.get(endpoint.text, 1))
        if self.asked[number].endpoint in ("", endpoint.text):
            return number
        several = self._enumerated(member, ref, nets)  # this node's rules have another order
        return next((each for each in several if self.asked[each].endpoint == endpoint.text), number)

    def _direct(self, member: str, endpoint: _Endpoint) -> int:
        """A headless Service's client has the endpoint's address from DNS, and sends to the Service's port."""
        return self._send(member, endpoint.backend.address, [], 1)[0]

    # -- whatever the rules offer ----------------------------------------------------------------------

    @property
    def _by_place(self) -> bool:
        """Whether the rules of a node offer endpoints by where they are."""
        spec = self.service.spec
        hinted = any(each.hints is not None for found in self.endpoints for each in found.backend.slice.endpoints)
        return spec.internal_traffic_policy == "Local" or bool(spec.traffic_distribution) or hinted

    def _by_node(self, groups: Sequence[Group]) -> Iterator[Part]:
        """One source of each kind, for each set of endpoints that its node has, meets all that the rules offer there."""
        for group in groups:
            bound = tuple(
                dict.fromkeys(self.asker.kinds.bound(group.members[0], each.backend) for each in self.endpoints)
            )
            bound = bound or (self.asker.kinds.bound(group.members[0], None),)
            for node, members in group.nodes.items():
                for member, count in self._split(members):
                    own = member in self.names and member
                    key = group.kind, bound, self._local(node), self.asker.kinds.zone(node), own
                    if key not in self.found:
                        self.found[key] = self._enumerated(member, self.column.address, [self._net(member)])
                    for each in self.found[key]:
                        yield each, count

    def _split(self, members: Sequence[str]) -> Iterator[tuple[str, int]]:
        """Members of one node that are endpoints by themselves, the others together."""
        own = [each for each in members if each in self.names]
        rest = [each for each in members if each not in own]
        yield from ((each, 1) for each in own)
        if rest and self.asker.question.shared:
            yield rest[0], len(rest)
        else:
            yield from ((each, 1) for each in rest)

    def _local(self, node: str) -> Kind:
        """The endpoints of a node; all nodes without any are alike."""
        if not self.asker.question.shared:
            return node
        return tuple(each.text for each in self.endpoints if each.node == node) if node in self.nodes else ()

    def _through_fronts(self, groups: Sequence[Group]) -> Iterator[Part]:
        """By an outer address: of a nodePort one node of each kind, with endpoints and without."""
        everywhere = [each.net for each in self.places.nodes.values()]
        for group in groups:
            for node, members in group.nodes.items():
                bound = tuple(
                    dict.fromkeys(self.asker.kinds.bound(members[0], each.backend) for each in self.endpoints)
                )
                for member, count in self._split(members):
                    own = member in self.names and member
                    for front, ref, several in self._fronts(node):
                        key = group.kind, bound, self._local(node), front, own
                        if key not in self.found:
                            self.found[key] = self._enumerated(member, ref, everywhere)
                        for each in self.found[key]:
                            yield each, count * several

    def _fronts(self, source: str) -> Iterator[tuple[Kind, str, int]]:
        """What a client of the node `source` may send to: each kind of front with an address of it, and how many there are."""
        if self.column.by != "nodePort":
            yield "", self.column.address, 1
            return
        kinds: dict[Kind, list[str]] = {}
        for name in self.places.nodes:
            local: Kind = tuple(each.kind for each in self.endpoints if each.node == name)
            if not self.asker.question.shared:
                local = name
            kinds.setdefault((self.asker.kinds.node(name), local, name == source), []).append(name)
        for kind, names in kinds.items():
            own = ip4_text(self.places.nodes[names[0]].ip)
            yield kind, own if source in self.places.nodes else self.asker.public.get(names[0], own), len(names)

    # -- flows -----------------------------------------------------------------------------------------

    def _net(self, member: str) -> Netns:
        """Where the packets of a source meet the rules of Services."""
        sandbox = self.places.pods.get(member)
        return sandbox.node.net if sandbox is not None else self.places.namespaces[member]

    def _enumerated(self, member: str, ref: str, nets: Sequence[Netns]) -> list[int]:
        """The answers of every endpoint that the rules offer, from the last to the first."""
        first, most = self._send(member, ref, nets, 1)
        return [first, *(self._send(member, ref, nets, rank)[0] for rank in range(2, most + 1))]

    def _send(self, member: str, address: str, nets: Sequence[Netns], rank: int) -> tuple[int, int]:
        """One flow: the number of its answer, and how many endpoints the rules had."""
        asker = self.asker
        asker.clock.run_until(asker.clock.now + (BETWEEN_UDP_NS if self.column.protocol == "UDP" else BETWEEN_NS))
        if self.service.spec.session_affinity == "ClientIP":
            forget_clients(nets)
        if asker.known is not None:
            for node in (asker.node_of(member), *self.nodes):
                asker.known.of(asker.node_of(member), node)
            for pod in (member, *self.names):
                asker.known.of_pod(pod)
        kind = self.column.protocol.lower()
        mark = self.places.capture.mark() if self.places.capture is not None else 0
        with chosen(nets, rank) as script:
            flow = send(self.places, member, f"{address}:{self.column.port}", kind)
        self.asked.append(self._answer(member, flow, mark))
        return len(self.asked) - 1, script.most

    def _answer(self, member: str, flow: Flow, mark: int) -> Answer:
        asker, outcome, capture = self.asker, flow.outcome, self.places.capture
        after = [each.after for each in flow.translations if each.kind == "DNAT"]
        end = host_port(after[-1]) if after else str(flow.target) if self.column.by == HEADLESS else ""
        met = next((each for each in self.endpoints if each.text == end), None)
        pod = met.name if met is not None else ""
        asked = flow.target.addr, ip4_text(flow.target.addr)
        front = next(
            (n.name for n in self.places.nodes.values() if n.ip in asked or asker.public.get(n.name) in asked), ""
        )
        roles = roles_of(self.places, member, pod, met.node if met is not None else "", front)
        because = None
        if outcome.word != "delivered":
            by = {"externalIP": "externalIPs", HEADLESS: "clusterIP"}.get(self.column.by, self.column.by)
            case = Case(self.places, self.column.name, [flow], asker.line, self.service, self.port, by)
            because = cause(case)
        found = Answer(
            member, end, pod, outcome.word, outcome.detail, nat_of(self.places, flow, end, roles),
            path=road_of(capture, flow, mark, roles) if capture is not None else (),
        )  # fmt: skip
        if because is None:
            return found
        return found._replace(
            cause=because.cause, object=because.object, sentence=because.sentence, remedy=because.remedy
        )


def _summed(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Each answer once, with all its pairs."""
    found: dict[int, int] = {}
    for number, count in parts:
        found[number] = found.get(number, 0) + count
    return tuple(sorted(found.items()))
