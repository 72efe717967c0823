"""Rooms and streets made of random numbers: RGB-D data for those who have none.

Depth, normals and classes are exact. Colors, patterns and light are drawn without regard to where
things are, so depth can be read from the shapes in a picture but not from its colors.
"""

import mmap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sgmim import draws
from sgmim.data.cameras import Camera, pixel_rays, pose, rotate, turned
from sgmim.data.images import Sample
from sgmim.data.painting import Lights, Paint, illuminate, lit, paint, textured
from sgmim.data.raycast import Solids, cast, dot, each, join, length, pick, touch
from sgmim.data.scenery import SKY, Dice, room, street
from sgmim.errors import ConfigurationError, unknown

KINDS = ("rooms", "streets", "both")
FARTHEST = 80.0  # meters; whatever is farther, the sky too, is given this depth
CHUNK = 64  # scenes that are made together
MOST_GIB = 64  # of memory that scenes may take up
PICTURES = ("image", "second")
KEPT = {  # channels of each and how they are kept: 15 bytes a pixel in all, 12 without "second"
    "image": (3, torch.uint8),
    "depth": (1, torch.float16),
    "normals": (3, torch.float16),
    "classes": (1, torch.uint8),
    "second": (3, torch.uint8),
}


class Scenes:
    """A source of pictures with depth in meters, normals, classes, camera and a second picture of
    the same scene from nearby: see `render`.

    count: how many there are; together they take 12 bytes a pixel, 15 once a second picture is
        asked for, of at most 64 GiB.
    size: pixels a side, or down and across.
    seed: another one gives other scenes.
    kind: rooms (depth up to 10 m), streets (up to 80 m, the sky's too), or half of each.
    contrast: of the patterns on surfaces, 0 to 1; with less, shapes are learnt sooner.
    device: where they are made, not where they are kept.

    Scene `i` depends on `seed`, `i` and these alone, not on `count`. Scenes are made when first
    asked for, and kept, also for and by processes that are forked later. Their depth is then
    rounded to 1 in 2000. Raises ConfigurationError for options that cannot be met.
    """

    def __init__(
        self,
        count: int = 3000,
        *,
        size: int | tuple[int, int] = 64,
        seed: int = 0,
        kind: str = "both",
        contrast: float = 1.0,
        device: str = "cpu",
    ):
        if count < 1:
            raise ConfigurationError(f"{count} scenes are too few: ask for 1 or more")
        if not 0 <= contrast <= 1:
            raise ConfigurationError(f"a contrast lies between 0 and 1, and is not {contrast}")
        self.size, self.seed, self.kind, self.device = _checked(size, kind), seed, kind, device
        self.contrast = contrast
        _check_memory(count, *self.size)
        self.has = {*KEPT, "camera"}
        self.names = [f"scene {index} of seed {seed}" for index in range(count)]
        self._kept = self._space()

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int, needs: Collection[str] | None = None) -> Sample:
        """See `Source`. Depth is (1, H, W), normals (3, H, W), classes (1, H, W), camera (4,)."""
        if not 0 <= index < len(self):
            raise IndexError(f"no scene {index} among {len(self)}")
        needs = self.has if needs is None else self.has.intersection(needs)
        self._make(index // CHUNK, second="second" in needs)
        sample = {name: self._kept[name][index] for name in needs}
        return {n: x.clone() if n in PICTURES else x.float() for n, x in sample.items()}

    def prepare(self) -> Iterator[int]:
        """Make all scenes now, but for second pictures; yields how many there are so far."""
        for chunk in range(-(-len(self) // CHUNK)):
            self._make(chunk, second=False)
            yield min((chunk + 1) * CHUNK, len(self))

    def _make(self, chunk: int, *, second: bool) -> None:
        if self._kept["views"][chunk] > second:
            return
        span = range(len(self))[chunk * CHUNK : (chunk + 1) * CHUNK]
        keys = torch.tensor([draws.key(self.seed, index) for index in span], device=self.device)
        made = render(keys, self.size, self.kind, contrast=self.contrast, second=second)
        made["camera"] = _cameras(made["focal"], *self.size)
        if second:
            made["second"] = made["second_image"]
        for name in made.keys() & self.has:
            self._kept[name][span.start : span.stop] = made[name]
        self._kept["views"][chunk] = 1 + second  # last: two processes may both make it, and alike

    def _space(self) -> dict[str, Tensor]:
        """Where scenes are kept, and of how many views each chunk is. It takes up no memory until
        written to."""
        kept = {n: _shared(len(self), c, *self.size, dtype=t) for n, (c, t) in KEPT.items()}
        kept["camera"] = _shared(len(self), 4, dtype=torch.float32)
        return kept | {"views": _shared(-(-len(self) // CHUNK), dtype=torch.uint8)}

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

    def __setstate__(self, state: dict) -> None:  # a process that is not forked makes its own
        self.__dict__ |= state
        self._kept = self._space()


def _check_memory(count: int, height: int, width: int) -> None:
    each = height * width * sum(channels * kind.itemsize for channels, kind in KEPT.values())
    most = MOST_GIB * 2**30 // each
    if count > most:
        raise ConfigurationError(
            f"{count} scenes of {height} x {width} pixels would take {count * each / 2**30:.0f} "
            f"GiB of memory: ask for smaller ones, or for {most} or fewer ({MOST_GIB} GiB)"
        )


def _cameras(focal: Float[Tensor, " b"], height: int, width: int) -> Float[Tensor, "b 4"]:
    """Focal lengths and middle in pixels, see pinhole.py."""
    return torch.stack(
        [focal, focal, torch.full_like(focal, width / 2), torch.full_like(focal, height / 2)], dim=1
    )


def _shared(*shape: int, dtype: torch.dtype) -> Tensor:
    """Zeros that forked processes share. Unlike torch's, they need no room in /dev/shm."""
    memory = mmap.mmap(-1, prod(shape) * dtype.itemsize)
    return torch.frombuffer(memory, dtype=dtype).view(shape)


@dataclass(frozen=True)
class Scene:
    """All that there is to see, and from where; a batch of it."""

    keys: Int[Tensor, " b"]
    solids: Solids
    label: Int[Tensor, "b s"]  # class of each surface: all solids, then the shell's walls, ceiling
    paint: Paint
    lights: Lights
    first: Camera
    second: Camera
    noise: Float[Tensor, "b 1 1"]  # deviation of the sensor's, where white is 1


def render(
    keys: Int[Tensor, " b"],
    size: int | tuple[int, int] = 64,
    kind: str = "both",
    *,
    contrast: float = 1.0,
    second: bool = False,
) -> dict[str, Tensor]:
    """A picture of the scene of each key, and what is to be known about it.

    "image"    uint8 (b, 3, H, W)
    "depth"    float32 (b, 1, H, W): meters along the optical axis
    "normals"  float32 (b, 3, H, W): of length 1, towards the camera, in its frame: x right, y down,
               z forward; the sky's look straight at it
    "classes"  uint8 (b, 1, H, W): index into `scenery.CLASSES`
    "focal"    float32 (b,): pixels; the optical axis passes through the middle of the image

    With `second` there is "second_image" and so on of a view from nearby, and "rotation" (b, 3, 3)
    and "translation" (b, 3), in meters, which take points from the first camera's frame to the
    second's. Raises ConfigurationError where size or kind cannot be met.
    """
    height, width = _checked(size, kind)
    pixels = 2**13 if keys.device.type == "cpu" else 2**20  # at once: what fits the cache, or 1 GB
    step = max(1, pixels // (height * width))
    scenes, parts = draw(keys, kind, contrast), []
    for start in range(0, len(keys), step):
        scene = each(lambda tensor, at=slice(start, start + step): tensor[at], scenes)
        part = photograph(scene, scene.first, height, width)
        if second:
            other = photograph(scene, scene.second, height, width, stream=1)
            part |= {f"second_{name}": values for name, values in other.items()}
            part |= pose(scene.first, scene.second)
        parts.append(part)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _checked(size, kind):
    height, width = size if isinstance(size, tuple) else (size, size)
    if min(height, width) < 1 or height * width >= 2**20:  # as many numbers as a stream has
        raise ConfigurationError(f"no scene has {height} x {width} pixels; at most 1023 x 1023 do")
    if kind not in KINDS:
        raise unknown("kind of scene", kind, KINDS)
    return height, width


def draw(keys: Int[Tensor, " b"], kind: str, contrast: float = 1.0) -> Scene:
    """Decide on all that is in the scenes. Each has a room and a street, and takes one of them."""
    dice = Dice(keys)
    outdoors = dice.chance({"rooms": 0.0, "streets": 1.0, "both": 0.5}[kind])

    def choose(inside, outside):
        return torch.where(outdoors.view(-1, *[1] * (inside.dim() - 1)), outside, inside)

    place = each(choose, room(Dice(keys, 100)), street(Dice(keys, 200)))
    label = torch.cat([join(*place.solids.groups).label, place.beyond], 1)
    focal, roll = 0.5 / (place.view / 2).tan(), dice(-0.05, 0.05)
    ahead = turned(place.yaw, place.pitch, roll)
    aside = turned(place.yaw + dice(-0.15, 0.15), place.pitch + dice(-0.1, 0.1), -roll)
    return Scene(
        keys=keys,
        solids=place.solids,
        label=label,
        paint=paint(dice, label, place.grain, contrast),
        lights=illuminate(dice, place),
        first=Camera(place.eye, ahead, focal),
        second=Camera(place.eye + place.step, aside, focal),
        noise=dice(0, 0.03, 1, 1),
    )


def photograph(
    scene: Scene, camera: Camera, height: int, width: int, *, stream: int = 0
) -> dict[str, Tensor]:
    """What one camera sees of scenes; another `stream` of random numbers gives its own noise."""
    focal = camera.focal * max(height, width)
    course = rotate(camera.rotation, pixel_rays(focal, height, width))
    depth, which = cast(scene.solids, camera.position, course).min(1)
    point = camera.position[..., None] + depth[:, None] * course
    local, normal = touch(scene.solids, which, point)

    walls, down = scene.label.shape[1] - 2, normal[:, 1]
    which = which + (which == 0) * ((down < 0.5) * walls + (down < -0.5))  # the shell has a floor
    label = pick(scene.label[..., None], which)
    sky, bearing = label == SKY, course / length(course)
    local = torch.where(sky, bearing, local)  # it is nowhere: its pattern lies on directions
    normal = torch.where(sky, -bearing, normal)
    slant = dot(normal, bearing)
    normal = -slant.sign() * normal

    light = lit(scene.lights, scene.solids, point, normal)
    light = torch.where(sky, scene.lights.sky[..., None], light)
    far = torch.where(sky, 1, depth[:, None] * length(course))
    blur = far / focal[:, None, None] / slant.abs().clamp(min=0.05)
    color = textured(scene.paint, which, local, (down.abs() > 0.7).float(), blur[:, 0])
    maps = {
        "image": _exposed(color * light, scene.noise, scene.keys, stream),
        "depth": depth[:, None].clamp(max=FARTHEST),
        "normals": rotate(camera.rotation.mT, normal),
        "classes": label.to(torch.uint8),
    }
    return {name: x.unflatten(2, (height, width)) for name, x in maps.items()} | {"focal": focal}


def _exposed(light, noise, keys, stream):
    """The bytes that a sensor makes of light, each channel of each pixel with its own noise."""
    streams = range(1000 + 3 * stream, 1003 + 3 * stream)
    uniform = torch.stack([draws.uniform(keys, light.shape[2], number) for number in streams], 1)
    value = light.clamp(0, 1).sqrt()  # a gamma of 2: nearly that of sRGB, and cheaper
    value = value + noise * 12**0.5 * (uniform - 0.5)
    return (255 * value.clamp(0, 1)).round().to(torch.uint8)
