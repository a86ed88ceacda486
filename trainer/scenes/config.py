"""The configuration of the synthetic scenes in one place."""

from dataclasses import dataclass, fields

Range = tuple[float, float]


@dataclass(frozen=True)
class SceneConfig:
    """How scenes are made. Shares are probabilities; ranges are uniform unless stated.

    Raises ValueError for a share outside of 0..1 or a range that is not in order.
    """

    # picture
    samples: int = 2
    """Samples per pixel and axis."""
    image_sizes_px: tuple[tuple[int, int], ...] = (
        (1280, 720), (1280, 720), (640, 480), (1920, 1080), (960, 540), (720, 1280), (800, 800),
    )  # fmt: skip
    """Width and height of the full picture, one chosen at random."""
    fov_deg: Range = (35.0, 92.0)
    """Diagonal field of view."""

    # camera against the world
    camera_height_m: tuple[float, float, float] = (0.3, 1.4, 4.0)
    """Height above the floor: lowest, most frequent, highest (triangular)."""
    pitch_deg: Range = (-25.0, 60.0)
    """Downward tilt, which follows from height, distance and place, is kept in this range."""
    roll_sigma_deg: float = 3.0

    # person against the camera
    size_range: Range = (0.2, 1.3)
    """Height of a standing adult over the height of the picture; log-uniform."""
    min_depth_m: float = 0.9
    truncation_share: float = 0.2
    """How often a person may stand partly outside of the picture."""

    # content
    hdri_share: float = 0.5
    """How often the background is a panorama; else a photo."""
    shadow_share: float = 0.75

    # photographic augmentation
    noise_share: float = 0.7
    noise_sigma: Range = (0.5, 9.0)
    """Standard deviation in 8-bit steps at mid gray; log-uniform."""
    exposure_sigma_stops: float = 0.35
    contrast_sigma: float = 0.12
    white_balance_sigma: float = 0.05
    saturation: Range = (0.5, 1.3)
    gray_share: float = 0.03
    low_light_share: float = 0.1
    jpeg_share: float = 0.5
    jpeg_quality: Range = (25.0, 95.0)

    # clips
    clip_fps: float = 30.0
    clip_size_range: Range = (0.45, 0.8)
    """Height of a standing adult over the height of the picture in clips."""
    camera_shake_deg: float = 0.35
    """Standard deviation of the camera's smooth shake in clips."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_share") and not 0.0 <= value <= 1.0:
                raise ValueError(f"{field.name} is a probability in 0..1; found {value}")
            if field.type in ("Range", Range) and not value[0] <= value[1]:
                raise ValueError(f"{field.name} must be (low, high); found {value}")
        if self.samples < 1 or not self.image_sizes_px:
            raise ValueError(
                f"scenes need samples >= 1 and an image size; found {self.samples}, {self.image_sizes_px}"
            )

    @classmethod
    def clean(cls) -> "SceneConfig":
        """No photographic augmentation: what a perfect camera sees."""
        return cls(
            noise_share=0.0,
            exposure_sigma_stops=0.0,
            contrast_sigma=0.0,
            white_balance_sigma=0.0,
            saturation=(1.0, 1.0),
            gray_share=0.0,
            low_light_share=0.0,
            jpeg_share=0.0,
            camera_shake_deg=0.0,
        )
