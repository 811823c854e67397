"""The engine prints what the official code printed, byte for byte."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from envs.webshop.engine import Session, Shop, Storefront
from envs.webshop.goals import Goal
from envs.webshop.pages import THANKS, start_page
from envs.webshop.products import Product
from envs.webshop.reward import reward
from envs.webshop.tagger import noun_tagger

Record = Callable[[str], Any]
RecordedShop = Callable[[dict[str, list[str]]], Shop]

TRACES = "official_traces.json.xz"


def score(product: Product, goal: Goal, options: Mapping[str, str]) -> float:
    return reward(product, goal, options, noun_tagger("tokens")).total


def recorded_goal(raw: dict[str, Any]) -> Goal:
    return Goal(
        asin=raw["asin"],
        category=raw["category"],
        query=raw["query"],
        name=raw["name"],
        product_category=raw["product_category"],
        instruction=raw["instruction_text"],
        attributes=tuple(raw["attributes"]),
        price_upper=raw["price_upper"],
        options=tuple(raw["goal_options"].items()),
    )


@pytest.mark.parametrize("number", range(160))
def test_a_recorded_episode_is_replayed_byte_for_byte(record: Record, recorded_shop: RecordedShop, number: int) -> None:
    episode = record(TRACES)["episodes"][number]
    storefront = Storefront(recorded_shop(episode["results"]), episode["mode"])
    session = Session(storefront, recorded_goal(episode["goal"]), score)
    first, *steps = episode["steps"]
    assert (session.text, session.clickables) == (first["observation"], first["clickables"])
    for step in steps:
        page = session.step(step["action"])
        if step["done"]:
            assert (page, session.done) == (THANKS, True)
            assert session.reward == pytest.approx(step["reward"], abs=1e-9)
        else:
            assert (page, session.clickables) == (step["observation"], step["clickables"])
            assert (session.done, step["reward"]) == (False, 0.0)


def test_the_record_has_what_it_should_show(record: Record) -> None:
    episodes = record(TRACES)["episodes"]
    assert Counter(episode["mode"] for episode in episodes) == {"text": 120, "text_rich": 40}
    steps = [step for episode in episodes for step in episode["steps"][1:]]
    kinds = Counter(step["action"].partition("[")[0] for step in steps)
    assert {kind for kind, count in kinds.items() if count > 10} == {"search", "click", "CLICK", "buy now"}
    clicked = Counter(step["action"][6:-1] for step in steps)
    for text in ("search", "back to search", "< prev", "next >", "description", "features", "reviews", "nonsense"):
        assert clicked[text] > 10, text
    assert sum(step["done"] for step in steps) > 20
    rich = [step for episode in episodes if episode["mode"] == "text_rich" for step in episode["steps"]]
    assert sum("[clicked button]" in (step["observation"] or "") for step in rich) > 50


@pytest.mark.parametrize("number", range(2))
def test_an_official_episode_is_replayed_up_to_its_last_page(
    record: Record, recorded_shop: RecordedShop, official_products: list[Product], any_goal: Goal, number: int
) -> None:
    """The records show the first ten of fifty results; the others are made up."""
    episode = record("official_episodes.json")[number]
    observations = [step["observation"] for step in episode["steps"] if "observation" in step]
    actions = [step["action"] for step in episode["steps"] if "action" in step]
    shown = re.findall(r"\[SEP\] (B0\w{8}) \[SEP\]", observations[1])
    others = [product.asin for product in official_products if product.asin not in shown]
    shop = recorded_shop({actions[0].removeprefix("search[")[:-1].lower(): shown + others[:40]})
    instruction = observations[0].removeprefix("WebShop [SEP] Instruction: [SEP] ").removesuffix(" [SEP] Search")
    session = Session(Storefront(shop), replace(any_goal, instruction=instruction), lambda *_: 1.0)
    assert len(shown) == 10
    assert [session.text, *map(session.step, actions)] == [*observations[:-1], THANKS]
    assert (actions[-1], session.done) == ("click[Buy Now]", True)


def test_the_first_pages_are_the_official_ones(record: Record) -> None:
    pages = record("official_initial_observations.json")
    assert len(pages) == 100
    for page in pages:
        instruction = page["observation"].split(" [SEP] ")[2]
        assert start_page(instruction, "text") == page["observation"]
