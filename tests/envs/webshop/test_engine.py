"""Properties of every page: no string raises, only admissible actions act, nothing is shared, nothing grows."""

import copy
import gc
import random
import re
import tracemalloc
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs.webshop.engine import SEARCH_FORM, Session, Shop, Storefront, parse
from envs.webshop.goals import Goal
from envs.webshop.pages import THANKS
from envs.webshop.products import Product
from prism_bench.errors import InputError

WALKS = st.lists(st.one_of(st.integers(0, 10_000), st.sampled_from(["lamp", "a", "a lamp of many watts"])), max_size=25)
FRAGMENTS = ["search", "click", "[", "]", "\n", "]]", "[[", "buy now", "a", "\r", " ", "B", "İ"]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=9).map("".join))
MODES = st.sampled_from(["text", "text_rich"])

# Hypothesis runs many examples with one shop, which never changes.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def half(product: Product, goal: Goal, options: Mapping[str, str]) -> float:
    return 0.5


def state(session: Session) -> dict[str, Any]:
    return copy.deepcopy({name: value for name, value in vars(session).items() if name != "storefront"})


def walk(session: Session, choices: list[int | str]) -> None:
    """Search for the words among the choices, and click by the numbers, but buy nothing."""
    for choice in choices:
        clicks = [action for action in session.admissible_actions if action not in (SEARCH_FORM, "click[buy now]")]
        if isinstance(choice, str):
            session.step(f"search[{choice}]")
        elif clicks:
            session.step(clicks[choice % len(clicks)])


@given(text=TEXTS)
def test_actions_are_parsed_as_the_official_expression_parses_them(text: str) -> None:
    match = re.match(r"(.+)\[(.+)\]", text)
    assert parse(text) == (match and (match[1], match[2].lower()))


@pytest.mark.parametrize("text", ["[" * 10**6, "]" * 10**6, "[]" * 10**6, "search[" * 10**5 + "]", "a[b\n]" * 10**5])
def test_long_actions_are_parsed_at_once(text: str) -> None:
    """The regular expression takes quadratic time for some of these: hours."""
    parsed = parse(text)
    assert parsed is None or parsed[0] not in ("search", "click")


@relaxed
@given(choices=WALKS, mode=MODES)
def test_exactly_the_admissible_clicks_act(odd_shop: Shop, any_goal: Goal, choices: list[int | str], mode: str) -> None:
    session = Session(Storefront(odd_shop, mode), any_goal, half)
    walk(session, choices)
    admissible = session.admissible_actions
    assert admissible == sorted(set(admissible))
    everything = {
        f"click[{value}]" for number in range(30) for _, values in odd_shop.product(number).options for value in values
    }
    everything |= {f"click[b{number:09}]" for number in range(30)} | {
        "click[search]",
        "click[]",
        "click",
        "[",
        "buy now",
    }
    everything |= {f"click[{button}]" for button in ("back to search", "< prev", "next >", "description", "buy now")}
    for action in sorted(everything - set(admissible)):
        before = state(session)
        session.step(action)
        assert state(session) == before, action
    for action in admissible:
        if action != SEARCH_FORM:
            before = state(session)
            session.step(action)
            assert state(session) != before or action[6:-1] in before["_options"].values(), action
            session = Session(session.storefront, any_goal, half)
            walk(session, choices)


@relaxed
@given(choices=WALKS, text=TEXTS, mode=MODES)
def test_no_text_raises_and_what_is_no_action_changes_nothing(
    odd_shop: Shop, any_goal: Goal, choices: list[int | str], text: str, mode: str
) -> None:
    session = Session(Storefront(odd_shop, mode), any_goal, half)
    walk(session, choices)
    before = state(session)
    name, argument = parse(text) or ("", "")
    does_something = name == "search" or (name == "click" and argument in session.clickables)
    session.step(text)
    assert does_something or state(session) == before


@relaxed
@given(choices=WALKS, mode=MODES)
def test_a_session_knows_nothing_of_another(
    odd_shop: Shop, any_goal: Goal, choices: list[int | str], mode: str
) -> None:
    storefront = Storefront(odd_shop, mode)
    first = Session(storefront, any_goal, half)
    fresh = state(first)
    walk(first, choices)
    assert state(Session(storefront, any_goal, half)) == fresh


@relaxed
@given(choices=WALKS, words=st.text(max_size=30), price=st.floats(1, 1000))
def test_the_page_after_buying_tells_nothing_and_is_the_last(
    odd_shop: Shop, any_goal: Goal, choices: list[int | str], words: str, price: float
) -> None:
    goal = replace(any_goal, instruction=words, asin=words, attributes=(words,), price_upper=price)
    session = Session(Storefront(odd_shop), goal, lambda *_: price / 1000)
    walk(session, choices)
    session.step("search[lamp]")
    session.step("click[b000000001]")
    assert session.step("click[buy now]") == THANKS
    assert (session.done, session.reward, session.admissible_actions) == (True, price / 1000, [])
    after = state(session)
    for action in ("search[lamp]", "click[back to search]", "click[buy now]", "click[< prev]", words):
        assert session.step(action) == THANKS
    assert state(session) == after


