"""The folder of results: each video's files appear all at once or not at all, and a manifest lists them.

    RESULTS/manifest.json            every video with its state
    RESULTS/a/clip.mp4/result.json   what was done, with which settings, from which file
    RESULTS/a/clip.mp4/poses.npz     poses.jsonl, overlay.mp4: as asked for
    RESULTS/.partial/                work in progress

A worker fills a folder of its own below ``.partial`` and renames it into place. Renaming is atomic and fails
where a result exists, so that of two workers on the same video one wins and the other's work is dropped.
Everything lies on one file system, which a cluster's computers must share.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kinestream.tools.batch.videos import Settings, Video
from kinestream.tools.sinks.base import naming

PARTIAL, MANIFEST, RESULT, LOCK = ".partial", "manifest.json", "result.json", ".lock"
SCHEMA = 1


class ResultFolder:
    """The results below one folder. Made anew by every worker; holds no open files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def place_of(self, video: Video) -> Path:
        """Where the results of a video are, or will be."""
        return self.path / video.name

    def summary(self, video: Video) -> dict[str, Any] | None:
        """What ``result.json`` says, or None where the video has no complete result."""
        try:
            content = json.loads((self.place_of(video) / RESULT).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return content if isinstance(content, dict) else None

    def is_done(self, video: Video, settings: Settings) -> bool:
        """Whether a result exists that was made from this very file with these settings."""
        found = self.summary(video)
        return (
            found is not None
            and tuple(found["fingerprint"]) == video.fingerprint
            and {**Settings().as_json(), **found["settings"]} == settings.as_json()  # options may be newer
        )

    def begin(self) -> Path:
        """A new empty folder to work in. Raises ``OSError``."""
        folder = self.path / PARTIAL / uuid.uuid4().hex
        folder.mkdir(parents=True)
        return folder

    def publish(
        self, work: Path, video: Video, settings: Settings, summary: dict[str, Any]
    ) -> dict[str, Any]:
        """Move a filled folder into place; returns its ``result.json``, or that of a faster worker.

        An older result, of another file or other settings, is replaced. Raises ``OSError``.
        """
        content = {
            "schema": SCHEMA,
            "video": video.name,
            "source": str(video.path),
            "fingerprint": list(video.fingerprint),
            "settings": settings.as_json(),
            **summary,
        }
        with naming(self.place_of(video) / RESULT):
            (work / RESULT).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        place = self.place_of(video)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists() and self.summary(video) is None:
            raise FileExistsError(f"{place}: is no result of a batch and is left alone; use another --out")
        if place.exists() and not self.is_done(video, settings):
            outdated = self.begin() / "outdated"
            os.rename(place, outdated)
            shutil.rmtree(outdated.parent)
        try:
            os.rename(work, place)
        except OSError:
            theirs = self.summary(video)
            if theirs is None:
                raise
            shutil.rmtree(work)
            return theirs
        return content

    def clean(self) -> None:
        """Remove what interrupted workers left behind; nobody may be working."""
        shutil.rmtree(self.path / PARTIAL, ignore_errors=True)

    def known_broken(self) -> dict[str, tuple[tuple[int, int], str]]:
        """By name of the video, fingerprint and reason of those that an earlier run could not process."""
        try:
            rows = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))["videos"]
        except FileNotFoundError:
            return {}
        return {
            row["video"]: ((row["fingerprint"][0], row["fingerprint"][1]), row["reason"])
            for row in rows
            if row["state"] == "broken"
        }

    def write_manifest(self, settings: Settings, rows: Iterable[dict[str, Any]]) -> None:
        """Replace the manifest in one step. Raises ``OSError``."""
        content = {"schema": SCHEMA, "settings": settings.as_json(), "videos": list(rows)}
        draft = self.path / (MANIFEST + ".new")
        with naming(self.path / MANIFEST):
            draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            os.replace(draft, self.path / MANIFEST)
