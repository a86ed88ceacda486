"""A real RTSP server (GStreamer's), run by the system's own Python: pictures of a file, again and again.

    /usr/bin/python3 rtsp_server.py PORT FPS FILE

``FILE`` holds H.264 access units, each behind its length in 4 bytes. Says on standard output when (monotonic
clock, ns) it sends which of them.
"""

import sys
import threading
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PORT, FPS, DATA = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]).read_bytes()


def access_units() -> list[bytes]:
    units, at = [], 0
    while at < len(DATA):
        end = at + 4 + int.from_bytes(DATA[at : at + 4], "big")
        units.append(DATA[at + 4 : end])
        at = end
    return units


def feed(source: Gst.Element) -> None:
    units, due_s, count = access_units(), time.monotonic(), 0
    while True:
        number = count % len(units)
        sys.stdout.write(f"{number} {time.monotonic_ns()}\n")
        sys.stdout.flush()
        if source.emit("push-buffer", Gst.Buffer.new_wrapped(units[number])) != Gst.FlowReturn.OK:
            return
        count += 1
        due_s += 1 / FPS
        time.sleep(max(0, due_s - time.monotonic()))


def configure(_: object, media: GstRtspServer.RTSPMedia) -> None:
    source = media.get_element().get_by_name_recurse_up("source")
    threading.Thread(target=feed, args=(source,), daemon=True).start()


Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(PORT)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_shared(True)
factory.set_launch(
    "( appsrc name=source is-live=true do-timestamp=true format=time "
    f'caps="video/x-h264,stream-format=byte-stream,alignment=au,framerate={FPS}/1" '
    "! rtph264pay config-interval=1 name=pay0 pt=96 )"
)
factory.connect("media-configure", configure)
server.get_mount_points().add_factory("/camera", factory)
server.attach(None)
GLib.MainLoop().run()
