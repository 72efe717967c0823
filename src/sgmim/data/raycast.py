"""Rays against boxes, balls and cylinders: exact, and for a batch of scenes at once.

The world is seen as by a level camera: x right, y down, z forward, in meters. The ground is y = 0,
so what stands on it has negative y.

Products of matrices and sums over axes are spelled out, here and in the files built on this one:
the library's would round differently in a batch of another size.
"""

from dataclasses import dataclass, fields, is_dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

TINY = 1e-20  # keeps a ray along an axis from dividing by zero; changes no other number
FAR = 1e12  # times the excess, puts what is missed behind all else; a tenth the time of a `where`


@dataclass(frozen=True)
class Group:
    """Solids of one shape: cubes, balls or cylinders of radius 1, stretched, turned and moved."""

    center: Float[Tensor, "b k 3"]
    half: Float[Tensor, "b k 3"]  # half of the extents along the solid's own axes
    yaw: Float[Tensor, "b k"]  # radians, about the vertical
    label: Int[Tensor, "b k"]  # class


@dataclass(frozen=True)
class Solids:
    """All that a ray can meet. The shell is a box around everything, seen from inside."""

    shell: Group
    boxes: Group
    balls: Group
    cylinders: Group  # upright
    logs: Group  # cylinders that lie: their axis is their own x

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.shell, self.boxes, self.balls, self.cylinders, self.logs


def each(function, first, *rest):
    """Apply a function to every tensor of a dataclass, along with those of others like it."""
    if not is_dataclass(first):
        return function(first, *rest)
    names = [field.name for field in fields(first)]
    alike = [[getattr(record, name) for record in (first, *rest)] for name in names]
    return type(first)(*(each(function, *values) for values in alike))


def join(*groups: Group) -> Group:
    return each(lambda *tensors: torch.cat(tensors, 1), *groups)


def cast(
    solids: Solids, origin: Float[Tensor, "b 3"], rays: Float[Tensor, "b 3 n"]
) -> Float[Tensor, "b k n"]:
    """How many lengths of each ray away each solid is first met; beyond everything if it is not.

    The origin lies inside of the shell. A solid that it lies in is not met.
    """
    shapes = shell, box, ball, cylinder, log
    met = [
        shape(*_seen_from(group, origin, rays))
        for shape, group in zip(shapes, solids.groups, strict=True)
    ]
    return torch.cat(met, 1)


def _seen_from(group, origin, rays):
    """Start and course of the rays in each solid's own frame, where it has radius 1."""
    cos, sin = group.yaw.cos(), group.yaw.sin()
    start = turn(cos, -sin, (origin[:, None] - group.center).unbind(2))
    half = group.half.unbind(2)
    x, y, z = rays[:, None].unbind(2)
    by_x = [(a / half[0])[..., None] for a in (cos, -sin)]
    by_z = [(a / half[2])[..., None] for a in (sin, cos)]
    course = by_x[0] * x + by_x[1] * z, y / half[1][..., None], by_z[0] * x + by_z[1] * z
    return [(p / r)[..., None] for p, r in zip(start, half, strict=True)], course


def turn(cos, sin, vector):
    """Turn about the vertical, given and returned by components."""
    x, y, z = vector
    return cos * x + sin * z, y, cos * z - sin * x


def shell(start, course):
    return slabs(start, course)[1]


def box(start, course):
    enter, leave = slabs(start, course)
    return enter + missed(enter - leave) + missed(-enter)


def ball(start, course):
    enter, _, miss = quadric(start, course)
    return enter + miss + missed(-enter)


def cylinder(start, course):
    """What is both in the endless cylinder and in the slab between its two ends."""
    near, far, miss = quadric(start[::2], course[::2])
    enter, leave = slabs(start[1:2], course[1:2])
    enter, leave = torch.maximum(near, enter), torch.minimum(far, leave)
    return enter + miss + missed(enter - leave) + missed(-enter)


def log(start, course):
    return cylinder(*((y, x, z) for x, y, z in (start, course)))


def slabs(start, course):
    """Where a ray has entered the last, and where it leaves the first, of the slabs |x| < 1.

    Most of the time goes here, much of it into getting memory: hence what is done in place.
    """
    enter = leave = None
    for p, d in zip(start, course, strict=True):
        pace = (d + TINY).reciprocal_()
        middle, reach = -p * pace, pace.abs_()
        near, far = middle - reach, middle.add_(reach)
        enter = near if enter is None else torch.maximum(enter, near, out=enter)
        leave = far if leave is None else torch.minimum(leave, far, out=leave)
    return enter, leave


def quadric(start, course):
    """Where a ray enters and leaves |x| < 1, and a number that is huge where it never does."""
    a = TINY + sum(d * d for d in course)
    b = sum(p * d for p, d in zip(start, course, strict=True))
    root = b * b - a * (sum(p * p for p in start) - 1)
    width = root.relu().sqrt_()
    return (-b - width) / a, (width - b) / a, missed(-root)


def missed(excess):
    return excess.relu().mul_(FAR)


def touch(
    solids: Solids, which: Int[Tensor, "b n"], point: Float[Tensor, "b 3 n"]
) -> tuple[Float[Tensor, "b 3 n"], Float[Tensor, "b 3 n"]]:
    """Each point in the frame of the solid it lies on, in meters, and that solid's unit normal."""
    all_ = join(*solids.groups)
    turned = torch.stack([all_.yaw.cos(), all_.yaw.sin()], 2)
    frame = pick(torch.cat([all_.center, all_.half, turned], 2), which)
    center, half, (cos, sin) = frame[:, :3], frame[:, 3:6], frame[:, 6:].unbind(1)
    local = torch.stack(turn(cos, -sin, (point - center).unbind(1)), 1)
    unit = local / half
    normal = unit * _outermost(unit, *_which_shape(solids, which)) / half
    return local, torch.stack(turn(cos, sin, (normal / length(normal)).unbind(1)), 1)


def _outermost(unit, ball, cylinder, log):
    """The axes along which the surface faces at each point: those along which it lies farthest out.

    A box has three, a cylinder its own one and the other two as a pair, a ball all three at once.
    """
    x, y, z = unit.square().unbind(1)
    out = torch.stack(
        [
            x + ball * y + (ball | cylinder) * z,
            y + ball * x + (ball | log) * z,
            z + (ball | cylinder) * x + (ball | log) * y,
        ],
        dim=1,
    )
    return out > 0.9999 * out.amax(1, keepdim=True)


def _which_shape(solids, which):
    first = [0]
    for group in solids.groups:
        first.append(first[-1] + group.yaw.shape[1])
    return tuple((which >= first[i]) & (which < first[i + 1]) for i in (2, 3, 4))


def pick(field: Shaped[Tensor, "b k c"], which: Int[Tensor, "b n"]) -> Shaped[Tensor, "b c n"]:
    """The row of `field` that each `which` names."""
    return field.mT.gather(2, which[:, None].expand(-1, field.shape[2], -1))


def dot(a: Float[Tensor, "b 3 n"], b: Float[Tensor, "b 3 n"]) -> Float[Tensor, "b 1 n"]:
    x, y, z = (a * b).split(1, dim=1)
    return x + y + z


def length(vectors: Float[Tensor, "b 3 n"]) -> Float[Tensor, "b 1 n"]:
    return dot(vectors, vectors).sqrt()
