"""What stands where in rooms and streets, drawn from each scene's own random numbers."""

from dataclasses import dataclass
from math import radians, tau

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sgmim import draws
from sgmim.data.raycast import Group, Solids, join

CLASSES = ("floor", "wall", "ceiling", "sky", "box", "ball", "cylinder")
FLOOR, WALL, CEILING, SKY, BOX, BALL, CYLINDER = range(len(CLASSES))
BURIED = 1000.0  # meters down: there waits what a scene does without, since all have equally many


@dataclass(frozen=True)
class Place:
    """What is there and how a camera may look at it; lengths in meters, angles in radians."""

    solids: Solids
    beyond: Int[Tensor, "b 2"]  # classes of the shell's walls and of its ceiling; it has a floor
    lamps: Float[Tensor, "b 2 3"]
    reach: Float[Tensor, "b 2"]  # of the lamps, to where half their light is left
    grain: Float[Tensor, "b 1"]  # a middling period of textures
    eye: Float[Tensor, "b 3"]
    step: Float[Tensor, "b 3"]  # from the first to the second view
    yaw: Float[Tensor, " b"]  # of the camera, to the right
    pitch: Float[Tensor, " b"]  # down
    view: Float[Tensor, " b"]  # angle across the longer side of the image


class Dice:
    """Random numbers for a batch of scenes, each from its own key; every throw is a new one."""

    def __init__(self, keys: Int[Tensor, " b"], throws: int = 0):
        self.keys, self.throws = keys, throws

    def __call__(self, low, high, *shape: int) -> Float[Tensor, "b *shape"]:
        """Evenly spread between `low` and `high`, which broadcast."""
        count = torch.Size(shape).numel()
        return low + (high - low) * draws.uniform(self.keys, count, self._next()).view(-1, *shape)

    def chance(self, share: float, *shape: int) -> Bool[Tensor, "b *shape"]:
        return self(0, 1, *shape) < share

    def pick(self, count: int, among: int) -> Int[Tensor, "b count"]:
        """`count` different ones of 0 .. among - 1."""
        return draws.order(self.keys, among, self._next())[:, :count]

    def always(self, *values: int | float) -> Float[Tensor, "b n"]:
        row = torch.tensor(values, dtype=torch.float32, device=self.keys.device)
        return row.expand(len(self.keys), -1)

    def _next(self) -> int:
        self.throws += 1
        return self.throws


def room(dice: Dice) -> Place:
    """A furnished room, seen from near one of its ends."""
    width, long, tall = dice(3, 6, 1), dice(3.5, 8, 1), dice(2.3, 3.2, 1)
    eye = torch.cat([dice(-0.25, 0.25, 1) * width, dice(-1.8, -1, 1), dice(0.5, 0.2 * long, 1)], 1)
    near = eye[:, 2:] + 1.2  # from where on things stand
    across, along = dice.always(-1 / 2, -1 / 6, 1 / 6, 1 / 2), dice.always(0, 0.25, 0.5, 0.75, 1)
    spots = scatter(dice, 12, width * across, near + (long - near) * along)
    desk, post, roll, toy = spots.split((4, 4, 2, 2), 1)
    most = torch.minimum(width / 6, (long - near) / 8)  # half of the share of floor each has

    def small(low, high, *shape):
        return torch.minimum(dice(low, high, *shape), most)

    height = torch.where(dice.chance(0.25, 4), dice(0.8, 1, 4), dice(0.15, 0.5, 4))
    desks = put(desk, (small(0.2, 0.7, 4), height, small(0.2, 0.7, 4)), askew(dice, 4), BOX)
    wide, _, deep = (desks.half[:, :2] * dice(0.3, 0.8, 2, 3)).unbind(2)
    parcels = put(tops(desks)[:, :2], (wide, dice(0.05, 0.2, 2), deep), askew(dice, 2), BOX)

    radius = torch.cat([dice(0.04, 0.07, 3), small(0.12, 0.3, 1)], 1)
    height = torch.cat([dice(0.3, 0.4, 1), dice(0.3, 0.8, 2), dice(0.2, 0.6, 1)], 1)
    posts = put(post, (radius, height, radius), dice(0, tau, 4), CYLINDER)
    board = dice(0.3, 0.6, 1), dice(0.015, 0.04, 1), dice(0.3, 0.6, 1)
    table = put(tops(posts)[:, :1], board, askew(dice, 1), BOX)

    radius = small(0.08, 0.3, 2)
    rolls = put(roll, (small(0.15, 0.6, 2), radius, radius), dice(0, tau, 2), CYLINDER)
    radius = torch.cat([small(0.1, 0.35, 2), dice(0.1, 0.25, 2)], 1)  # toys, then lamp shades
    toy = torch.cat([toy, tops(posts)[:, 1:3]], 1)
    balls = put(toy, (radius, radius, radius), dice(0, tau, 4), BALL)

    middle = torch.stack([width * dice(-0.2, 0.2, 1), 0 * width, near + dice(0, 1.5, 1)], 2)
    rug = carpet(dice, middle, (width * dice(0.2, 0.4, 1), dice(0.6, 1.4, 1)), askew(dice, 1))
    boxes = join(fittings(dice, width, near - 0.4, long), rug, desks, parcels, table)
    under = -tall * dice(0.8, 0.97, 2)
    return Place(
        solids=Solids(shell(width, tall, 0 * long, long), boxes, balls, posts, rolls),
        beyond=dice.always(WALL, CEILING).long(),
        lamps=torch.stack([width * dice(-0.4, 0.4, 2), under, long * dice(0.1, 0.9, 2)], 2),
        reach=dice(2, 5, 2),
        grain=dice.always(0.3),
        eye=eye,
        step=dice(-0.3, 0.3, 3),
        yaw=dice(radians(-25), radians(25)),
        pitch=dice(radians(-5), radians(20)),
        view=dice(radians(50), radians(80)),
    )


