"""The gallery: each scenario meets its expectations, each line of its story is in a comment, and the frames show the story."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from emu.capture.capture import Captured
from emu.errors import InputError
from emu.scenario import gallery
from emu.scenario.gallery import stories, story
from emu.scenario.kinds import StoryLine
from emu.scenario.run import HELD, Run, run
from emu.scenario.steps import sending
from emu.scenario.story import lines_of

DATA = Path(__file__).parents[1] / "data" / "manifests"
# Which numbered steps of the usual description each story shows; the others show none.
STEPS = {
    "aws-pod-to-pod-same-node": "1234",
    "aws-pod-to-pod-across-nodes": "123456",
    "aws-pod-to-service": "1234",
    "pod-to-pod-same-node": "1234",
    "pod-to-pod-across-nodes": "123456",
    "flat-pod-subnet": "123456",
    "pod-to-service": "1234",
    "service-same-node": "124",
    "service-same-node-nf0": "124",
    "hairpin-off": "124",
    "hairpin-on": "124",
    "closed-port": "4",
    "guestbook": "124",
    "microservices-demo": "124",
}
STORIES = sorted(stories())


@cache
def ran(name: str) -> Run:
    return run(story(name))


def frames(name: str, flow: int = 1) -> list[Captured]:
    """The frames of a scenario's flow, counted from 1."""
    return list(ran(name).cluster.flows[flow].frames)


def at(found: list[Captured], interface: str, part: str) -> list[Captured]:
    """Those on an interface (up to its last letter) whose line has `part` in it."""
    return [each for each in found if each.interface.startswith(interface) and part in each.line()]


def test_the_gallery_is_complete() -> None:
    assert set(STEPS) <= set(STORIES) and len(STORIES) > 17


def test_an_unknown_story_is_an_input_error_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="pod-to-service"):
        story("pod-to-servise")


@pytest.mark.parametrize("name", STORIES)
def test_a_scenario_holds(name: str) -> None:
    result = ran(name)
    assert result.failures == []
    assert result.undecided == []
    assert result.exit_status == HELD


@pytest.mark.parametrize("name", STORIES)
def test_every_flow_expects_something_and_the_scenario_states_what_it_is_about(name: str) -> None:
    spec = ran(name).scenario.spec
    assert spec.metadata.name == name
    assert len(spec.metadata.description) > 80
    assert [step.name for step in spec.steps if step.action in sending() and step.expect is None] == []
    assert all(step.name for step in spec.steps)


@pytest.mark.parametrize("name", STORIES)
def test_every_line_of_the_story_is_shown_by_some_frame(name: str) -> None:
    result = ran(name)
    silent: set[StoryLine] = set()
    shown: set[StoryLine] = set()
    for done, step in zip(result.steps, result.scenario.spec.steps, strict=True):
        lines = () if isinstance(step.story, str) else step.story
        for line in lines:
            seen = any(lines_of((line,), frame) for each in done.flows for frame in each.flow.frames)
            (shown if seen else silent).add(line)
    assert silent - shown == set()
    assert shown


@pytest.mark.parametrize("name", STORIES)
def test_comments_name_the_numbered_steps(name: str) -> None:
    comments = [frame.comment() for each in ran(name).flows for frame in each.flow.frames]
    assert set(re.findall(r"^story \((\d)\)", "\n".join(comments), re.M)) == set(STEPS.get(name, ""))


@pytest.mark.parametrize("name", STORIES)
def test_the_steps_are_data_and_no_sentence_repeats_them(name: str) -> None:
    shown = {
        line
        for step in ran(name).steps
        for each in step.flows
        for frame in each.flow.frames
        for line in lines_of(step.story, frame)
    }
    assert {line.step[0] for line in shown if line.step and line.leg == "there" and not line.chapter} == set(
        STEPS.get(name, "")
    )
    assert not [line for line in shown if re.match(r"[a-z ]+\(\d\)", line.says)]


def test_a_step_has_its_time() -> None:
    done = ran("pod-to-service")
    times = [(step.started_ns, step.ended_ns) for step in done.steps]
    assert times == sorted(times)
    for step in done.steps:
        for each in step.flows:
            assert step.started_ns <= each.flow.started_ns < each.flow.ended_ns <= step.ended_ns


