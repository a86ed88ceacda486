"""10,000 random mutations of valid messages through a real socket: nothing raised, nothing kept."""

import gc
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import zmq

from kinestream.stream import MessageError, StreamTimeoutError, Subscriber, decode

GOLDEN = Path(__file__).parent.parent / "golden"
NAMES = ("pose", "nobody", "heartbeat", "stats")
COUNT = 10_000


def mutation(data: bytes, random: np.random.Generator) -> bytes:
    """A few changed bytes, a cut, a doubled piece, or a piece of rubbish inside."""
    raw = bytearray(data)
    kind = random.integers(4)
    if kind == 0:
        for _ in range(random.integers(1, 9)):
            raw[random.integers(len(raw))] = random.integers(256)
    elif kind == 1:
        del raw[random.integers(len(raw)) :]
    elif kind == 2:
        start = random.integers(len(raw))
        raw[start:start] = raw[start : start + random.integers(1, 64)]
    else:
        start = random.integers(len(raw))
        raw[start : start + random.integers(16)] = random.bytes(random.integers(16))
    return bytes(raw)


def test_ten_thousand_mutations_raise_nothing_and_leak_nothing() -> None:
    random = np.random.default_rng(10)
    golden = [(GOLDEN / f"wire_v1_{name}.bin").read_bytes() for name in NAMES]
    # Mostly the small ones, which have more structure to break for each byte.
    chosen = random.choice(4, COUNT, p=[0.1, 0.3, 0.3, 0.3])
    mutations = [mutation(golden[which], random) for which in chosen]
    sender = zmq.Context.instance().socket(zmq.PUSH)
    sender.setsockopt(zmq.LINGER, 0)
    address = f"tcp://127.0.0.1:{sender.bind_to_random_port('tcp://127.0.0.1')}"
    receiver = zmq.Context.instance().socket(zmq.PULL)  # nothing is lost between these two
    receiver.connect(address)
    with Subscriber("tcp://127.0.0.1:9", timeout_ms=0) as subscriber:
        subscriber._socket.close()
        subscriber._socket = receiver
        tracemalloc.start()
        before = 0
        others = 0
        for number, data in enumerate(mutations):
            sender.send(data)
            assert receiver.poll(20_000)
            subscriber.heartbeat = subscriber.stats = None
            try:
                subscriber.receive()
            except StreamTimeoutError:
                others += subscriber.heartbeat is not None or subscriber.stats is not None
            if number == COUNT // 4:
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert subscriber.received + subscriber.malformed + others == COUNT
        assert subscriber.malformed > COUNT // 2
        assert grown < 100_000, f"{grown} bytes kept after 7,500 messages"
    sender.close()


@pytest.mark.parametrize(
    "packed",
    [
        b"\xdd\xff\xff\xff\xff",  # a list of 4 billion entries
        b"\xdf\xff\xff\xff\xff",  # a map of as many
        b"\xc6\xff\xff\xff\xff",  # 4 GB of bytes
        b"\xdc\x04\x00" * 500,  # lists of 1024 within one another
        b"\x91" * 100_000,  # deeper than any stack
        b"\x81\xa1a" * 100_000,
        b"\xc7\x05\x00abcde",  # an extension type
        b"",
    ],
)
def test_small_messages_that_claim_much_cost_little(packed: bytes) -> None:
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(MessageError):
        decode(b"pose\0" + packed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000 and time.process_time() - started < 5


def test_statistics_hold_nothing_but_text_and_numbers() -> None:
    import msgpack

    head = {"version": 1, "stream_id": "s", "clock_id": "c", "source": "", "t_publish_ns": 1}
    nested: object = 1
    for _ in range(50):
        nested = {"a": nested}
    for values in ({"a": [1]}, {"a": b"x"}, {1: 2}, nested, {"a": "x" * 70_000}):
        with pytest.raises(MessageError):
            decode(b"stats\0" + msgpack.packb({**head, "values": values}))
    assert decode(b"stats\0" + msgpack.packb({**head, "values": {"a": {"b": 1.5, "c": None}}}))
