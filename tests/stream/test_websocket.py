"""The stream over WebSocket, with a client that is not ours: who gets what, and what nobody can break."""

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from kinestream.pose import PoseFrame
from kinestream.stream import (
    BindError,
    InsecureBindError,
    Publisher,
    StreamTimeoutError,
    Subscriber,
    WebSocketServer,
    create_client_keys,
    create_publisher_keys,
)
from kinestream.stream.websocket import MAX_READERS

client = pytest.importorskip("websockets.sync.client", reason="needs websockets, the extra 'ws'")
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus  # noqa: E402
from websockets.sync.connection import Connection  # noqa: E402

Make = Callable[..., PoseFrame]
ANY = "127.0.0.1:0"
PATIENCE_S = 30


@pytest.fixture
def server() -> Iterator[WebSocketServer]:
    with WebSocketServer(ANY) as server:
        yield server


@pytest.fixture
def publisher(server: WebSocketServer) -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:0", heartbeat_s=0.02, websocket=server, vertices=True) as publisher:
        yield publisher


def connect(server: WebSocketServer, query: str = "", **options: object) -> Connection:
    """A reader that has heard a heartbeat, so that nothing sent from now on is missed."""
    connection: Connection = client.connect(server.address + query, **options)
    assert connection.recv(timeout=PATIENCE_S)[:10] == b"heartbeat\0"
    return connection


def poses(connection: Connection, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        data = connection.recv(timeout=PATIENCE_S)
        assert isinstance(data, bytes), "one binary frame a message"
        found += [data] if data.startswith(b"pose\0") else []
    return found


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_the_same_bytes_as_over_zeromq(
    publisher: Publisher, server: WebSocketServer, pose_frame: Make
) -> None:
    heard: list[bytes] = []
    with (
        Subscriber(publisher.endpoint, on_message=lambda message, data: heard.append(data)) as subscriber,
        connect(server) as one,
        connect(server, compression=None, origin="http://localhost:3000") as two,
    ):
        while subscriber.heartbeat is None:
            with contextlib.suppress(StreamTimeoutError):
                subscriber.receive(timeout_ms=10)
        for i in range(20):
            publisher.publish(pose_frame(*range(i % 3), frame_index=i), clock="media")
            publisher.publish_stats({"number": i})
        publisher.publish_encoded(b"pose\0as it is")
        got_one, got_two = poses(one, 21), poses(two, 21)
        while subscriber.received < 20 or subscriber.stats is None:
            with contextlib.suppress(StreamTimeoutError):
                subscriber.receive(timeout_ms=10)
    assert got_one == got_two and got_one[-1] == b"pose\0as it is"
    assert got_one[:-1] == [data for data in heard if data.startswith(b"pose\0")]


def test_it_serves_while_another_program_has_the_address_of_zeromq(server: WebSocketServer) -> None:
    with (
        Publisher("tcp://127.0.0.1:0") as other,
        Publisher(other.endpoint, on_busy="retry", heartbeat_s=0.02, websocket=server) as publisher,
    ):
        assert not publisher.bound
        connect(server).close()


def refusal(server: WebSocketServer, query: str = "", **options: object) -> str:
    """The whole answer to somebody who is turned away."""
    before = server.refusals.count
    with pytest.raises(InvalidStatus) as caught:
        client.connect(server.address + query, **options)
    response = caught.value.response
    assert response.status_code == 403 and server.refusals.count == before + 1
    return f"{response.headers} {(response.body or b'').decode()}"


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://localhost.evil.example",
        "http://127.0.0.1.evil.example:8000",
        "null",  # what any page can make its frames say
        "file://",
        "http://[",
        "",
        "http://app.example.org",  # another scheme than the one that is allowed
    ],
)
def test_a_foreign_page_gets_nothing(origin: str, caplog: pytest.LogCaptureFixture) -> None:
    with (
        WebSocketServer(ANY, origins=["https://app.example.org"]) as server,
        Publisher("tcp://127.0.0.1:0", heartbeat_s=0.01, websocket=server),
    ):
        answer = refusal(server, additional_headers={"Origin": origin})
    assert "pose" not in answer and "heartbeat" not in answer
    assert f"came from a page of {origin!r}, which is not allowed (--ws-origin)" in caplog.text


