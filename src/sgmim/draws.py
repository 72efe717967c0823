"""Random numbers that depend on a key alone, so that they are the same on any device, in any batch.

A generator has a state, which must be saved, and gives a sample other numbers when it comes at
another place of the batch. Here sample `i` of a run draws from its own key, whoever draws it.
"""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import isqrt
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

T = TypeVar("T")
ROUNDS = 24  # with 16 all orders are as likely of 6 samples; fewer do for thousands
LOW = 0xFFFFFFFF  # the 32 bits of an int64 that are worked with: torch has no unsigned arithmetic


def key(*numbers: int) -> int:
    """One key, 62 bits wide, from numbers such as (seed, epoch, index)."""
    high, low = 0x9E3779B9, 0x85EBCA6B
    for number in numbers:
        low = _mix(low ^ (number & LOW))
        high = _mix(high ^ (number >> 32 & LOW) ^ low)
        low = _mix(low + high & LOW)
    return (high >> 2) << 32 | low


def uniform(keys: Int[Tensor, " b"], count: int, stream: int = 0) -> Float[Tensor, "b {count}"]:
    """`count` numbers in [0, 1) for every key; another `stream` gives other numbers."""
    place = torch.arange(count, device=keys.device) + (stream << 20)  # count stays below 2**20
    bits = _mix(keys[:, None] & LOW ^ _mix(place))
    bits = _mix(bits ^ (keys[:, None] >> 32 & LOW))
    return (bits >> 8).float() / 2**24  # the 24 bits that a float32 can hold


def numbers(key: int, places: Iterable[int], stream: int = 0) -> Iterator[float]:
    """Some of the numbers that `uniform` gives a key, by their places: for a few of one key this
    takes a tenth of the time."""
    for place in places:
        bits = _mix(key & LOW ^ _mix(place + (stream << 20)))
        yield (_mix(bits ^ (key >> 32 & LOW)) >> 8) / 2**24


def order(keys: Int[Tensor, " b"], count: int, stream: int = 0) -> Int[Tensor, "b {count}"]:
    """A random permutation of 0 .. count - 1 for every key."""
    return uniform(keys, count, stream).argsort(dim=1, stable=True)


def shuffled(seed: int, places: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " n"]:
    """What stands at some places of a random permutation of 0 .. count - 1, of which no more than
    these is made: time and memory do not grow with `count`, which may reach 2**40.

    A Feistel cipher on the cells of a rectangle that has at least `count`; where one leads beyond,
    it is followed until it comes back (Black and Rogaway, "Ciphers with Arbitrary Finite Domains",
    2002).
    """
    height = isqrt(count - 1) + 1
    width = -(-count // height)  # height * width < count + height: few places lead beyond
    keys = [key(seed, number) for number in range(ROUNDS)]
    found = _ciphered(places, height, width, keys)
    while (beyond := found >= count).any():
        found[beyond] = _ciphered(found[beyond], height, width, keys)
    return found


def _ciphered(
    cells: Int[np.ndarray, " n"], height: int, width: int, keys: list[int]
) -> Int[np.ndarray, " n"]:
    """Move rows by what columns say, then columns by what rows say, and so on for every key."""
    one, other = cells // width, cells % width
    for number, key in enumerate(keys):
        shift = _mix(_mix(other ^ key & LOW) ^ key >> 32)
        one, other = other, (one + shift) % (width if number % 2 else height)
    return one * width + other


def seeded(batches: Iterable[T], seed: int, *, start: int = 0, rank: int = 0) -> Iterator[T]:
    """The same batches, each with its own random numbers for dropout and the like.

    They depend on seed, batch and rank alone, so a run is resumed exactly without the state of
    any generator.

    Args:
        batches: from number `start` on.
        seed: of the run.
        start: number of the first batch: steps done, times micro-batches a step.
        rank: number of this process.
    """
    for number, batch in enumerate(batches, start):
        seed_step(seed, number, rank)
        yield batch


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed torch's generators of the CPU and of the current GPU."""
    number = key(seed, step, rank)
    torch.default_generator.manual_seed(number)  # torch.manual_seed takes 60 times as long
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(number)


@contextmanager
def borrowed(key: int) -> Iterator[None]:
    """Seed what libraries draw from, Python's, numpy's and torch's generators (of the CPU), by a
    key, and leave them as they were: what is drawn inside is a function of the key alone, and what
    is drawn after knows nothing of it."""
    python, old, new = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(key)
    np.random.seed(key & LOW)
    torch.default_generator.manual_seed(key)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(old)
        torch.set_rng_state(new)


def _mix(x):
    """Scramble 32 bits (the constants are "lowbias32" by Chris Wellons, public domain)."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & LOW
    x = (x ^ (x >> 15)) * 0x846CA68B & LOW
    return x ^ (x >> 16)
