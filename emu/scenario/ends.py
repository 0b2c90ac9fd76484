"""The two ends of a scenario's flows, found in a running cluster. Must not know steps or files.

`endpoints.py` reads the same texts before there is a cluster; what a text means is `kube/flow/ends.py`'s.
"""

from __future__ import annotations

from dataclasses import replace

from emu.errors import InputError
from emu.kube.api.core import Node, Pod
from emu.kube.flow.ends import Places, Target, sources, targets
from emu.scenario.endpoints import endpoint


class Ends:
    """The senders and receivers that a cluster has."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def senders(self, text: str) -> list[str]:
        """Every sender that a `from` means, as an endpoint. Raises InputError."""
        try:
            return [self._reference(name) for name in sources(self._places, text)]
        except InputError as error:
            raise self._waiting(text) or error from None

    def receivers(self, text: str, protocol: str) -> list[Target]:
        """Every target that a `to` means; `protocol` is TCP or UDP. Raises InputError."""
        try:
            return targets(self._places, _plain(text), protocol)
        except InputError as error:
            raise self._waiting(text) or error from None

    def without_port(self, text: str) -> list[Target]:
        """The targets of a protocol without ports: a Service is one target, whatever its ports. Raises InputError."""
        text = _plain(text)
        try:
            if not text.startswith("svc/"):
                return targets(self._places, text)
            try:
                found = targets(self._places, f"{text}:*", "TCP")
            except InputError:
                found = targets(self._places, f"{text}:*", "UDP")
        except InputError as error:
            raise self._waiting(text) or error from None
        return [replace(each, port=0, name=text) for each in {each.addr: each for each in found}.values()]

    def _waiting(self, text: str) -> InputError | None:
        """The error of a pod that exists and does not run."""
        found = endpoint(text)
        pod = self._places.store.get(Pod, found.namespace, found.name) if found.kind == "pod" else None
        if pod is None:
            return None
        condition = pod.condition("PodScheduled")
        why = pod.status.message or (condition.message if condition is not None else "")
        if pod.spec.node_name and self._places.store.get(Node, "", pod.spec.node_name) is None:
            why = f'spec.nodeName: no node is called "{pod.spec.node_name}"'
        return InputError(f'pod "{pod.namespace}/{pod.name}" does not run{": " if why else ""}{why.rstrip(".")}')

    def _reference(self, name: str) -> str:
        """A namespace's display name as an endpoint."""
        if name in self._places.pods:
            return name
        return f"node/{name}" if name in self._places.nodes else f"external/{name}"


def _plain(text: str) -> str:
    return text.replace("localhost", "127.0.0.1", 1) if text.split(":", maxsplit=1)[0] == "localhost" else text
