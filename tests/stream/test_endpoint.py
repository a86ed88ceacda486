"""Addresses: IPv6, ports that do not exist, and why one cannot be bound."""

import errno
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from kinestream.pose import PoseFrame
from kinestream.stream import BindError, Publisher, Subscriber
from kinestream.stream.endpoint import EndpointError, host_of, is_loopback, why_not_bound

ROOT = Path(__file__).parents[2]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_hosts() -> None:
    assert host_of("tcp://[fe80::1%eth0]:5556") == "fe80::1%eth0"
    assert host_of("tcp://*:0") == "*" and host_of("ipc:///run/poses") is None
    assert is_loopback("::1") and is_loopback("localhost") and not is_loopback("fe80::1")
    for wrong in (
        "tcp://127.0.0.1",
        "127.0.0.1:5556",
        "udp://h:1",
        "tcp://h:-1",
        "tcp://fe80::1:5",
        "tcp://:1",
    ):
        with pytest.raises(EndpointError, match=r"expected tcp://HOST:PORT, for IPv6 tcp://\[HOST\]:PORT"):
            host_of(wrong)


def test_a_port_that_does_not_exist() -> None:
    """ZeroMQ itself takes 80800 for 15264."""
    with pytest.raises(BindError, match="no address to publish on: there is no port 80800"):
        Publisher("tcp://127.0.0.1:80800", on_busy="retry")
    with pytest.raises(ValueError, match="no address to connect to: there is no port 80800"):
        Subscriber("tcp://127.0.0.1:80800")


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback interface")
def test_ipv6(pose_frame: Callable[..., PoseFrame]) -> None:
    with (
        Publisher("tcp://[::1]:0", heartbeat_s=0.02) as publisher,
        Subscriber(publisher.endpoint, timeout_ms=100) as subscriber,
    ):
        assert publisher.endpoint.startswith("tcp://[::1]:")
        deadline = time.monotonic() + 30
        while subscriber.received == 0 and time.monotonic() < deadline:
            publisher.publish(pose_frame(0), clock="media")
            subscriber._take() if subscriber._socket.poll(20) else None
        assert subscriber.received and subscriber.condition == "alive"


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("tcp://192.0.2.77:5570", "is no address of this computer; `ip address` lists"),
        ("tcp://nosuchinterface0:5570", "names no address or network interface of this computer"),
        ("ipc:///nowhere/at/all/poses", "lies in a folder that does not exist; make it first"),
        ("ipc:///tmp/" + 120 * "x", "is too long for a path"),
    ],
)
def test_the_cause_is_named(address: str, cause: str) -> None:
    with pytest.raises(BindError) as raised:
        Publisher(address, insecure=True)
    assert cause in str(raised.value) and "another program" not in str(raised.value)


def test_a_cause_without_advice_of_its_own() -> None:
    said = why_not_bound("tcp://h:1", zmq.ZMQError(errno.ENOBUFS))
    assert "cannot be bound (No buffer space" in said and "--bind" in said


def test_clients_in_other_languages_notice_a_silent_publisher() -> None:
    """Tried by hand as in test_power_loss.py; their libraries are not here."""
    for name, options in {
        "cpp/listen.cpp": ("ZMQ_HEARTBEAT_IVL", "ZMQ_HEARTBEAT_TIMEOUT", "ZMQ_CONNECT_TIMEOUT"),
        "js/kinestream.mjs": ("heartbeatInterval", "heartbeatTimeout", "connectTimeout"),
    }.items():
        text = (ROOT / "tools" / "clients" / name).read_text()
        assert all(option in text for option in options), name
