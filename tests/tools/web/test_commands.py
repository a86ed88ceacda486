"""The page from the command line, and what is played on it."""

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("viser", reason="needs the extra 'web'")

from kinestream.tools.recordings import recorded_frames, span_ns
from kinestream.tools.web.player import Player

WALK = [{0: (40 + 2 * i, 60, 50, 120)} for i in range(10)]
Command = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("stand_ins")


@pytest.fixture
def recording(kinestream: Command, block_video: Callable[..., Path], tmp_path: Path) -> Path:
    walk = tmp_path / "walk.mcap"
    assert kinestream("run", block_video(WALK), "--no-publish", "--record", walk, "--pictures")[0] == 0
    return walk


def test_run_says_where_the_page_is_and_keeps_standard_output(
    kinestream: Command, block_video: Callable[..., Path]
) -> None:
    code, out, err = kinestream("run", block_video(WALK), "--no-publish", "--json", "-", "--web", "0")
    assert code == 0
    assert "http://127.0.0.1:" in err and "in a browser" in err
    assert [json.loads(line)["frame_index"] for line in out.splitlines()] == list(range(len(WALK)))


def test_a_port_that_is_taken_is_told(kinestream: Command, block_video: Callable[..., Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = kinestream("run", block_video(WALK), "--no-publish", "--web", port)
    assert code == 1 and str(port) in err and "in use" in err


def test_a_page_writes_no_file(kinestream: Command, recording: Path, tmp_path: Path) -> None:
    code, _, err = kinestream("view", recording, "--web", "0", "--rrd", tmp_path / "x.rrd")
    assert code == 1 and "--rrd" in err


def test_a_recording_is_played_from_any_time(recording: Path) -> None:
    first_ns, last_ns = span_ns(recording)
    frames = list(recorded_frames(recording))
    assert [frame.poses.frame_index for frame in frames] == list(range(len(WALK)))
    assert all(frame.jpeg for frame in frames) and frames[-1].t_ns == last_ns
    middle = list(recorded_frames(recording, from_ns=frames[6].t_ns))
    assert [frame.poses.frame_index for frame in middle] == [6, 7, 8, 9]

    player = Player(recording, "127.0.0.1:0")
    shown: list[int] = []
    show = player.page.show
    with player.page:
        player.page.show = lambda update: (shown.append(update.poses.frame_index), show(update))  # type: ignore[method-assign, assignment, func-returns-value]
        player._set("speed", 4.0)
        player.play(rounds=1)
        assert shown == list(range(len(WALK)))
        player._set("playing", False)
        player._set("time_s", (frames[6].t_ns - first_ns) / 1e9)
        playing = threading.Thread(target=player.play, kwargs={"rounds": 1})
        playing.start()
        while shown[-3:] != [6, 6, 6]:  # held
            time.sleep(0.02)
        player._set("playing", True)
        playing.join()
    assert shown[-4:] == [6, 7, 8, 9]
