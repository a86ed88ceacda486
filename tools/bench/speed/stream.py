"""What the stream costs the tracker, and whether everybody gets all of it.

python -m kinestream.tools.bench.speed.stream --out docs/benchmarks/stream.json

Subscribers are processes of their own. Those of the load test read the sequence number of each message, as a
client in a quick language would; what `Subscriber` itself takes per message is measured alone.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any, Final

import msgpack
import numpy as np
import typer
import zmq

from kinestream.geometry.camera import Camera
from kinestream.pose import Person, PoseFrame
from kinestream.stream import (
    DEFAULT_ENDPOINT,
    OutputFrame,
    Publisher,
    StreamTimeoutError,
    Subscriber,
    decode,
    encode,
)
from kinestream.stream.binding import QUEUED_MESSAGES
from kinestream.tools import options
from kinestream.tools.bench.timing import measure, measure_paired, write_report

SUBSCRIBERS: Final = 20
PROCESSES: Final = 2
RATE_HZ: Final = 1000
LATE_JOINERS: Final = 8
ANY: Final = DEFAULT_ENDPOINT.replace("5556", "0")


def one_person() -> PoseFrame:
    """A frame with one person, of arbitrary numbers."""
    random = np.random.default_rng(0)
    quats = random.normal(size=(22, 4)).astype(np.float32)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    points = random.normal(size=(47, 3)).astype(np.float32)
    person = Person(
        track_id=0,
        score=0.9,
        box_xyxy_px=np.float32([0, 0, 100, 200]),  # type: ignore[arg-type]
        root_quat_wxyz=quats[0],
        translation_m=points[0],
        joint_quats_wxyz=quats[1:],
        betas=points.ravel()[:10],
        joints_cam_m=points[:24],
        joint_std_m=np.full(24, 0.05, np.float32),
        keypoints_cam_m=points[24:],
        keypoints_px=np.abs(points[24:]).clip(0, 1),
    )
    camera = Camera.from_fov(1280, 720)
    return PoseFrame(frame_index=0, t_capture_ns=0, camera=camera, persons=(person,))


def costs(frame: PoseFrame, repeats: int) -> dict[str, Any]:
    """Milliseconds per message of publishing (alone, with a reader, with one that stalls) and of reading."""
    with contextlib.ExitStack() as stack:
        names = ("no_subscriber", "one_subscriber", "one_stalled_subscriber", "unity_axes")
        publishers = {
            name: stack.enter_context(
                Publisher(ANY, output=OutputFrame("unity") if name == "unity_axes" else None)
            )
            for name in names
        }
        stack.enter_context(readers(publishers["one_subscriber"].endpoint, 1, 1))
        stack.enter_context(Subscriber(publishers["one_stalled_subscriber"].endpoint))
        for _ in range(3000):  # fill all that may hold messages for the one who never reads
            publishers["one_stalled_subscriber"].publish(frame, clock="media")

        def call(publisher: Publisher) -> Callable[[], object]:
            return lambda: publisher.publish(frame, clock="media")

        publish = measure_paired({name: call(p) for name, p in publishers.items()}, repeats=repeats)
        message = publishers["no_subscriber"].publish(frame, clock="media")
    data = encode(message)
    return {
        "message_bytes": len(data),
        "publish": publish,
        "encode": measure(lambda: encode(message), repeats=repeats),
        "decode": measure(lambda: decode(data), repeats=repeats),
    }


def load(frame: PoseFrame, seconds: float) -> dict[str, Any]:
    """Messages at 1,000 a second to 20 subscribers; what each of them got."""
    count = round(seconds * RATE_HZ)
    with Publisher(ANY) as publisher, readers(publisher.endpoint, SUBSCRIBERS, PROCESSES) as pipes:
        start_s = time.perf_counter()
        late = 0
        for number in range(count):
            due_s = start_s + number / RATE_HZ
            late += time.perf_counter() > due_s + 0.005
            while (left_s := due_s - time.perf_counter()) > 0:
                time.sleep(left_s)
            publisher.publish(frame, clock="media")
        took_s = time.perf_counter() - start_s
        time.sleep(1)
        received: list[int] = []
        for pipe in pipes:
            pipe.send("how many?")
            received += pipe.recv()
    return {
        "messages": count,
        "subscribers": SUBSCRIBERS,
        "per_second": round(count / took_s, 1),
        "sent_over_5_ms_late": late,
        "received_by_each": {"least": min(received), "most": max(received)},
        "lost": sum(count - got for got in received),
    }


def late_joiners(frame: PoseFrame) -> dict[str, Any]:
    """Seconds from connecting to the first heartbeat, which holds names and clocks, and to the first pose."""
    beats, poses = [], []
    with Publisher(ANY) as publisher:
        random = np.random.default_rng(1)
        for _ in range(LATE_JOINERS):
            time.sleep(random.uniform(0, 1))
            start_s = time.perf_counter()
            first_pose = None
            with Subscriber(publisher.endpoint) as subscriber:
                while subscriber.heartbeat is None:
                    publisher.publish(frame, clock="media")
                    with contextlib.suppress(StreamTimeoutError):
                        subscriber.receive(timeout_ms=5)
                        first_pose = first_pose or time.perf_counter() - start_s
                beats.append(round(time.perf_counter() - start_s, 3))
                poses.append(round(first_pose or 0.0, 3))
    return {"heartbeat_every_s": 1.0, "to_heartbeat_s": beats, "to_pose_s": poses, "longest_s": max(beats)}


@contextlib.contextmanager
def readers(endpoint: str, count: int, processes: int) -> Iterator[list[Connection]]:
    """Subscribers in other processes, all of them connected when this returns."""
    context = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    for _ in range(processes):
        ours, theirs = context.Pipe()
        worker = context.Process(target=_read, args=(endpoint, count // processes, theirs), daemon=True)
        worker.start()
        pipes.append(ours)
        workers.append(worker)
    for pipe in pipes:
        pipe.recv()
    try:
        yield pipes
    finally:
        for pipe, worker in zip(pipes, workers, strict=True):
            pipe.send("done")
            worker.join(5)


def _read(endpoint: str, count: int, pipe: Connection) -> None:
    """Count distinct sequence numbers on each of several sockets, until asked."""
    context = zmq.Context()
    poller = zmq.Poller()
    sockets = []
    for _ in range(count):
        socket = context.socket(zmq.SUB)
        socket.linger = 0
        socket.subscribe(b"")
        socket.connect(endpoint)
        assert socket.recv().startswith(b"heartbeat\0")
        sockets.append(socket)
        poller.register(socket, zmq.POLLIN)
    seen: list[set[int]] = [set() for _ in sockets]
    pipe.send("ready")
    while not pipe.poll():
        for socket, _ in poller.poll(20):
            with contextlib.suppress(zmq.Again):
                while True:
                    topic, _, packed = socket.recv(zmq.NOBLOCK).partition(b"\0")
                    if topic == b"pose":
                        seen[sockets.index(socket)].add(msgpack.unpackb(packed)["sequence"])
    if pipe.recv() != "done":
        pipe.send([len(numbers) for numbers in seen])
        pipe.recv()
    context.destroy(linger=0)


def main(
    out: options.Report = Path("docs/benchmarks/stream.json"),
    repeats: options.Repeats = 1000,
    seconds: Annotated[float, typer.Option(min=1, help="Of the load test.")] = 10.0,
) -> None:
    """Measure what the stream costs, and what 20 subscribers get of it."""
    frame = one_person()
    report = {
        "queued_messages_per_subscriber": QUEUED_MESSAGES,
        "cost": costs(frame, repeats),
        "load": load(frame, seconds),
        "late_joiner": late_joiners(frame),
    }
    write_report(out, "stream", report)


if __name__ == "__main__":
    typer.run(main)
