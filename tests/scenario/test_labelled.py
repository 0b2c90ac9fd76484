"""What a selector chooses by an index of labels is what a scan of all finds, in the same order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from emu.kube.api.core import Service, ServiceSpec
from emu.kube.api.meta import ObjectMeta, selects
from emu.scenario.lint import Labelled
from emu.testing.strategies import examples

NAMESPACES = st.sampled_from(["a", "b"])
LABELS = st.dictionaries(st.sampled_from(["app", "tier", "x"]), st.sampled_from(["1", "2"]))


@given(st.lists(st.tuples(NAMESPACES, LABELS), max_size=12), NAMESPACES, LABELS.filter(bool))
@examples(100)
def test_the_index_finds_what_a_scan_finds(
    pods: list[tuple[str, dict[str, str]]], namespace: str, selector: dict[str, str]
) -> None:
    service = Service(metadata=ObjectMeta(name="s", namespace=namespace), spec=ServiceSpec(selector=selector))
    found = Labelled((where, labels, number) for number, (where, labels) in enumerate(pods)).chosen(service)
    assert found == [n for n, (where, labels) in enumerate(pods) if where == namespace and selects(selector, labels)]
