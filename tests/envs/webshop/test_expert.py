"""The expert: what it reads from an instruction, and its actions in small shops."""

import math
import string
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envs.webshop.engine import Session, Storefront
from envs.webshop.expert import STEPS, SearchExpert, read_request
from envs.webshop.goals import Goal
from envs.webshop.products import Options, Product


class Shelf:
    """A shop whose search finds everything, in the order of the shelf."""

    def __init__(self, *products: Product) -> None:
        self.products = products
        self.queries: list[str] = []

    def product(self, number: int) -> Product:
        return self.products[number]

    def search(self, query: str, limit: int) -> list[int]:
        self.queries.append(query)
        return list(range(len(self.products)))[:limit]


def product(number: int, options: Options = (), price: str = "$5.0", title: str = "Desk") -> Product:
    return Product(
        asin=f"B{number:09}",
        title=title,
        description="",
        bullets=(),
        price_text=price,
        price=5.0,
        options=options,
        category="garden",
        query="desks",
        product_category="Home",
        attributes=(),
        instruction=None,
        instruction_attributes=(),
    )


def goal(instruction: str) -> Goal:
    return Goal("B000000000", "garden", "desks", "Desk", "Home", instruction, ("non slip",), 50.0, ())


def roll_out(shelf: Shelf, wanted: Goal, observation: str = "text") -> list[str]:
    """Return the expert's actions, each of which must be possible; it gets only pages and possible actions."""
    session = Session(Storefront(shelf, observation), wanted, lambda *_: 1.0)  # type: ignore[arg-type]
    expert, actions = SearchExpert(), list[str]()
    text = session.text
    expert.reset(text, {"admissible_actions": session.admissible_actions})
    while not session.done and len(actions) < STEPS:
        possible = session.admissible_actions
        actions.append(expert.act(text, {"admissible_actions": possible}))
        assert actions[-1] in possible or ("search[<keywords>]" in possible and actions[-1].startswith("search["))
        text = session.step(actions[-1])
    return actions


@pytest.mark.parametrize(
    ("instruction", "words", "options", "limit"),
    [
        (
            "Find me slim fit, loose fit men's shirts with long sleeve for teen with color: b & w, and size: xx-large"
            ", and price lower than 30.00 dollars",
            "slim fit loose men's shirts long sleeve teen b w xx-large",
            (("color", "b & w"), ("size", "xx-large")),
            30.0,
        ),
        ("Find me gold plated hdmi cables", "gold plated hdmi cables", (), math.inf),
        (
            'Find me decorative pillows with size: 28" x 28", and price lower than 110.00 dollars',
            'decorative pillows 28" x',
            (("size", '28" x 28"'),),
            110.0,
        ),
        (
            "Find me desks with color: black with white, blue, and style: desk, with lamp",
            "desks black white blue desk lamp",
            (("color", "black with white, blue"), ("style", "desk, with lamp")),
            math.inf,
        ),
        (
            "i'm looking for a [small] non-slip rug in blue. size 2x3, and price lower than 40.00 dollars",
            "small non-slip rug blue size 2x3",
            None,
            40.0,
        ),
        ("Find me rugs, and price lower than ten dollars", "rugs price lower than ten dollars", (), math.inf),
        ("", "", None, math.inf),
    ],
)
def test_reading_an_instruction(
    instruction: str, words: str, options: tuple[tuple[str, str], ...] | None, limit: float
) -> None:
    request = read_request(instruction)
    assert " ".join(request.words).split() == words.split()
    assert request.options == options
    assert request.limit == limit


NAMES = st.text(string.ascii_lowercase + " ", min_size=1).filter(lambda name: name.strip() == name)
VALUES = st.text(string.ascii_lowercase + string.digits + ' ,-."|/()', min_size=1).filter(lambda v: ", and " not in v)


@given(st.lists(NAMES, min_size=1), st.dictionaries(NAMES, VALUES), st.none() | st.integers(10, 1000))
@example(["blue desks with lamp"], {"color": "with with"}, 10)
def test_options_and_limit_of_upstreams_wording_come_back(
    attributes: list[str], options: dict[str, str], limit: int | None
) -> None:
    chosen = {name: value for name, value in options.items() if " with " not in f" {name} "}
    sentence = "Find me " + ", ".join(attributes)
    sentence += " with " + ", and ".join(f"{name}: {value}" for name, value in chosen.items()) if chosen else ""
    sentence += f", and price lower than {limit}.00 dollars" if limit else ""
    request = read_request(sentence)
    assert request.options == tuple(chosen.items())
    assert request.limit == (limit or math.inf)


@given(st.text())
@example(", and price lower than 1 dollars" * 1000)
@example("Find me " + " with a" * 10_000)
@example("Find me " + " with a: , and " * 3_000)
def test_words_to_search_for_are_those_of_the_instruction(instruction: str) -> None:
    """The words are in the order of the instruction, each once, and without brackets."""
    words = read_request(instruction).words
    assert len(set(words)) == len(words)
    assert not set("[]\n") & set("".join(words))
    rest = instruction
    for word in words:
        assert word in rest
        rest = rest[rest.index(word) :]


SIZES = (("size", ("small", "large")), ("color", ("blue", "red | green")))
WANTED = "Find me non slip desks with color: red | green, and size: small, and price lower than 10.00 dollars"