def test_a_page_whose_name_points_here_for_the_moment_gets_nothing(server: WebSocketServer) -> None:
    """DNS rebinding: origin and host agree, since the attacker owns both."""
    port = server.address.rsplit(":", 1)[1]
    with socket.create_connection(("127.0.0.1", int(port))) as connection, pytest.raises(InvalidStatus):
        client.connect(f"ws://evil.example:{port}", sock=connection, origin=f"http://evil.example:{port}")
    assert server.refusals.count == 1


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8000", "https://app.example.org", None],
)
def test_pages_of_this_computer_and_those_that_are_allowed_listen(origin: str | None) -> None:
    with (
        WebSocketServer(ANY, origins=["https://APP.example.org/"]) as server,
        Publisher("tcp://127.0.0.1:0", heartbeat_s=0.01, websocket=server),
    ):
        connect(server, origin=origin).close()


def test_a_page_of_the_host_that_is_served_on_listens() -> None:
    with (
        WebSocketServer("0.0.0.0:0", insecure=True) as server,
        Publisher("tcp://127.0.0.1:0", heartbeat_s=0.01, websocket=server),
    ):
        port = int(server.address.rsplit(":", 1)[1])

        def ask(host: str, origin: str) -> None:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                client.connect(f"ws://{host}:{port}", sock=connection, origin=origin).close()

        name = socket.gethostname().lower()
        ask("192.0.2.7", "http://192.0.2.7:8000")
        ask(name, f"http://{name}:8000")
        with pytest.raises(InvalidStatus):
            ask("192.0.2.7", "http://192.0.2.8:8000")


def test_keys_let_in_who_has_a_token_and_say_none_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.WARNING, "websockets.client")  # not ours
    caplog.set_level(logging.DEBUG)
    folder = create_publisher_keys(tmp_path / "keys")
    tokens = {
        name: (create_client_keys(folder, name) / "websocket.token").read_text().strip()
        for name in ("headset", "tablet")
    }
    with (
        WebSocketServer("0.0.0.0:0", keys=folder) as server,
        Publisher("tcp://127.0.0.1:0", heartbeat_s=0.01, websocket=server),
    ):
        server.address = server.address.replace("0.0.0.0", "127.0.0.1")
        for query in ("", "/?token=", "/?token=wrong", f"/?token={tokens['headset'][:-1]}", "/?token=%ff%00"):
            assert "pose" not in refusal(server, query)
        connect(server, f"/?token={tokens['headset']}").close()
        refusal(server, f"/?token={tokens['headset']}", origin="http://evil.example")
        (folder / "allowed" / "headset.key").unlink()  # what withdraws the listener's key
        refusal(server, f"/?token={tokens['headset']}")
        connect(server, f"/?token={tokens['tablet']}").close()
    assert "headset listens from 127.0.0.1" in caplog.text and "tablet listens" in caplog.text
    assert "without a token of those allowed (kinestream keys)" in caplog.text
    told = caplog.text + "".join(capfd.readouterr())
    assert not [token for token in tokens.values() if token[:20] in told]
    kept = [path.read_text() for path in (folder / "allowed").iterdir()]
    assert not [token for token in tokens.values() if any(token in text for text in kept)], "only the hash"


def test_addresses_that_cannot_be_served(server: WebSocketServer) -> None:
    with pytest.raises(InsecureBindError, match=r"0\.0\.0\.0:5558 can be reached from .* --keys FOLDER"):
        WebSocketServer("0.0.0.0:5558")
    for wrong in ("5558", "ws://127.0.0.1:5558", "127.0.0.1:70000", "::1:5558"):
        with pytest.raises(BindError, match="no address to serve on: expected HOST:PORT"):
            WebSocketServer(wrong)
    with pytest.raises(BindError, match=r"is in use by another program.*\(--ws 127\.0\.0\.1:5559\)"):
        WebSocketServer(server.address.removeprefix("ws://"))
    with pytest.raises(ValueError, match="origin: expected SCHEME://HOST"):
        WebSocketServer(ANY, origins=["app.example.org"])


