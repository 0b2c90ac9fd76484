"""Names that Kubernetes draws at random, here made by hash: the same input gives the same names.

Must not know which objects have these names.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from emu.kube.api.core import Container, PodTemplateSpec
from emu.kube.api.meta import Key, replace
from emu.kube.store import Store

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Letters without vowels or digits that look like vowels, so that they make no words (apimachinery, util/rand)."""
_LONGEST_STEM = 58


def number(text: str) -> int:
    """A large number that depends on the text only."""
    return int.from_bytes(sha256(text.encode()).digest(), "big")


def suffix(text: str, length: int) -> str:
    rest, letters = number(text), ""
    for _ in range(length):
        rest, digit = divmod(rest, len(ALPHABET))
        letters += ALPHABET[digit]
    return letters


def template_hash(template: PodTemplateSpec) -> str:
    """Ten letters that change when the pod template does. Only fields that shape what a pod sends count: not its commands and probes,
    which are read of running clusters."""
    spec = template.spec
    parts = {name: tuple(map(_plain, getattr(spec, name))) for name in ("containers", "init_containers")}
    template = replace(template, spec=replace(spec, **parts))
    return suffix(msgspec.json.encode(template, order="deterministic").decode(), 10)


def _plain(container: Container) -> Container:
    return replace(container, command=(), args=(), liveness_probe=None, readiness_probe=None, startup_probe=None)


def generate(store: Store, kind: str, namespace: str, stem: str, seed: int) -> str:
    """A new name from a generateName such as `web-7d9f8-`: the stem, cut to 58, and five letters. No name is used twice."""
    stem = stem[:_LONGEST_STEM]
    while True:
        draw = store.draw(f"{kind}/{namespace}/{stem}")
        name = stem + suffix(f"{seed}/{kind}/{namespace}/{stem}/{draw}", 5)
        key = Key(kind, namespace, name)
        if store.find(key) is None and not store.gone(key):
            return name