def fittings(dice, width, near, long):
    """Doors and cupboards that reach the floor, pictures and shelves that do not: two a wall."""
    wall, slot = dice.always(-1, -1, 1, 1, 0, 0), dice.always(0, 1, 0, 1, 0, 1)
    side = wall != 0  # the others are on the far wall
    run, start = torch.where(side, long - near, width), torch.where(side, near, -width / 2)
    broad = (run * dice(0.08, 0.22, 6)).clamp(max=0.8)
    deep = torch.where(dice.chance(0.5, 6), dice(0.01, 0.03, 6), dice(0.08, 0.22, 6))
    door = dice.chance(0.4, 6)
    high = torch.where(door, dice(0.9, 1.05, 6), dice(0.15, 0.5, 6))
    low = torch.where(door, 0, dice(0.7, 1.2, 6)) - BURIED * dice.chance(0.3, 6)
    along = start + run * (slot + dice(0.35, 0.65, 6)) / 2
    x, z = (
        torch.where(side, wall * (width / 2 - deep), along),
        torch.where(side, along, long - deep),
    )
    half = torch.where(side, deep, broad), high, torch.where(side, broad, deep)
    return put(torch.stack([x, -low, z], 2), half, 0 * x, BOX)


def street(dice: Dice) -> Place:
    """A street between houses, seen from the road: cars and litter, trees and signs."""
    road, walk = dice(3.5, 6, 1), dice(2, 4, 1)  # half of the road; one sidewalk
    eye = torch.cat([dice(-0.6, 0.6, 1) * road, dice(-2.5, -1.2, 1), 0 * road], 1)
    along = dice.always(5, 9, 15, 25, 42)
    spots = scatter(dice, 8, road * dice.always(-1, 0, 1), along)
    car, roll, toy = spots.split((4, 2, 2), 1)
    edge = road + walk * dice.always(0.1, 0.8)
    post = torch.cat([scatter(dice, 2, -edge, along), scatter(dice, 2, edge, along)], 1)

    van = dice.chance(0.25, 4) & (dice.always(0, 0, 1, 1) > 0)  # the first two are cars
    height = torch.where(van, dice(0.9, 1.5, 4), dice(0.35, 0.5, 4))
    heading = dice(-0.12, 0.12, 4) + tau / 4 * dice.chance(0.15, 4)
    cars = put(car, (dice(0.8, 1, 4), height, dice(1.6, 2.4, 4)), heading, BOX)
    wide, _, deep = cars.half[:, :2].unbind(2)
    cabin = wide * 0.85, dice(0.25, 0.35, 2), deep * dice(0.4, 0.65, 2)
    cabins = put(tops(cars)[:, :2], cabin, heading[:, :2], BOX)

    radius = torch.cat([dice(0.06, 0.1, 1), dice(0.12, 0.3, 2), dice(0.2, 0.5, 1)], 1)
    height = torch.cat([dice(1.1, 1.5, 1), dice(1, 2, 2), dice(0.4, 1, 1)], 1)
    posts = put(post, (radius, height, radius), dice(0, tau, 4), CYLINDER)
    plate = dice(0.3, 0.6, 1), dice(0.25, 0.5, 1), dice(0.02, 0.05, 1)
    sign = put(tops(posts)[:, :1], plate, dice(-0.4, 0.4, 1), BOX)

    radius = dice(0.3, 0.7, 2)
    rolls = put(roll, (dice(0.6, 2, 2), radius, radius), dice(0, tau, 2), CYLINDER)
    radius = torch.cat([dice(0.3, 0.8, 2), dice(0.8, 2, 2)], 1)[..., None]  # litter, then tree tops
    toy = torch.cat([toy, tops(posts)[:, 1:3]], 1)
    balls = put(toy, (radius * dice(0.8, 1.2, 4, 3)).unbind(2), dice(0, tau, 4), BALL)

    lane = carpet(dice, dice.always(0, 0, 40)[:, None], (road, dice.always(60)), 0 * road)
    boxes = join(houses(dice, road + walk), lane, cars, cabins, sign)
    east, up = dice(0, tau, 2), dice(radians(25), radians(70), 2)
    sun = torch.stack([up.cos() * east.cos(), -up.sin(), up.cos() * east.sin()], 2)
    wide = dice.always(1000)  # so that its walls are beyond FARTHEST: they are sky
    return Place(
        solids=Solids(shell(wide, 2 * wide, -wide / 2, wide / 2), boxes, balls, posts, rolls),
        beyond=dice.always(SKY, SKY).long(),
        lamps=300 * sun,
        reach=dice.always(1e6, 1e6),
        grain=dice.always(1),
        eye=eye,
        step=dice(-0.6, 0.6, 3),
        yaw=dice(radians(-25), radians(25)),
        pitch=dice(radians(-5), radians(12)),
        view=dice(radians(50), radians(85)),
    )


