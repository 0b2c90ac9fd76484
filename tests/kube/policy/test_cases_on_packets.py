"""Every case of the shared folder by packets: each dataplane does what the matrix states, but for what is listed here.

Skipped where the folder is absent; what is listed is how a dataplane's own rules read, and not how emu walks them.
"""

from __future__ import annotations

import re

import pytest

from policy_cases import Case, World, cases, cells
from policy_packets import Caller, buildable, change, cluster_of

pytestmark = pytest.mark.skipif(not cases(), reason="no shared cases of network policies")

# by dataplane and the beginning of a case's name: the cells that come out the other way, and why
OWN = {
    "kube-router": {
        "a-name-under-the-wrong-protocol": "of a port name that no pod has, the rule's pods are allowed on every port",
        "out-by-name-http": "a port name in an egress rule without `to` is its number at any address",
        "target-every": "a policy of both directions has one chain: an ingress rule marks what leaves its pods, too",
        "two-peers-out-8-9": "a port name beside an ipBlock in an egress rule is left out",
    },
    "calico": {},
}
CELLS = {
    "a-name-under-the-wrong-protocol": {"hall/b -> hall/a 8956/SCTP", "hall/b -> hall/a 8956/UDP", "hall/b -> hall/a 3535/UDP"},
    "out-by-name-http": {"left/a -> out/visitor 80/TCP"},
    "target-every": {"mill/two -> mill/one 4080/TCP", "mill/two -> mill/tri 4080/TCP", "mill/tri -> mill/one 4080/TCP", "mill/tri -> mill/two 4080/TCP"},
    "two-peers-out-8-9": {"mill/one -> mill/two 4080/TCP", "mill/one -> dock/one 4080/TCP"},
}  # fmt: skip
NETWORK = {"kube-router": "bridge", "calico": "calico"}
_POD_BLOCK = re.compile(r"(cidr|except|networks)[^}]*10\.(244|0\.0\.0/8)")


def left_out(dataplane: str, case: Case) -> bool:
    """Whether a case is not for a dataplane: it knows no such policies, or has other addresses than the case's blocks mean."""
    text = repr(case.value)
    if dataplane == "kube-router":
        return "ClusterNetworkPolicy" in text
    return bool(_POD_BLOCK.search(text)) or "'nodes': {" in text or "domainNames" in text


def cases_of(dataplane: str) -> list[Case]:
    """The cases whose addresses a cluster can have and whose policies the dataplane knows."""
    return [each for each in cases() if each.steps and not buildable(each) and not left_out(dataplane, each)]


def test_most_cases_are_judged() -> None:
    assert len(cases_of("kube-router")) >= 100 and len(cases_of("calico")) >= 130


@pytest.mark.parametrize(
    ("dataplane", "case"),
    [pytest.param(each, case, id=f"{each}-{case.name}") for each in NETWORK for case in cases_of(each)],
)
def test_the_packets_of_every_cell(dataplane: str, case: Case) -> None:
    world = World(case)
    cluster = cluster_of(case, world, NETWORK[dataplane], dataplane)
    wrong: set[str] = set()
    for step in case.steps:
        for each in step.get("do", ()):
            change(cluster, *world.act(each))
        caller = Caller(cluster, world.objects)
        for cell in cells(step["matrix"]):
            if cell.wanted != "-" and caller.call(cell) != cell.wanted:
                wrong.add(str(cell))
    name = next((each for each in OWN[dataplane] if case.name.startswith(each)), "")
    assert wrong == CELLS.get(name, set()), OWN[dataplane].get(name, case.name)
