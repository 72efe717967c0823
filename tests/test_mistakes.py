"""A mistake inside an option is told as one in the option itself is."""

from dataclasses import dataclass
from typing import Literal

import pytest

from sgmim.errors import ConfigurationError
from sgmim.options import Parser, arguments


@dataclass(frozen=True, kw_only=True)
class Dish:
    """One of a meal.

    Args:
        size: of the plate.
        taste: of it.
        spices: how much of each.
    """

    size: int | None = None
    taste: Literal["sweet", "salty"] = "salty"
    spices: dict[str, float] | None = None


def meal(*, dishes: dict[str, Dish] | None = None, drink: Dish | None = None):
    """What is served.

    Args:
        dishes: by their names.
        drink: with it.
    """


def read(*words):
    parser = Parser("serve")
    parser.add("meal", meal)
    return arguments(meal, parser.read(words).meal.as_dict())


def test_mappings_become_what_the_signature_asks_for():
    served = read("--meal.dishes", "{soup: {}, cake: {taste: sweet, spices: {salt: 1e-1}}}")
    assert served["dishes"] == {"soup": Dish(), "cake": Dish(taste="sweet", spices={"salt": 0.1})}
    assert read("--meal.drink.size=3")["drink"] == Dish(size=3)
    assert read()["dishes"] is None


MISTAKES = [
    ("--meal.dishes={soup: {tast: salty}}", "meal.dishes.soup has no tast (did you mean 'taste'?)"),
    (
        "--meal.dishes={soup: {size: big}}",
        ".soup.size takes a whole number or null, not big",
    ),
    ("--meal.dishes={cake: {}, soup: {taste: swet}}", "not swet (did you mean 'sweet'?)"),
    ("--meal.dishes={soup: {spices: {salt: x}}}", ".soup.spices.salt takes a number, not x"),
    ("--meal.dishes={soup: 3}", "--meal.dishes.soup takes {size: ..., taste: ..., ...}, not 3"),
    ("--meal.dishes=3", "takes {name: {size: ..., taste: ..., ...}, ...} or null, not 3"),
    ("--meal.drink={siz: 3}", "--meal.drink has no siz (did you mean 'size'?)"),
    ("--meal.drink.siz=3", "--meal.drink has no siz (did you mean 'size'?)"),
    ("--meal.drink.size=x", "--meal.drink.size takes a whole number or null, not x"),
]


@pytest.mark.parametrize("word, said", MISTAKES)
def test_what_is_wrong_is_told_where_it_is_wrong(word, said):
    with pytest.raises(ConfigurationError) as raised:
        read(word)
    assert said in str(raised.value)
    assert "class" not in str(raised.value) and "\n" not in str(raised.value)
