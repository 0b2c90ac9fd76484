"""When a capture begins decides nothing about what it has from then on, and neither does when the pods were wired."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from emu.errors import InputError
from emu.kube.cluster import Cluster
from emu.report.trace import trace
from emu.testing.strategies import examples
from put_off import asleep, captured
from put_off_steps import OBJECTS, configs, pod, ran, steps

# pods of one name in two namespaces: what a frame's line calls them depends on all pods
TWINS = "".join(
    f"---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {space}}}, spec: {{nodeName: node-{node}, containers: [{{name: c}}]}}}}\n"
    for name, space, node in (("twin", "default", 1), ("twin", "other", 3), ("first", "other", 2), ("last", "other", 2))
)
targets = st.sampled_from(
    ("svc/web:80", "other/last", "other/twin:80", "node/node-3:30080", "external:9", "10.244.2.99")
)


def whole(cluster: Cluster, since: int) -> tuple[bytes, list[str]]:
    """The file of all frames from a mark on, with all interfaces; and each frame's line with its packet's numbers."""
    file = BytesIO()
    assert cluster.capture is not None
    cluster.capture.write(file, since=since)
    frames = cluster.capture.each(since=since)
    return file.getvalue(), [f"{each.line()} {each.packet_number} {each.cause}" for each in frames]


def of_flows(cluster: Cluster) -> list[tuple[bytes, list[str]]]:
    """The file of each flow alone, and what its frames are called."""
    found = []
    assert cluster.capture is not None
    for number in cluster.flows:
        file = BytesIO()
        cluster.capture.write(file, flow=number)
        frames = cluster.capture.each(flow=number)
        found.append((file.getvalue(), [f"{each.comment()} {each.line()} {each.packet_number}" for each in frames]))
    return found


def asked(cluster: Cluster, source: int, target: str) -> tuple[Any, ...]:
    names = sorted(cluster.pods)
    try:
        found = trace(cluster, names[source % len(names)] if names else "node/node-1", target, arp=True)
    except InputError as error:
        return (str(error),)
    return found.report.text, found.report.data


@examples(25)
@given(steps, configs, st.integers(0, 3), st.lists(st.tuples(pod, targets), max_size=2))
def test_when_a_capture_begins_decides_nothing(
    drawn: list[tuple[Any, ...]], config: dict[str, Any], seed: int, questions: list[tuple[int, str]]
) -> None:
    clusters = captured(3, OBJECTS + TWINS, seed, **config)
    marks = [each.capture.mark() for each in clusters if each.capture is not None]
    assert not marks[1] and not marks[2]
    assert marks[0] or config["network"] in ("kindnet", "calico")  # whose pods announce nothing
    answers = [[asked(each, *question) for question in questions] for each in clusters]
    assert answers[0] == answers[1] == answers[2]
    (first, seen), (one, found), (other, later) = (ran(each, drawn) for each in clusters)
    assert seen == found == later
    event(f"{len(asleep(other))} nodes asleep at the end")
    assert of_flows(first) == of_flows(one) == of_flows(other)
    assert whole(one, 0) == whole(other, 0)
    assert whole(first, marks[0])[1] == whole(other, 0)[1]
