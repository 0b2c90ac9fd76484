"""What a kubelet reports of each container of a pod, and the ports that a container's probes ask.

Read from the export of a cluster that runs; a manifest has nothing of the first. Must not know how a container is run.
"""

from __future__ import annotations

from emu.kube.api.meta import ApiStruct


class StateRunning(ApiStruct, frozen=True):
    """The container runs."""


class StateWaiting(ApiStruct, frozen=True):
    """It has not started, or waits to be started again; `reason` as ImagePullBackOff, CrashLoopBackOff."""

    reason: str = ""
    message: str = ""


class StateTerminated(ApiStruct, frozen=True):
    exit_code: int = 0
    signal: int = 0
    reason: str = ""


class ContainerState(ApiStruct, frozen=True):
    """One of three. None of them: it waits (the API's default)."""

    running: StateRunning | None = None
    waiting: StateWaiting | None = None
    terminated: StateTerminated | None = None


class ContainerStatus(ApiStruct, frozen=True):
    name: str
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = ContainerState()


class ProbedPort(ApiStruct, frozen=True):
    """Of httpGet, tcpSocket and grpc: a number, or the name of a port of the container. `host` is not the pod's own address."""

    port: int | str
    host: str = ""


class Probe(ApiStruct, frozen=True):
    http_get: ProbedPort | None = None
    tcp_socket: ProbedPort | None = None
    grpc: ProbedPort | None = None

    @property
    def asked(self) -> ProbedPort | None:
        """The port that it asks; None for a command, or for another host."""
        found = self.http_get or self.tcp_socket or self.grpc
        return found if found is not None and not found.host else None
