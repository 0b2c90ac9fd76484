"""However an export was edited, merged, cut or taken at several moments: each of its pods runs with its address, or is named with a reason."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.errors import InputError
from emu.kube.cluster import Cluster
from exports import FLAVOURS, Shape, export

Found = dict[str, Any]
Change = Callable[[Found, random.Random], None]


def of(found: Found, kind: str) -> list[Found]:
    return [each for each in found["items"] if each["kind"] == kind]


def some(found: Found, kind: str, chance: random.Random) -> list[Found]:
    every = of(found, kind)
    return chance.sample(every, chance.randint(1, len(every))) if every else []


def without(found: Found, gone: list[Found]) -> None:
    ids = {id(each) for each in gone}
    found["items"] = [each for each in found["items"] if id(each) not in ids]


def no_nodes(found: Found, chance: random.Random) -> None:
    without(found, of(found, "Node"))


def fewer_nodes(found: Found, chance: random.Random) -> None:
    without(found, some(found, "Node", chance))


def no_workloads(found: Found, chance: random.Random) -> None:
    without(
        found,
        [each for each in found["items"] if each["kind"] in ("Deployment", "ReplicaSet", "DaemonSet", "StatefulSet")],
    )


def fewer_services(found: Found, chance: random.Random) -> None:
    without(found, some(found, "Service", chance) + some(found, "EndpointSlice", chance))


def other_owners(found: Found, chance: random.Random) -> None:
    for each in some(found, "Pod", chance):
        for owner in each["metadata"].get("ownerReferences", ()):
            owner["uid"] = "another"


def no_uids(found: Found, chance: random.Random) -> None:
    for each in found["items"]:
        each["metadata"].pop("uid", None)
        each["metadata"].pop("resourceVersion", None)
        for owner in each["metadata"].get("ownerReferences", ()):
            owner.pop("uid", None)


def one_uid(found: Found, chance: random.Random) -> None:
    for each in some(found, "Pod", chance):
        each["metadata"]["uid"] = "copied"


def no_pod_cidrs(found: Found, chance: random.Random) -> None:
    for each in some(found, "Node", chance):
        each["spec"].pop("podCIDR", None)
        each["spec"].pop("podCIDRs", None)


def one_pod_cidr(found: Found, chance: random.Random) -> None:
    for each in of(found, "Node"):
        each["spec"]["podCIDR"] = "10.77.0.0/24"
        each["spec"]["podCIDRs"] = ["10.77.0.0/24"]


def no_internal_ips(found: Found, chance: random.Random) -> None:
    for each in some(found, "Node", chance):
        each["status"]["addresses"] = []


def one_internal_ip(found: Found, chance: random.Random) -> None:
    for each in of(found, "Node"):
        each["status"]["addresses"] = [{"type": "InternalIP", "address": "10.0.1.11"}]


def addresses_twice(found: Found, chance: random.Random) -> None:
    pods = [each for each in of(found, "Pod") if each["status"].get("podIP")]
    for each in chance.sample(pods, 3):
        other = chance.choice(pods)
        each["status"]["podIP"], each["status"]["podIPs"] = other["status"]["podIP"], other["status"]["podIPs"]


def odd_addresses(found: Found, chance: random.Random) -> None:
    for each in some(found, "Pod", chance):
        each["status"]["podIP"] = chance.choice(
            ["", "fd00::7", "198.18.0.9", "10.0.1.11", "10.244.1.255", "10.244.1.1"]
        )
        each["status"]["podIPs"] = []


def other_nodes(found: Found, chance: random.Random) -> None:
    for each in some(found, "Pod", chance):
        each["spec"]["nodeName"] = chance.choice(
            ["nowhere", of(found, "Node")[0]["metadata"]["name"] if of(found, "Node") else "a"]
        )


def an_earlier_moment(found: Found, chance: random.Random) -> None:
    """Two exports in one: an earlier one, with other addresses, and pods that are gone since."""
    earlier = copy.deepcopy(some(found, "Pod", chance))
    for each in earlier:
        each["metadata"]["resourceVersion"] = "5"
        if chance.random() < 0.5:
            each["metadata"] |= {
                "name": each["metadata"]["name"] + "-old",
                "uid": each["metadata"].get("uid", "") + "-old",
            }
    found["items"] = earlier + found["items"] if chance.random() < 0.5 else found["items"] + earlier


def shuffled(found: Found, chance: random.Random) -> None:
    chance.shuffle(found["items"])


def broken_fields(found: Found, chance: random.Random) -> None:
    for each in some(found, "Pod", chance)[:3]:
        each["spec"]["containers"] = chance.choice(
            [[], None, [{"name": "a"}, {"name": "a"}], "x", [{"name": "c", "ports": [{"containerPort": 700000}]}]]
        )


CHANGES: list[Change] = [
    no_nodes, fewer_nodes, no_workloads, fewer_services, other_owners, no_uids, one_uid, no_pod_cidrs, one_pod_cidr, no_internal_ips,
    one_internal_ip, addresses_twice, odd_addresses, other_nodes, an_earlier_moment, shuffled, broken_fields,
]  # fmt: skip


def lost(found: Found, cluster: Cluster) -> list[str]:
    """The pods that neither run with an address of theirs, nor are named."""
    named = cluster.warnings
    wanted: dict[str, set[str]] = {}
    idle = set()  # in one of the moments it had no address, or had ended: what counts may be that one
    for each in of(found, "Pod"):
        status, name = each["status"], f"{each['metadata']['namespace']}/{each['metadata']['name']}"
        wanted.setdefault(name, set()).add(status.get("podIP", ""))
        if status.get("phase") in ("Succeeded", "Failed") or not status.get("podIP"):
            idle.add(name)
    return [
        name
        for name, ips in wanted.items()
        if name not in idle
        and (name not in cluster.pods or str(cluster.pods[name].ip) not in ips)
        and not any(name in text for text in named)
    ]


def check(flavour: str, changes: list[Change], seed: int) -> None:
    found, chance = export(Shape(flavour, 3)), random.Random(seed)
    for change in changes:
        change(found, chance)
    try:
        cluster = Cluster.live(copy.deepcopy(found), capture=False)
    except InputError:  # one message for all of them
        return
    assert lost(found, cluster) == []


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: each.__name__)
def test_one_change_loses_no_pod(change: Change) -> None:
    for flavour in ("kubeadm", "eks"):
        check(flavour, [change], 7)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(FLAVOURS)), st.lists(st.sampled_from(CHANGES), min_size=1, max_size=4), st.integers(0, 99)
)
def test_no_changes_together_lose_a_pod(flavour: str, changes: list[Change], seed: int) -> None:
    check(flavour, changes, seed)