@pytest.mark.parametrize("observation", ["text", "text_rich"])
def test_it_opens_what_is_cheap_enough_until_the_options_are_there(observation: str) -> None:
    shelf = Shelf(
        product(0, SIZES, price="$10.01"),
        product(1, (("size", ("large",)),)),
        product(2, (("style", ("tiny",)), SIZES[1]), title="small"),
        product(3, SIZES, price="$9.5 to $20.0"),
        product(4, SIZES),
    )
    assert roll_out(shelf, goal(WANTED), observation) == [
        "search[non slip desks red green small]",
        "click[b000000001]",
        "click[< prev]",
        "click[b000000002]",
        "click[< prev]",
        "click[b000000003]",
        "click[small]",  # in the order of the page
        "click[red | green]",
        "click[buy now]",
    ]


def test_it_turns_pages() -> None:
    shelf = Shelf(*(product(number, price="$11.0") for number in range(25)), product(25, SIZES))
    actions = roll_out(shelf, goal(WANTED))
    assert actions[1:4] == ["click[next >]", "click[next >]", "click[b000000025]"]
    assert actions[-1] == "click[buy now]"


def test_it_takes_what_is_too_dear_if_there_is_nothing_else() -> None:
    actions = roll_out(Shelf(product(0, SIZES, price="$11.0")), goal(WANTED))
    assert actions[1:3] == ["click[back to search]", "search[non slip desks red green small]"]
    assert actions[3:] == ["click[b000000000]", "click[small]", "click[red | green]", "click[buy now]"]


@pytest.mark.parametrize("price", ["$5.0", "$11.0"])
def test_it_keeps_enough_steps_to_buy_something(price: str) -> None:
    """No product has the options, or none is cheap enough either."""
    actions = roll_out(Shelf(*(product(number, SIZES[:1], price=price) for number in range(50))), goal(WANTED))
    assert actions[-2:] == ["click[small]", "click[buy now]"]
    assert len(actions) <= STEPS


def test_peoples_own_words_choose_options_too() -> None:
    options = (("size", ("m", "x-large", "large")), ("color", ("blue", "navy blue", "red")), ("style", ("new",)))
    wanted = goal("i'm looking for a non slip desk in navy blue, x-large, and price lower than 10.00 dollars")
    assert roll_out(Shelf(product(0, options)), wanted) == [
        "search[non slip desk navy blue x-large]",
        "click[b000000000]",
        "click[x-large]",
        "click[navy blue]",
        "click[buy now]",
    ]


TEXTS = st.text(string.ascii_letters + string.digits + " -.,$|:'\"é", min_size=1).map(str.strip).filter(bool)
PAGE_OPTIONS = st.dictionaries(
    TEXTS.map(str.lower), st.lists(TEXTS.map(str.lower), min_size=1, unique=True).map(tuple), max_size=3
).map(lambda options: tuple(options.items()))
PRICES = st.floats(0.01, 1000).map(lambda price: f"${round(price, 2)}")
SHELVES = st.lists(st.tuples(PAGE_OPTIONS, PRICES, TEXTS), min_size=1, max_size=12)


@pytest.mark.parametrize("value", ["back to search", "< prev", "next >", "buy now", "description", "search"])
def test_an_option_value_called_like_a_button_does_not_mislead_it(value: str) -> None:
    actions = roll_out(Shelf(product(0, (("size", (value, "small")),))), goal(f"Find me desks with size: {value}"))
    assert actions[-1] == "click[buy now]"


@given(SHELVES, st.integers(0, 11), st.randoms(use_true_random=False), st.integers(10, 1000))
@example([((("size", ("small",)),), "$11.0", "x"), *[((), "$1.0", "x")] * 5], 0, Random(0), 10)
def test_it_always_buys_and_both_observations_lead_to_the_same(
    stock: list[tuple[Options, str, str]], number: int, random: Any, limit: int
) -> None:
    products = [product(at, *entry) for at, entry in enumerate(stock)]
    chosen = [f"{name}: {random.choice(values)}" for name, values in products[number % len(products)].options]
    with_options = " with " + ", and ".join(chosen) if chosen else ""
    wanted = goal(f"Find me non slip desks{with_options}, and price lower than {limit}.00 dollars")
    actions = roll_out(Shelf(*products), wanted)
    assert actions[-1] == "click[buy now]"
    assert roll_out(Shelf(*products), wanted, "text_rich") == actions


@pytest.mark.slow
@given(SHELVES, st.integers(10, 1000))
def test_only_the_sentence_of_a_goal_counts(stock: list[tuple[Options, str, str]], limit: int) -> None:
    """The actions are the same for goals that differ only in parts that no page shows."""
    products = [product(at, *entry) for at, entry in enumerate(stock)]
    first = goal(f"Find me non slip desks, and price lower than {limit}.00 dollars")
    other = Goal("B1", "x", "x", "x", "x", first.instruction, ("x",), 1.0, (("size", "x"),))
    hidden = [replace(entry, attributes=("x",), category="x", query="x", price=1.0) for entry in products]
    assert roll_out(Shelf(*products), first) == roll_out(Shelf(*hidden), other)
