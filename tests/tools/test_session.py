"""A session closes what it opened, in any case, and tells which of its files failed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kinestream.models import Models
from kinestream.stream import Publisher, read_poses
from kinestream.tools.session import Outputs, Session

Video = Callable[..., Path]
WALK = [{0: (40 + 2 * i, 60, 50, 120)} for i in range(6)]


def test_what_was_opened_is_closed_where_something_fails(
    block_models: Models, block_video: Video, tmp_path: Path
) -> None:
    publisher = Publisher("tcp://127.0.0.1:0")
    outputs = Outputs(npz=tmp_path / "poses.npz", save_video=Path("/nowhere/video.mp4"))
    with pytest.raises(FileNotFoundError):
        Session(block_video(WALK), outputs=outputs, publisher=publisher, models=block_models)
    assert [path.name for path in tmp_path.glob("poses*")] == ["poses.npz"], "the archive was completed"
    with Publisher(publisher.endpoint) as again:
        assert again.bound, "the address is free again"


def test_frames_are_written_before_they_are_seen(
    block_models: Models, block_video: Video, tmp_path: Path
) -> None:
    outputs = Outputs(npz=tmp_path / "poses.npz", record=tmp_path / "walk.mcap")
    lines: list[str] = []
    with Session(block_video(WALK), outputs=outputs, models=block_models, tell=lines.append) as session:
        seen = [poses.frame_index for _, poses in session.frames(max_frames=4)]
        assert session.frame_s > 0
        session.check()
    assert seen == [0, 1, 2, 3]
    assert np.load(tmp_path / "poses.npz")["frame_index"].tolist() == seen
    assert [message.frame.frame_index for message in read_poses(tmp_path / "walk.mcap")] == seen
    assert len(lines) == 1 and "320x240" in lines[0], "a stream that is only recorded is not announced"


def test_a_failed_file_is_told_by_check(block_models: Models, block_video: Video, tmp_path: Path) -> None:
    full = tmp_path / "full.jsonl"
    full.symlink_to("/dev/full")
    if not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    with Session(block_video(WALK), outputs=Outputs(json=full), models=block_models) as session:
        assert len(list(session.frames())) == len(WALK)
        session.sinks.close()
        with pytest.raises(OSError, match="No space left on device"):
            session.check()
