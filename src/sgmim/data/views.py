"""Further random crops of a photograph beside its image, for methods that compare what they make
of several.

photograph ──┬──► "image" (3, H, W)
             ├──► "view"  (3, H, W)     cropped and colored once more
             └──► "parts" (n, 3, h, w)  small crops
"""

from dataclasses import dataclass

from sgmim.data import colors
from sgmim.data.crops import Size
from sgmim.errors import ConfigurationError, unknown

VIEWS = ("view", "parts")  # of a sample: made of its image, so whatever has images has them


@dataclass(frozen=True)
class Views:
    """What else is cut out of a photograph, where a method asks for it.

    Args:
        colors: of the second view (colors.py).
        parts: how many small crops.
        part_size: pixels of each, a side or down and across.
        part_scale: of each, share of the image's area.
        part_colors: of each.

    Raises:
        ConfigurationError: options that cannot be met.
    """

    colors: str = "none"
    parts: int = 8
    part_size: int | tuple[int, int] = 96
    part_scale: tuple[float, float] = (0.05, 0.4)
    part_colors: str = "none"

    def __post_init__(self):
        for name in (self.colors, self.part_colors):
            if name not in colors.SETS:
                raise unknown("set of colors", name, colors.SETS)
        if self.parts < 1 or min(self.small) < 1:
            raise ConfigurationError(
                f"views have 1 or more parts of 1 or more pixels, not {self.parts} of "
                f"{self.part_size}; a method that takes none has an option to say so"
            )
        if not 0 < self.part_scale[0] <= self.part_scale[1] <= 1:
            raise ConfigurationError(
                f"part_scale={self.part_scale} is a lower and an upper bound above 0, and no part "
                f"is larger than its image (scale 1)"
            )

    @property
    def small(self) -> Size:
        """Pixels of a small crop, down and across."""
        size = self.part_size
        return (size, size) if isinstance(size, int) else (size[0], size[1])
