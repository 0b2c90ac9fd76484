"""A ladder's topology in the emulator, built from its own parts, without Kubernetes.

Namespaces in file order, then devices in file order (a veth pair when its first end comes up) with their addresses,
ports in attach order, routes, rules. Every device of every namespace is tapped.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, TypeVar

from scapy.layers.inet import IP

from emu.clock import MS, SECOND, Clock
from emu.errors import SocketError
from emu.kernel import boot
from emu.kernel.link.bridge import Bridge
from emu.kernel.link.device import OUT, Device
from emu.kernel.net.neighbour import VALID
from emu.kernel.net.route_get import route_get
from emu.kernel.netfilter.conntrack_list import render
from emu.kernel.transport.tcp_socket import TcpSocket
from emu.wire.addr import ip4, ip4_text, mac_text
from ladder_drive import Address, Seen
from ladder_setup import Setup

T = TypeVar("T")


class EmuSocket:
    """A socket of the emulator with the calls of `ladder_drive.Socket`: what would block turns the clock."""

    def __init__(self, clock: Clock, inner: Any) -> None:
        self.clock, self.inner = clock, inner
        self.bind, self.send, self.close = inner.bind, inner.send, inner.close

    def _block(self, call: Callable[[], T], timeout_ns: int) -> T:
        """Try a call again after each millisecond, as long as it answers EAGAIN."""
        deadline_ns = self.clock.now + timeout_ns
        while True:
            try:
                return call()
            except SocketError as error:
                if error.errno != errno.EAGAIN:
                    raise
            if self.clock.now >= deadline_ns:
                raise TimeoutError
            self.clock.run_until(min(self.clock.now + MS, deadline_ns))

    def connect(self, address: Address, timeout_ns: int) -> None:
        self.inner.connect(address)
        if isinstance(self.inner, TcpSocket):
            self._block(self._connected, timeout_ns)

    def _connected(self) -> None:
        if self.inner.error:
            raise SocketError(self.inner.error)
        if not self.inner.connected:
            raise SocketError(errno.EAGAIN)

    def listen(self, backlog: int) -> None:
        self.inner.listen(backlog)

    def accept(self) -> tuple[EmuSocket, Address]:
        accepted = self._block(self.inner.accept, 0)
        return EmuSocket(self.clock, accepted), accepted.peer

    def sendto(self, data: bytes, address: Address) -> int:
        sent: int = self.inner.sendto(data, address)
        return sent

    def recv(self, size: int, timeout_ns: int) -> bytes:
        data: bytes = self._block(self.inner.recv, timeout_ns)
        return data

    def recvfrom(self, size: int) -> tuple[bytes, Address]:
        came: tuple[bytes, Address] = self._block(self.inner.recvfrom, 0)
        return came

    def getsockname(self) -> Address:
        return ip4_text(self.inner.addr), self.inner.port


def _of_devices(sysctls: dict[str, str], wanted: bool) -> dict[str, str]:
    """The settings of single devices, which must be there first; or all others."""
    return {
        key: value
        for key, value in sysctls.items()
        if (key.startswith("net.ipv4.conf.") and key.split(".")[3] not in ("all", "default")) is wanted
    }


class EmuWorld:
    """A `ladder_drive.World`."""

    def __init__(self, setup: Setup, seed: int = 0) -> None:
        self.setup = setup
        self.seen: list[Seen] = []
        self.clock = clock = Clock(seed)
        self.nets = {
            name: boot.namespace(clock, name, sysctls=_of_devices(made["sysctls"], False))
            for name, made in setup.namespaces.items()
        }
        for port, device in setup.devices():
            net, name, kind = self.nets[port.namespace], port.device, device["kind"]
            if kind == "bridge":
                boot.bridge(net, name, mac=device["mac"], ageing_s=device["ageing_s"]).offload = setup.offload
            elif kind == "veth" and name not in net.devices:
                far = setup.cable(port)
                far_mac = next(other["mac"] for there, other in setup.devices() if there == far)
                both = boot.veth(net, name, self.nets[far.namespace], far.device, device["mac"], far_mac, device["mtu"])
                for end in both:
                    end.offload = setup.offload
            if kind != "loopback":
                for address in device.get("addresses", []):
                    boot.address(net, name, address)
        for namespace, made in setup.namespaces.items():
            net = self.nets[namespace]
            for key, value in _of_devices(made["sysctls"], True).items():
                net.sysctl[key] = value
            devices = {device["name"]: device for device in made["devices"]}
            for name in made.get("ports_in_attach_order", []):
                bridge = net.device(devices[name]["master"])
                assert isinstance(bridge, Bridge)
                bridge.add_port(net.device(name), hairpin=devices[name]["hairpin"])
            for rule in made.get("policy", []):
                boot.rule(net, rule)
            for route in setup.routes(namespace):
                boot.route(net, route)
            if "iptables_save" in made:
                boot.iptables_restore(net, made["iptables_save"])
            for link in net.devices.values():
                link.tap = self._tap(f"{namespace}:{link.name}", link)

    def _tap(self, place: str, device: Device) -> Any:
        seen, mac = self.seen, device.mac

        def tap(frame: Any, direction: int) -> None:
            data = bytes(frame.buf)
            if direction == OUT:
                way = "out"
            else:
                way = "in" if data[0] & 1 or data[:6] == mac else "in-other"
            seen.append(Seen(place, way, data))

        return tap

    def wait(self, delay_ns: int) -> None:
        self.clock.run_until(self.clock.now + delay_ns)

    def flush(self) -> None:
        for net in self.nets.values():
            net.flush_neighbours()
            net.ipv4.exceptions.clear()
            if net.conntrack is not None:
                net.conntrack.flush()
            for device in net.devices.values():
                if isinstance(device, Bridge):
                    device.flush()

    def tcp(self, namespace: str) -> EmuSocket:
        return EmuSocket(self.clock, self.nets[namespace].sockets.tcp())

    def udp(self, namespace: str) -> EmuSocket:
        return EmuSocket(self.clock, self.nets[namespace].sockets.udp())

    def ping(self, namespace: str, target: str, count: int, interval_ns: int) -> list[str]:
        socket, clock, begin_ns = self.nets[namespace].sockets.ping(), self.clock, self.clock.now
        for seq in range(1, count + 1):
            clock.run_until(begin_ns + (seq - 1) * interval_ns)
            socket.send(target, seq)
        limit_ns = clock.now + SECOND
        while len(socket.replies) < count and clock.now < limit_ns:
            clock.run_until(min(clock.now + MS, limit_ns))
        got = len(socket.replies)
        socket.close()
        return [
            *(
                f"64 bytes from {ip4_text(reply.src)}: icmp_seq={reply.seq} ttl={reply.ttl} time=X"
                for reply in socket.replies
            ),
            f"--- {target} ping statistics ---",
            f"{count} packets transmitted, {got} received, {100 - 100 * got // count}% packet loss, time X",
        ]

    def ping_large(self, namespace: str, target: str, size: int, *, whole: bool) -> str:
        socket = self.nets[namespace].sockets.ping()
        socket.forbid_fragments = whole
        try:
            socket.send(target, 1, bytes(size))
        except SocketError as error:
            return errno.errorcode[error.errno or 0]
        finally:
            self.wait(0 if socket.replies else 300 * MS)
            socket.close()
        return f"{size + 8} bytes from {target}: ttl={socket.replies[0].ttl}" if socket.replies else "nothing"

    def send_raw(self, namespace: str, packet: bytes) -> None:
        self.nets[namespace].sockets.send_packet(IP(packet))

    def delete_route(self, namespace: str, route: str) -> None:
        """`route` is the prefix, as `ip route` prints it."""
        fib = self.nets[namespace].ipv4.fib
        fib.remove(next(each for each in fib.main if each.text().split()[0] == route))

    def table(self, namespace: str, what: str) -> list[str]:
        net = self.nets[namespace]
        if what == "conntrack":
            return [render(conn, self.clock.now) for conn in net.conntrack]
        if what == "neigh":
            return [
                f"{ip4_text(each.addr)} dev {each.device.name}"
                f"{f' lladdr {mac_text(each.lladdr)}' if each.state in VALID else ''} {each.state}"
                for each in net.neighbours
            ]
        if what == "route":
            return [each.text() for each in net.ipv4.fib.main]
        if what.startswith("route get "):
            return route_get(net, ip4(what.removeprefix("route get ")))
        if what == "rule":
            return [rule.text() for rule in net.ipv4.fib.rules]
        if what == "rules":
            return [line for line in net.ipv4.tables.save().splitlines() if not line.startswith("#")]
        bridge = net.device(what.removeprefix("fdb "))
        assert isinstance(bridge, Bridge)
        learned = [(mac_text(each.mac), each.port) for each in bridge.learned()]
        return [f"{mac} dev {port.device.name} master {bridge.name}" for mac, port in learned if port is not None]

    def close(self) -> None:
        """Nothing outlives the object."""
