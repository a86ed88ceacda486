"""MediaPipe Pose on one clip, for `kinestream.tools.metrics.limbs.run_mediapipe`; prints one line of JSON.

    PYTHON mediapipe_run.py CLIP [--complexity 1] [--landmarks FILE]

Runs with the interpreter of an environment that has the package mediapipe; imports nothing of this project.
Frames are decoded and converted ahead, a batch at a time, so that ``pose`` is the processor time of the pose
solution alone, and ``cpu`` is that of the process from the file to the landmarks.
"""

import argparse
import json
import statistics
import time

import cv2
import mediapipe

WARM_UP_FRAMES = 30
BATCH = 60


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip")
    parser.add_argument("--complexity", type=int, default=1, help="1 is the full model")
    parser.add_argument("--landmarks", help="write the world landmarks here, as JSON")
    options = parser.parse_args()
    capture = cv2.VideoCapture(options.clip)
    frames = found = 0
    cpu_s = pose_s = 0.0
    times_ms = []
    landmarks = []
    with mediapipe.solutions.pose.Pose(model_complexity=options.complexity) as pose:
        while batch := (decoded := _decode(capture, BATCH))[0]:
            for image in batch:
                before, before_cpu = time.perf_counter(), time.process_time()
                result = pose.process(image)
                spent_s = time.process_time() - before_cpu
                frames += 1
                found += result.pose_landmarks is not None
                landmarks.append(_points(result.pose_world_landmarks))
                if frames > WARM_UP_FRAMES:
                    pose_s += spent_s
                    cpu_s += spent_s + decoded[1] / len(batch)
                    times_ms.append(1000 * (time.perf_counter() - before))
    if options.landmarks:
        with open(options.landmarks, "w", encoding="utf-8") as file:
            json.dump(landmarks, file)
    measured = frames - WARM_UP_FRAMES
    print(  # noqa: T201 - the report is this script's output
        json.dumps(
            {
                "version": mediapipe.__version__,
                "frames": frames,
                "people_per_frame": round(found / frames, 3),
                "pose_cpu_ms_per_frame": round(1000 * pose_s / measured, 3),
                "cpu_ms_per_frame": round(1000 * cpu_s / measured, 3),
                "pose_ms": {"p50": round(statistics.median(times_ms), 3)},
                "fps": round(1000 / statistics.fmean(times_ms), 2),
            }
        )
    )


def _points(landmarks):
    """Metres (33, 3) as lists, or None."""
    return landmarks and [[point.x, point.y, point.z] for point in landmarks.landmark]


def _decode(capture, count):
    """The next pictures, RGB, and the processor time they took."""
    before = time.process_time()
    images = []
    while len(images) < count:
        ok, image = capture.read()
        if not ok:
            break
        images.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return images, time.process_time() - before


if __name__ == "__main__":
    main()
