"""Readers of a stream for benchmarks, in a process that loads little.

python -m kinestream.tools.bench.speed.stream_reader zeromq|websocket ADDRESS COUNT

Prints "ready" once all have heard something, reads until its standard input ends, and prints for one of them
a JSON map from sequence number to milliseconds between publishing and having the message. Both use asyncio.
"""

import asyncio
import json
import sys
import time

import msgpack
import zmq
import zmq.asyncio


class Delays(dict[int, float]):
    """Milliseconds by sequence number."""

    def take(self, data: bytes) -> None:
        """A message that is here now."""
        now_ns = time.monotonic_ns()
        topic, _, packed = data.partition(b"\0")
        if topic == b"pose":
            content = msgpack.unpackb(packed)
            self[content["sequence"]] = (now_ns - content["t_publish_ns"]) / 1e6


async def listen_to_zeromq(address: str, delays: Delays, heard: asyncio.Event) -> None:
    """Read until cancelled."""
    subscriber = zmq.asyncio.Context.instance().socket(zmq.SUB)
    subscriber.linger = 0
    subscriber.subscribe(b"")
    subscriber.connect(address)
    while True:
        delays.take(await subscriber.recv())
        heard.set()


async def listen_to_websocket(address: str, delays: Delays, heard: asyncio.Event) -> None:
    """Read until cancelled."""
    from websockets.asyncio.client import connect

    async with connect(address) as connection:
        while True:
            delays.take(await connection.recv(decode=False))
            heard.set()


async def main(kind: str, address: str, count: int) -> None:
    """Listen with so many readers, and print what one of them saw."""
    listen = listen_to_zeromq if kind == "zeromq" else listen_to_websocket
    readers = [(Delays(), asyncio.Event()) for _ in range(count)]
    tasks = [asyncio.create_task(listen(address, *reader)) for reader in readers]
    await asyncio.gather(*(heard.wait() for _, heard in readers))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    sys.stdout.write(json.dumps(readers[0][0]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
