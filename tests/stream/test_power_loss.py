"""The tracker's computer loses its power and comes back: no goodbye, the same address, a new tracker.

Two computers are two network namespaces, joined by a bridge. They vanish with the processes in them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PUBLISHER = """
import sys, time
from kinestream.stream import Publisher
print("on", flush=True)
sys.stdin.readline()
with Publisher("tcp://10.77.0.1:5556", insecure=True, heartbeat_s=0.1):
    print("publishing", flush=True)
    time.sleep(120)
"""

LISTENER = """
import contextlib, subprocess, sys, time
from kinestream.stream import StreamTimeoutError, Subscriber

def ip(*arguments, inside=None):
    enter = ["nsenter", "-t", str(inside), "-n"] if inside else []
    subprocess.run([*enter, "ip", *arguments], check=True)

def switch_on():
    computer = subprocess.Popen(
        ["unshare", "-n", sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    computer.stdout.readline()
    ip("link", "add", "ours", "type", "veth", "peer", "name", "theirs", "address", "02:00:00:00:77:01")
    ip("link", "set", "theirs", "netns", str(computer.pid))
    ip("link", "set", "ours", "master", "bridge", "up")
    ip("address", "add", "10.77.0.1/24", "dev", "theirs", inside=computer.pid)
    ip("link", "set", "theirs", "up", inside=computer.pid)
    computer.stdin.write(b"\\n"); computer.stdin.flush()
    assert computer.stdout.readline() == b"publishing\\n"
    return computer

def wait_for(condition, seconds):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        with contextlib.suppress(StreamTimeoutError):
            subscriber.receive(timeout_ms=50)
    print(subscriber.condition, "|", subscriber.describe(), "|", round(time.monotonic() - until + seconds, 1))

ip("link", "add", "bridge", "type", "bridge")
ip("address", "add", "10.77.0.2/24", "dev", "bridge")
ip("link", "set", "bridge", "up")
with Subscriber("tcp://10.77.0.1:5556") as subscriber:
    computer = switch_on()
    wait_for(lambda: subscriber.condition == "alive", 60)
    ip("link", "delete", "ours")  # the cable first: nothing that the system says on the way out arrives
    computer.kill(); computer.wait()
    wait_for(lambda: subscriber.condition != "alive", 60)
    wait_for(lambda: False, 5)
    first = subscriber.heartbeat.identity.stream_id
    computer = switch_on()
    wait_for(lambda: subscriber.heartbeat.identity.stream_id != first, 60)
    computer.kill(); computer.wait()
"""


def may_make_networks() -> bool:
    if sys.platform != "linux" or not all(shutil.which(tool) for tool in ("unshare", "nsenter", "ip")):
        return False
    make = "ip link add bridge type bridge && ip link add ours type veth peer name theirs"
    return (
        subprocess.run(["unshare", "-n", "sh", "-c", make], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not may_make_networks(), reason="needs the right to make network namespaces (root)")
def test_a_listener_finds_the_tracker_again(tmp_path: Path) -> None:
    script = tmp_path / "listener.py"
    script.write_text(LISTENER)
    done = subprocess.run(
        ["unshare", "-n", sys.executable, str(script), PUBLISHER],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before, noticed, during, after = done.stdout.splitlines()
    assert before.startswith("alive | the publisher is alive")
    assert noticed.startswith("silent | ") and during.startswith("silent | the publisher has been silent for")
    assert "is its computer on and connected?" in during
    assert after.startswith("alive | "), "deaf for ever without heartbeats"