def raw(server: WebSocketServer) -> socket.socket:
    """A connection by hand, once it is welcome."""
    host, port = server.address.removeprefix("ws://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(
        f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b"101" in connection.recv(16)
    return connection


def test_one_who_never_reads_changes_nothing_for_the_others_and_finds_the_newest(
    publisher: Publisher, server: WebSocketServer, pose_frame: Make
) -> None:
    heavy = pose_frame(0, vertices_cam_m=np.zeros((20_000, 3), np.float32))  # 240 kB
    with (
        connect(server, max_size=None) as good,
        connect(server, max_size=None, close_timeout=0.1) as slow,
        raw(server) as stuck,
    ):
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        for i in range(100):
            publisher.publish(heavy, clock="media")
            publisher.publish_stats({"number": i})
            (data,) = poses(good, 1)
            assert int.from_bytes(data[data.index(b"sequence") + 8 :][:1], "big") == i, "nothing is lost"
        assert stuck.fileno() > 0 and good.protocol.state.name == "OPEN"
        # `slow` has taken what its queue holds; from now on it reads.
        last = b""
        seen = 0
        while not last or last[last.index(b"sequence") + 8] != 99:
            (last,) = poses(slow, 1)
            seen += 1
        assert seen < 60, "old poses gave way to new ones"


def test_a_burst_is_no_reason_to_lose_anything(
    publisher: Publisher, server: WebSocketServer, pose_frame: Make
) -> None:
    with connect(server, max_queue=None) as reader:
        sent = [publisher.publish(pose_frame(frame_index=i), clock="media").sequence for i in range(10)]
        assert len(poses(reader, 10)) == len(sent)


def test_nobody_who_speaks_nonsense_breaks_anything(publisher: Publisher, server: WebSocketServer) -> None:
    random = np.random.default_rng(3)
    host, port = server.address.removeprefix("ws://").split(":")
    head = b"GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%s\r\n"
    key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    requests = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        head % (b"/", b"[", key),
        head % (b"//[x", b"x", key),
        head % (b"/?token=\xff", b"x", key + b"Origin: \xff\xfe://x\r\n"),
        head % (b"/", b"x", key + b"Origin: http://localhost\r\nOrigin: http://evil.example\r\n"),
        head % (b"/", b"x", b"Sec-WebSocket-Version: 13\r\n"),
        head % (b"/" + b"a" * 9000, b"x", key),
        head % (b"/", b"x", key) + b"\x82\xff" + b"\xff" * 8 + b"x" * 5000,  # a frame of 2**64 bytes
        head % (b"/", b"x", key) + b"\x00\x00\xf7\xff",  # no frame
        *(random.bytes(int(random.integers(1, 3000))) for _ in range(20)),
        *((head % (b"/", b"x", key))[: int(random.integers(1, 150))] for _ in range(20)),
    ]
    with connect(server) as good:
        for request in requests:
            with socket.create_connection((host, int(port))) as stranger, contextlib.suppress(OSError):
                stranger.sendall(request)
                stranger.shutdown(socket.SHUT_WR)
                stranger.settimeout(PATIENCE_S)
                answer = stranger.recv(4096)
                assert not answer or answer.startswith(b"HTTP/1.1 ")
        assert b"heartbeat" in good.recv(timeout=PATIENCE_S)
        assert eventually(lambda: len(server._readers) == 1), "and nobody of them is kept"


def test_there_is_room_for_so_many(publisher: Publisher, server: WebSocketServer) -> None:
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(raw(server)) for _ in range(MAX_READERS)]
        with pytest.raises((InvalidMessage, ConnectionClosed, OSError)):
            client.connect(server.address)
        readers[0].close()
        assert eventually(lambda: len(server._readers) == MAX_READERS - 1)
        connect(server).close()


def test_the_end_is_said_and_the_address_is_free_again(pose_frame: Make) -> None:
    with WebSocketServer(ANY) as server:
        publisher = Publisher("tcp://127.0.0.1:0", heartbeat_s=0.01, websocket=server)
        with connect(server) as reader, raw(server):
            publisher.close()
            assert [data for data in reader if data.startswith(b"pose")] == []  # ends with the connection
            assert reader.protocol.close_rcvd is not None and reader.protocol.close_rcvd.code == 1001
        publisher.publish(pose_frame(), clock="media")  # nobody hears it, and nobody minds
        with WebSocketServer(server.address.removeprefix("ws://")):
            pass