@pytest.mark.parametrize("name", STORIES)
def test_the_three_requirements_hold(name: str) -> None:
    assert [(each.name, each.failures) for each in ran(name).invariants if not each.held] == []


def test_the_three_requirements_speak_of_something() -> None:
    spoken: dict[str, int] = {}
    for name in STORIES:
        for each in ran(name).invariants:
            spoken[each.name] = spoken.get(each.name, 0) + each.judged
    assert len(spoken) == 3
    assert all(spoken.values())


@pytest.mark.parametrize("manifest", ["guestbook.yaml", "microservices-demo.yaml"])
def test_public_manifests_are_unchanged(manifest: str) -> None:
    assert (story("guestbook").parent / "manifests" / manifest).read_bytes() == (DATA / manifest).read_bytes()


# -- what each story is about ----------------------------------------------------------------------


def test_localhost_never_leaves_lo_and_the_reason_why_the_second_container_cannot_start_is_shown() -> None:
    assert {each.interface for each in frames("containers-localhost")} == {"default/pair/lo"}
    assert frames("containers-localhost", 2) == []
    (note,) = ran("containers-localhost").notes
    assert "default/clash" in note
    assert "'second'" in note
    assert "EADDRINUSE" in note


def test_four_pods_share_port_80() -> None:
    flows = [each.flow for each in ran("same-port").flows]
    assert {each.target.port for each in flows} == {80}
    assert len({each.target.addr for each in flows}) == len({each.at for each in flows}) == 4
    assert all(each.received.startswith(b"HTTP/1.0 200") and each.at.encode() in each.received for each in flows)


def test_on_one_node_nothing_is_routed() -> None:
    found = frames("pod-to-pod-same-node")
    assert at(found, "default/client/eth0", "who-has 10.244.1.3")
    assert at(found, "default/web/eth0", "ttl64 DF ICMP echo-request")
    assert not at(found, "node-1/cbr0", "ICMP")


@pytest.mark.parametrize("name", ["pod-to-pod-across-nodes", "flat-pod-subnet"])
def test_three_routers_between_nodes(name: str) -> None:
    assert at(frames(name), "default/web/eth0", "10.244.1.2>10.244.2.2 ttl61")
    assert at(frames(name), "default/client/eth0", "10.244.2.2>10.244.1.2 ttl61")


def test_across_nodes_the_pod_asks_for_its_gateway() -> None:
    asked = at(frames("pod-to-pod-across-nodes"), "default/client/eth0", "who-has")
    assert ["who-has 10.244.1.1 " in each.line() for each in asked] == [True]


def test_in_a_flat_subnet_only_the_node_answers() -> None:
    found = frames("flat-pod-subnet")
    (asked,) = at(found, "default/client/eth0", "who-has 10.244.2.2 ")
    (answer,) = at(found, "node-1/cbr0", "10.244.2.2 is-at node-1.cbr0")
    assert 0 < answer.time_ns - asked.time_ns <= 800_100_000
    assert not at(found, "node-2/cbr0", "is-at web -> 10.244.1.2")


def test_the_service_address_is_never_on_eth0() -> None:
    for name in ("pod-to-service", "guestbook", "microservices-demo"):
        for each in ran(name).flows:
            service = each.flow.target.addr.to_bytes(4, "big")
            uplinks = [f for f in each.flow.frames if re.fullmatch(r"node-\d/eth0|underlay/.*", f.interface)]
            assert not [f for f in uplinks if service in (f.data[26:30], f.data[30:34])]


def test_the_client_of_a_service_sees_only_the_service() -> None:
    for name in ("pod-to-service", "service-same-node"):
        seen = at(frames(name), "default/client/eth0", " TCP ")
        assert seen
        assert not [each for each in seen if "10.96.0.10" not in each.line()]


def test_on_the_same_node_the_answer_is_rewritten_in_the_bridge_or_not_at_all() -> None:
    kept, lost = frames("service-same-node"), frames("service-same-node-nf0")
    assert at(kept, "node-1/veth", "out [web>client] 10.96.0.10>10.244.1.2")
    assert not at(kept, "default/client/eth0", "[R")
    assert not at(lost, "node-1/veth", "10.96.0.10>10.244.1.2")
    assert at(lost, "default/client/eth0", "out [client>web] 10.244.1.2>10.244.1.3 ttl64 DF TCP")


