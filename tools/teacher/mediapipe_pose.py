"""MediaPipe's pose solution as the teacher. Its wheel carries the models; it needs numpy < 2."""

from typing import Final

import numpy as np

from kinestream.tools.teacher.labels import Image, Landmarks

VERSION: Final = "0.10.21"


class MediaPipeTeacher:
    """``mp.solutions.pose.Pose`` on single pictures (no tracking between them)."""

    def __init__(self, *, complexity: int = 1, min_detection: float = 0.5) -> None:
        """Start the solution.

        ``complexity`` 1 is its full model, the only one that the wheel carries; people below a confidence of
        ``min_detection`` are left out. Raises ``ImportError`` where MediaPipe is missing.
        """
        try:
            from mediapipe.python.solutions.pose import Pose
        except ImportError as error:
            raise ImportError(
                f"the teacher needs MediaPipe {VERSION} in an environment of its own (it needs numpy < 2): "
                "python -m venv teacher && teacher/bin/pip install 'kinestream[teacher]'"
            ) from error
        self._pose = Pose(
            static_image_mode=True,
            model_complexity=complexity,
            enable_segmentation=True,
            min_detection_confidence=min_detection,
        )

    def __call__(self, image_rgb: Image) -> Landmarks | None:
        """Label the most prominent person of a picture (H, W, 3)."""
        result = self._pose.process(np.ascontiguousarray(image_rgb))
        if result.pose_landmarks is None:
            return None
        height, width = image_rgb.shape[:2]
        image = np.array(
            [(p.x * width, p.y * height, p.z, p.visibility) for p in result.pose_landmarks.landmark],
            np.float32,
        )
        world = np.array([(p.x, p.y, p.z) for p in result.pose_world_landmarks.landmark], np.float32)
        mask = np.zeros((height, width), np.float32)
        if result.segmentation_mask is not None:
            mask = np.asarray(result.segmentation_mask, np.float32)
        return Landmarks(image, world, mask)

    def close(self) -> None:
        """Free the solution's memory."""
        self._pose.close()
