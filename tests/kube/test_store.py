"""The store: keys, versions, watchers and their order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.errors import InputError
from emu.kube.api.core import Node, Pod, PodStatus, Service
from emu.kube.api.meta import Key, LabelSelector, Object, ObjectMeta, replace, selects
from emu.kube.store import Store


def pod(name: str, namespace: str = "default", **labels: str) -> Pod:
    return Pod(metadata=ObjectMeta(name=name, namespace=namespace, labels=labels))


def test_get_list_delete() -> None:
    store = Store()
    for p in (pod("b", app="x"), pod("a", app="y"), pod("c", "shop", app="x")):
        store.put(p)
    assert [p.name for p in store.list(Pod)] == ["b", "a", "c"]
    assert [p.name for p in store.list("pod", "default")] == ["b", "a"]
    assert [p.name for p in store.list(Pod, selector={"app": "x"})] == ["b", "c"]
    assert [p.name for p in store.list(Pod, "default", LabelSelector({"app": "x"}))] == ["b"]
    found = store.get(Pod, "default", "a")
    assert found is not None
    assert found is store.find(Key("pod", "default", "a")) is store.get("Pod", "default", "a")
    assert store.get(Pod, "default", "c") is None
    assert store.get(Service, "default", "a") is None
    store.delete(found.key)
    assert len(store) == 2
    assert store.gone(found.key)
    assert not store.gone(Key("pod", "default", "never"))
    with pytest.raises(InputError, match=r"there is no pod/a \(expected one of b\)"):
        store.delete(found.key)


def test_versions_and_uids() -> None:
    store = Store()
    first = store.put(pod("a"))
    second = store.put(replace(first, metadata=replace(first.metadata, labels={"x": "y"})))
    assert (first.metadata.resource_version, second.metadata.resource_version) == ("1", "2")
    assert first.metadata.uid == second.metadata.uid
    assert store.put(second) is second
    assert store.version == 2
    store.delete(first.key)
    again = store.put(pod("a"))
    assert again.metadata.uid != first.metadata.uid
    other = Store()
    other.put(pod("z"))
    assert other.put(pod("a")).metadata.uid == first.metadata.uid
    assert Store(seed=1).put(pod("a")).metadata.uid != first.metadata.uid


def test_apply_keeps_the_status_and_put_does_not() -> None:
    store = Store()
    store.put(replace(pod("a"), status=PodStatus(phase="Running", pod_ip="10.244.0.2")))
    assert store.apply(pod("a", x="y")).status.pod_ip == "10.244.0.2"
    assert store.put(pod("a", x="y")).status.pod_ip == ""


def test_a_name_is_needed() -> None:
    with pytest.raises(InputError, match=r"metadata\.name is missing"):
        Store().put(pod(""))


def test_the_namespace_is_default_if_none_is_given() -> None:
    store = Store()
    assert str(store.put(pod("a", "")).key) == "pod/a"
    assert store.get(Pod, "default", "a") is not None
    assert store.put(Node(metadata=ObjectMeta(name="n"))).key == Key("node", "", "n")


def test_watchers_see_one_order() -> None:
    store = Store()
    store.put(pod("early"))
    seen: list[tuple[str, str, str, str | None]] = []

    def see(who: str) -> None:
        def callback(event: str, obj: Object, old: Object | None) -> None:
            seen.append((who, event, obj.name, old.name if old is not None else None))
            if who == "first" and event == "ADDED" and obj.name == "a":
                store.put(pod("made-by-a-watcher"))

        store.watch(Pod, callback, existing=who == "first")

    see("first")
    see("second")
    store.watch("*", lambda event, obj, old: seen.append(("all", event, obj.name, None)))
    store.put(pod("a"))
    store.put(Node(metadata=ObjectMeta(name="n")))
    store.put(pod("a", x="y"))
    store.delete(Key("pod", "default", "a"))
    assert seen == [
        ("first", "ADDED", "early", None),
        ("first", "ADDED", "a", None),
        ("second", "ADDED", "a", None),
        ("all", "ADDED", "a", None),
        ("first", "ADDED", "made-by-a-watcher", None),
        ("second", "ADDED", "made-by-a-watcher", None),
        ("all", "ADDED", "made-by-a-watcher", None),
        ("all", "ADDED", "n", None),
        ("first", "MODIFIED", "a", "a"),
        ("second", "MODIFIED", "a", "a"),
        ("all", "MODIFIED", "a", None),
        ("first", "DELETED", "a", "a"),
        ("second", "DELETED", "a", "a"),
        ("all", "DELETED", "a", None),
    ]


def test_a_watch_ends() -> None:
    store = Store()
    seen: list[str] = []
    end = store.watch("pod", lambda event, obj, old: seen.append(obj.name))
    store.put(pod("a"))
    end()
    end()
    store.put(pod("b"))
    assert seen == ["a"]


def test_draws_count_for_each_purpose() -> None:
    store = Store()
    assert [store.draw("a"), store.draw("a"), store.draw("b"), store.draw("a")] == [0, 1, 0, 2]


def app_of(obj: Pod) -> list[str]:
    return [obj.metadata.labels["app"]] if "app" in obj.metadata.labels else []


def test_an_index_follows_what_comes_changes_and_goes() -> None:
    store = Store()
    store.put(pod("early", app="x"))
    index = store.index(Pod, app_of)
    assert store.index(Pod, app_of) is index
    for each in (pod("b", app="x"), pod("a", app="y"), pod("none")):
        store.put(each)
    assert [each.name for each in index.of("x")] == ["early", "b"]
    store.put(pod("a", app="x"))  # born before what comes now, whenever it joined
    store.put(pod("late", app="x"))
    store.put(pod("b"))
    assert [each.name for each in index.of("x")] == ["early", "a", "late"]
    assert ("y" in index, index.count("x"), index.of("z")) == (False, 3, [])
    store.delete(Key("pod", "default", "early"))
    store.put(pod("early", app="x"))  # another one: the youngest
    assert [key.name for key in index.keys("x")] == ["a", "late", "early"]


def test_an_index_of_a_kind_that_is_not_there_yet_does_not_change_the_order_of_kinds() -> None:
    store = Store()
    index = store.index(Pod, app_of)
    store.put(Node(metadata=ObjectMeta(name="n")))
    store.put(pod("a", app="x"))
    assert [each.kind for each in store] == ["Node", "Pod"]
    assert store.in_order([Key("pod", "default", "a"), Key("pod", "default", "gone"), Key("node", "", "n")]) == [
        Key("node", "", "n"),
        Key("pod", "default", "a"),
    ]
    assert [each.name for each in index.of("x")] == ["a"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.sampled_from(["", "x", "y"]), st.sampled_from(["", "1", "2"])),
        max_size=20,
    )
)
def test_a_selector_finds_what_a_look_at_each_would(steps: list[tuple[str, str, str]]) -> None:
    store = Store()
    for name, app, tier in steps:
        key = Key("pod", "default", name)
        if not app and store.find(key) is not None:
            store.delete(key)
        else:
            store.put(pod(name, **{k: v for k, v in (("app", app), ("tier", tier)) if v}))
        for selector in ({"app": "x"}, {"app": "x", "tier": "1"}, {"tier": "2"}):
            found = store.list(Pod, "default", selector)
            assert found == store.list(Pod, "default", LabelSelector(selector))
            assert found == [each for each in store.list(Pod) if selects(selector, each.metadata.labels)]


def test_a_follower_gets_each_change_before_the_watchers() -> None:
    store = Store()
    events: list[tuple[str, bool, bool]] = []
    store.watch(Pod, lambda event, obj, old: events.append((event, True, old is not None)))
    end = store.follow(lambda old, new: events.append(("follower", old is not None, new is not None)))
    store.put(pod("a"))
    store.put(pod("a", x="y"))
    store.put(pod("a", x="y"))
    store.delete(Key("pod", "default", "a"))
    end()
    store.put(pod("b"))
    assert events == [
        ("follower", False, True),
        ("ADDED", True, False),
        ("follower", True, True),
        ("MODIFIED", True, True),
        ("follower", True, False),
        ("DELETED", True, True),
        ("ADDED", True, False),
    ]