def test_a_hairpin_needs_its_port_flag_and_another_source() -> None:
    assert at(frames("hairpin-off"), "node-1/drop", "10.244.1.2>10.244.1.2")
    assert not at(frames("hairpin-off"), "default/web/eth0", " in [web>web]")
    assert at(frames("hairpin-on"), "default/web/eth0", " in [web>web] 10.244.1.1>10.244.1.2")


def test_a_node_speaks_from_the_address_of_the_way_out() -> None:
    assert at(frames("node-and-pod", 1), "default/here/eth0", "in [node-1.cbr0>here] 10.244.1.1>10.244.1.2")
    assert at(frames("node-and-pod", 2), "default/there/eth0", "192.168.51.11>10.244.2.2")
    assert at(frames("node-and-pod", 4), "node-2/eth0", "10.244.1.2>192.168.52.12")


def test_no_pod_address_is_seen_outside() -> None:
    outside = [each for flow in (1, 2) for each in at(frames("pod-to-internet", flow), "external/eth0", "")]
    assert outside
    assert not [each for each in outside if "10.244." in each.line()]


def _sent_twice(found: list[Captured], when: Callable[[str], bool]) -> int:
    """Nanoseconds between the two frames that the client sent."""
    first, second = (each for each in found if each.interface == "default/client/eth0" and when(each.line()))
    assert first.line() == second.line()
    return second.time_ns - first.time_ns


def test_what_is_lost_is_sent_again() -> None:
    lost, syn_lost = frames("lossy-link", 2), frames("lossy-link", 3)
    assert [each.interface for each in lost if each.direction == "drop"] == ["node-1/drop"]
    assert 200_000_000 <= _sent_twice(lost, lambda line: " out " in line and "[PA]" in line) < 210_000_000
    # the slot of the timer wheel in which a second ends is 32 ms wide
    assert 1_000_000_000 <= _sent_twice(syn_lost, lambda line: " out " in line and "[S]" in line) <= 1_036_000_000


def test_an_absent_address_takes_three_questions_or_none() -> None:
    (own, other, none) = (frames("absent-address", flow) for flow in (1, 2, 3))
    assert len(at(own, "default/client/eth0", "out [client>bcast] ARP who-has 10.244.1.99")) == 3
    assert len(at(other, "node-2/cbr0", "out [node-2.cbr0>bcast] ARP who-has 10.244.2.99")) == 3
    assert at(other, "default/client/eth0", "192.168.52.12>10.244.1.2")
    assert not at(none, "", "who-has")


def test_guestbook_reaches_redis_from_every_frontend() -> None:
    flows = [each.flow for each in ran("guestbook").flows]
    assert len({each.source for each in flows}) == 3
    assert {each.received for each in flows} == {b"PING\r\n"}


def test_the_load_generator_reaches_every_service() -> None:
    flows = [each.flow for each in ran("microservices-demo").flows]
    assert len(flows) == 12
    for each in flows:
        service = each.target.name.removeprefix("svc/").partition(":")[0].removesuffix("-external")
        assert each.at.startswith(f"default/{service}-"), each.target


def test_the_gallery_is_written_to_be_changed(tmp_path: Path) -> None:
    written = gallery.copy(tmp_path / "here")
    assert {path.name for path in written} >= {"pod-to-service.yaml", "microservices-demo.yaml", "SOURCES.txt"}
    assert run(tmp_path / "here" / "microservices-demo.yaml").exit_status == 0
    assert gallery.copy(tmp_path / "here") == written
    (tmp_path / "here" / "pod-to-service.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is there already, with other contents"):
        gallery.copy(tmp_path / "here")
    assert (tmp_path / "here" / "pod-to-service.yaml").read_text(encoding="utf-8") == "mine"
    gallery.copy(tmp_path / "here", force=True)
    assert (tmp_path / "here" / "pod-to-service.yaml").read_text(encoding="utf-8") != "mine"


def test_no_time_limit_is_a_timers() -> None:
    """A SYN is sent again after whole seconds. A client that gives up at that very time is before the kernel's timer,
    which is late by a tick, and after the emulator's: the twin would differ by chance."""
    limits = [text for name in STORIES for text in re.findall(r"\btimeout: *(\w+)", story(name).read_text())]
    assert limits and not [text for text in limits if re.fullmatch(r"\d+s|\d+000ms", text)]