def bought(odd_shop: Shop, any_goal: Goal, actions: list[str]) -> tuple[str, dict[str, str]]:
    """Return the product that is bought after these actions, and its options."""
    sold = []

    def score(product: Product, goal: Goal, options: Mapping[str, str]) -> float:
        sold.append((product.asin, dict(options)))
        return 1.0

    session = Session(Storefront(odd_shop), any_goal, score)
    for action in [*actions, "click[buy now]"]:
        session.step(action)
    return sold[0]


OPENED = ["search[lamp]", "click[b000000000]"]


@pytest.mark.parametrize(
    ("actions", "options"),
    [
        ([], {}),
        (["click[red]", "click[one size]"], {"color": "red", "size": "one size"}),
        (["click[red]", "click[blue]"], {"color": "blue"}),
        (["click[large]"], {"fit": "large"}),  # two options have it; the last one counts
        (["click[LARGE]"], {"fit": "large"}),
        (["click[next >]"], {"size": "next >"}),
        (["click[attributes]"], {"size": "attributes"}),
        (["click[search]"], {}),
        (["click[[large]]"], {}),
        (["click[red]", "click[features]", "click[blue]", "click[< prev]"], {"color": "red"}),
        (["click[red]", "click[< prev]", "click[b000000000]"], {}),
        (["click[red]", "search[lamp]", "click[b000000000]"], {}),
        (["click[red]", "click[back to search]", *OPENED], {}),
    ],
    ids=str,
)
def test_what_is_bought_has_the_options_last_selected(
    odd_shop: Shop, any_goal: Goal, actions: list[str], options: dict[str, str]
) -> None:
    assert bought(odd_shop, any_goal, OPENED + actions) == ("B000000000", options)


def test_results_are_turned_over_ten_at_a_time_and_beyond_their_end(odd_shop: Shop, any_goal: Goal) -> None:
    session = Session(Storefront(odd_shop), any_goal, half)
    session.step("search[fifteen letters]")
    assert len(session.clickables) == 2 + 10
    session.step("click[next >]")
    assert session.clickables == ["back to search", "< prev", "next >", *(f"b{number:09}" for number in range(10, 15))]
    page = session.step("click[next >]")
    assert page.endswith("Page 3 (Total results: 15) [SEP] < Prev [SEP] Next >")
    session.step("click[< prev]")
    session.step("click[b000000012]")
    assert "Page 2" in session.step("click[< prev]")
    assert "Page 1 (Total results: 4)" in session.step("search[lamp]")


def test_products_opened_since_the_start_page_are_marked(odd_shop: Shop, any_goal: Goal) -> None:
    session = Session(Storefront(odd_shop, "text_rich"), any_goal, half)
    for action in (*OPENED, "search[lamps]"):
        session.step(action)
    assert "\n[clicked button] B000000000 [clicked button_]\nA lamp of 0 watts" in session.text
    assert "\n[button] B000000001 [button_]\nA lamp of 1 watts" in session.text
    session.step("click[back to search]")
    assert "clicked" not in session.step("search[lamp]")


def transcript(storefront: Storefront, goal: Goal, seed: int) -> list[str]:
    """Return all texts of 200 random actions."""
    rng, session = random.Random(seed), Session(storefront, goal, half)
    texts = [session.text]
    for _ in range(200):
        if session.done:
            session = Session(storefront, goal, half)
        action = rng.choice(session.admissible_actions)
        texts.append(session.step(action.replace("<keywords>", "lamp" * rng.randint(1, 10))))
        texts += session.admissible_actions
    return texts


def test_threads_may_share_a_storefront(odd_shop: Shop, any_goal: Goal) -> None:
    expected = [transcript(Storefront(odd_shop), any_goal, seed) for seed in range(16)]
    shared = Storefront(odd_shop)
    with ThreadPoolExecutor(max_workers=8) as pool:
        assert list(pool.map(partial(transcript, shared, any_goal), range(16))) == expected


@pytest.mark.slow
def test_memory_stays_flat_over_ten_thousand_episodes(odd_shop: Shop, any_goal: Goal) -> None:
    storefront = Storefront(odd_shop)

    def episodes(count: int) -> None:
        for number in range(count):
            session = Session(storefront, any_goal, half)
            for action in ("search[lamp]", f"click[b{number % 4:09}]", "click[red]", "click[features]"):
                session.step(action)

    episodes(100)
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        episodes(10_000)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000


def test_another_observation_is_refused(odd_shop: Shop) -> None:
    with pytest.raises(InputError, match="no WebShop observation 'html'; choose text or text_rich"):
        Storefront(odd_shop, "html")
