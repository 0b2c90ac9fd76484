"""firewall beside the machine's own binary: the same calls leave the same rules, and fail alike."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cni_judge import Seen, Step, emulated, needs, real

pytestmark = needs("firewall")

NODE_RULES = """*filter
:FORWARD DROP [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
COMMIT
"""
KEYS = {"backend": "iptables"}
CLOSED = {**KEYS, "ingressPolicy": "same-bridge"}


def step(command: str, *addresses: str, container: int = 1, bridge: str | None = "cni0", **keys: Any) -> Step:
    interface = {} if bridge is None else {"interface": 2}
    given = [{"address": each, **interface} for each in addresses or ("10.244.1.2/24",)]
    return Step(command, {**KEYS, **keys}, container, given, bridge)


def add(*addresses: str, **more: Any) -> Step:
    return step("ADD", *addresses, **more)


SECOND = add("10.244.1.3/24", container=2)
ROWS: dict[str, Sequence[Step]] = {
    "open": [add()],
    "again": [add(), add()],
    "two containers": [add(), SECOND],
    "two addresses": [add("10.244.1.2/24", "10.55.0.2/16")],
    "no address": [Step("ADD", KEYS, previous=()), Step("CHECK", KEYS, previous=())],
    "no address, closed": [Step("ADD", CLOSED, previous=())],
    "no result": [Step(command, KEYS, previous=None) for command in ("ADD", "CHECK", "DEL")],
    "admin chain": [add(iptablesAdminChainName="MY-ADMIN")],
    "two admin chains": [add(), add("10.244.1.3/24", container=2, iptablesAdminChainName="MY-ADMIN")],
    "admin chain with a long name": [add(iptablesAdminChainName="A" * 29)],
    "admin chain in a circle": [add(iptablesAdminChainName="CNI-FORWARD")],
    "a built-in chain as admin chain": [add(iptablesAdminChainName="INPUT")],
    "CHECK with a long name": [add(), step("CHECK", iptablesAdminChainName="A" * 29)],
    "same-bridge with a long name": [add(bridge="b" * 16, ingressPolicy="same-bridge")],
    "no backend": [Step("ADD", {})],
    "a backend that no one knows": [add(backend="nonsense")],
    "open by name": [add(ingressPolicy="open")],
    "open by an empty name": [add(ingressPolicy="")],
    "a policy that no one knows": [add(ingressPolicy="closed"), step("DEL", ingressPolicy="closed")],
    "a policy that is a number": [add(ingressPolicy=3)],
    "same-bridge": [add(ingressPolicy="same-bridge")],
    "same-bridge, two containers": [
        add(ingressPolicy="same-bridge"), add("10.244.1.3/24", container=2, ingressPolicy="same-bridge"),
    ],
    "same-bridge, two bridges": [
        add(ingressPolicy="same-bridge"),
        add("10.245.1.3/24", container=2, bridge="cni1", ingressPolicy="same-bridge"),
    ],
    "same-bridge after open": [add(), add("10.244.1.3/24", container=2, ingressPolicy="same-bridge")],
    "open after same-bridge": [add(ingressPolicy="same-bridge"), SECOND],
    "same-bridge without interfaces": [add(bridge=None, ingressPolicy="same-bridge")],
    "same-bridge without a name": [add(bridge="", ingressPolicy="same-bridge")],
    "DEL": [add(), step("DEL")],
    "DEL twice": [add(), step("DEL"), step("DEL")],
    "DEL alone": [step("DEL")],
    "DEL of one of two": [add(), SECOND, step("DEL")],
    "DEL of a closed bridge": [add(ingressPolicy="same-bridge"), step("DEL", ingressPolicy="same-bridge")],
    "DEL without a result": [add(), Step("DEL", KEYS, previous=None)],
    "CHECK": [add(), step("CHECK")],
    "CHECK alone": [step("CHECK")],
    "CHECK of another address": [add(), step("CHECK", "10.244.1.3/24")],
    "CHECK of another policy": [add(), step("CHECK", ingressPolicy="same-bridge")],
    "CHECK of another admin chain": [add(), step("CHECK", iptablesAdminChainName="MY-ADMIN")],
    "CHECK after DEL": [add(), step("DEL"), step("CHECK")],
}  # fmt: skip


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tools that the plugin looks for."""
    folder = tmp_path_factory.mktemp("tools")
    for name in ("iptables", "ip6tables"):
        (folder / name).symlink_to(shutil.which(name) or name)
    return folder


def as_before(seen: Seen) -> Seen:
    """With the comment of the version that knew one closed policy only."""
    return seen._replace(rules=[line.replace("same-bridge|isolated", "same-bridge") for line in seen.rules])


@pytest.mark.parametrize("before", ["", NODE_RULES], ids=["alone", "behind rules"])
@pytest.mark.parametrize("name", ROWS)
def test_the_plugin_of_this_machine_does_the_same(name: str, before: str, tools: Path) -> None:
    theirs = real("firewall", ROWS[name], before, (), tools)
    assert as_before(emulated("firewall", ROWS[name], before, ())) == theirs