def houses(dice, distance):
    """Three on each side, one behind the other, some of them joined and some missing."""
    long, gap = dice(4, 11, 2, 3), dice(-10, 8, 2, 3).relu()
    end = (2 * long + gap).cumsum(2) - dice(5, 15, 2, 1)
    z = (end - long).flatten(1)
    deep, back = dice(3, 8, 6), dice(-4, 3, 6).relu()
    x = dice.always(-1, -1, -1, 1, 1, 1) * (distance + deep + back)
    spots = torch.stack([x, BURIED * dice.chance(0.12, 6), z], 2)
    return put(spots, (deep, dice(2, 8, 6), long.flatten(1)), dice(-0.03, 0.03, 6), WALL)


def scatter(dice, count, across, along, missing=0.35):
    """Spots on the ground in different cells of a grid with edges at x `across` and z `along`."""
    columns = across.shape[1] - 1
    cell = dice.pick(count, columns * (along.shape[1] - 1))
    x = between(across, cell % columns, dice(0.3, 0.7, count))
    z = between(along, cell // columns, dice(0.3, 0.7, count))
    return torch.stack([x, BURIED * dice.chance(missing, count), z], 2)


def between(edges, cell, share):
    low, high = edges.gather(1, cell), edges.gather(1, cell + 1)
    return low + share * (high - low)


def put(spots, half, yaw, label) -> Group:
    """Solids that rest on spots; `half` extents are given by axes."""
    half = torch.stack(half, 2)
    center = spots - half * spots.new_tensor((0, 1, 0))
    return Group(center, half, yaw, torch.full_like(yaw, label, dtype=torch.long))


def tops(group):
    """The spots on top of solids, where others can be put."""
    return group.center - group.half * group.half.new_tensor((0, 1, 0))


def askew(dice, count):
    """Most things stand nearly parallel to the walls, some just anyhow."""
    return dice(-0.3, 0.3, count) + dice.chance(0.25, count) * dice(0, tau, count)


def carpet(dice, spot, extents, yaw):
    """A box so flat that it counts as floor; at times there is none."""
    lower = spot.new_tensor((0, BURIED, 0)) * dice.chance(0.4, 1, 1)
    x, z = extents
    return put(spot + lower, (x, torch.full_like(x, 0.01), z), yaw, FLOOR)


def shell(width, tall, start, end):
    half = torch.stack([width / 2, tall / 2, (end - start) / 2], 2)
    spot = torch.stack([0 * width, 0 * width, (start + end) / 2], 2)
    return put(spot, half.unbind(2), 0 * width, FLOOR)
