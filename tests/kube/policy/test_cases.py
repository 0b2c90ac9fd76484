"""Every case of the shared folder by the pure function: verdicts, the rules that decide, and what the API server refuses.

Skipped where the folder is absent; `test_semantics.py` has a table of its own.
"""

from __future__ import annotations

import re

import pytest

from emu.errors import InputError
from emu.kube.api.loader import convert
from emu.kube.policy.index import PolicyIndex
from policy_cases import Case, World, cases, cells
from policy_ends import packets

pytestmark = pytest.mark.skipif(not cases(), reason="no shared cases of network policies")
_PEER = re.compile(r"\.(from|to)\[\d+\]$|\.(from|to)\[\d+\](?= )")


@pytest.mark.parametrize("case", [each for each in cases() if each.steps], ids=lambda case: case.name)
def test_every_cell_and_every_reason(case: Case) -> None:
    world = World(case)
    index = PolicyIndex(world.objects.values())
    outside = case.outside()
    for number, step in enumerate(case.steps):
        for change in step.get("do", ()):
            made, gone = world.act(change)
            for obj in made:
                index.put(obj)
            for key in gone:
                index.remove(key)
        fresh = PolicyIndex(world.objects.values())
        decided = {each["cell"]: each for each in step.get("decided_by", ())}
        for cell in cells(step["matrix"]):
            if cell.wanted == "-":
                continue
            for each in (index, fresh):  # an index that followed the changes, and one that is made of what is there
                verdicts = [each.judge(packet) for packet in packets(cell, world.objects, each, outside)]
                found = {"." if verdict.allowed else "X" for verdict in verdicts} or {"X"}
                assert found == {cell.wanted}, f"step {number}, {cell}: {[str(v.deciding) for v in verdicts]}"
            for side in ("egress", "ingress"):
                if side in decided.get(str(cell), {}):
                    wanted = decided[str(cell)][side]
                    text = _PEER.sub("", str(getattr(verdicts[0], side)))
                    assert text in (wanted if isinstance(wanted, list) else [wanted]), f"step {number}, {cell}"


@pytest.mark.parametrize(
    "given",
    [pytest.param(each, id=f"{case.name}-{i}") for case in cases() for i, each in enumerate(case.value.get("validate", ()))],
)  # fmt: skip
def test_what_the_api_server_refuses_and_where(given: dict[str, object]) -> None:
    if given["accepted"]:
        assert convert(given["object"])
        return
    with pytest.raises(InputError) as caught:
        convert(given["object"])
    missing = f".{caught.value.what.removesuffix(' is missing')}" if caught.value.what.endswith(" is missing") else ""
    assert f"{caught.value.path}{missing}" == given["at"]
