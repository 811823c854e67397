"""The native WebShop engine: the effect of an action in upstream's server and browser, without either.

Source: ``SimServer``, ``SimBrowser`` and ``WebAgentTextEnv.step`` in ``web_agent_site/envs/web_agent_text_env.py`` and
``parse_action`` in ``web_agent_site/engine/engine.py`` of https://github.com/princeton-nlp/WebShop.

``search[words]`` works on every page. ``click[text]`` works when the page has something clickable with that text,
lower-cased; ``click[search]`` does nothing. Any other action does nothing either: the same page again.

Deviations. After ``buy now`` no action has an effect. ``<r>``, ``<a>``, ``<c>`` and ``<q>``, with which upstream lists
random products or those of an attribute, a category or a query, are words like any other. A query that holds the name
of an upstream address (``search_results``) misleads upstream's buttons, not ours. An option value ``attributes``
selects the option; upstream would show the attributes, which belong to the reward.
"""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from envs.webshop import pages
from envs.webshop.goals import Goal
from envs.webshop.pages import Item, Listing, Observation
from envs.webshop.products import Product
from prism_bench.errors import InputError

PAGE_LENGTH = 10  # results on a page
RESULTS = 50  # of a search

LISTINGS_KEPT = 16_384  # rendered, half a KiB each
ITEMS_KEPT = 2_048  # rendered, some KiB each

SEARCH_FORM = "search[<keywords>]"
"""The one open form among the admissible actions."""

INERT = ("click", "search")  # has no effect upstream

SUB_PAGES = {name.lower(): name for name in pages.SUB_PAGES}
BACK, PREVIOUS, NEXT, BUY = (name.lower() for name in (pages.BACK, pages.PREVIOUS, pages.NEXT, pages.BUY))


class Shop(Protocol):
    """The part of a catalogue that the engine needs: read-only, shared by all sessions, safe for several threads."""

    def product(self, number: int) -> Product:
        """Return a product by its number."""

    def search(self, query: str, limit: int) -> list[int]:
        """Return the numbers of at most ``limit`` products, the best first; any text is a query."""


Rule = Literal["description_first"]
"""A rule of this project's own: before the description of a product was opened, ``buy now`` does nothing."""

Score = Callable[[Product, Goal, Mapping[str, str]], float]
"""Returns the reward, 0 to 1, for buying a product with the options selected (name to value)."""


class Storefront:
    """A shop with its pages in one observation mode; keeps the last rendered texts. Shared like the shop."""

    def __init__(self, shop: Shop, observation: Observation = "text") -> None:
        """Raise InputError if there is no such observation mode."""
        if observation not in pages.OBSERVATIONS:
            choices = " or ".join(pages.OBSERVATIONS)
            raise InputError(f"there is no WebShop observation {observation!r}; choose {choices}")
        self.shop = shop
        self.observation = observation
        self.listing = functools.lru_cache(maxsize=LISTINGS_KEPT)(self._listing)
        self.item = functools.lru_cache(maxsize=ITEMS_KEPT)(self._item)

    def _listing(self, number: int) -> Listing:
        """Return a product's lines among results."""
        return pages.listing(self.shop.product(number), self.observation)

    def _item(self, number: int) -> tuple[Item, tuple[str, ...]]:
        """Return a product's page and the actions on it."""
        item = pages.item(self.shop.product(number), self.observation)
        # An option with a bracket or a line break in it cannot be typed; one called `search` is taken for the button.
        actions = [f"click[{text}]" for text in item.clickables if parse(f"click[{text}]") == ("click", text) != INERT]
        return item, tuple(sorted(actions))


def parse(action: str) -> tuple[str, str] | None:
    """Return the name of an action and its argument, None if it has another form; takes linear time.

    These are the groups of ``re.match(r"(.+)\\[(.+)\\]", action)``, the argument lower-cased: the last opening bracket
    before the last closing one, both on the first line, with text before them and between them.
    """
    line = action.partition("\n")[0]
    closing = line.rfind("]")
    opening = line.rfind("[", 1, max(closing - 1, 0))
    return None if opening < 0 else (line[:opening], line[opening + 1 : closing].lower())


class Session:
    """The state of one episode: the open page, the search, the products opened and the options selected.

    Args:
        storefront: the shop and its pages.
        goal: the goal to buy for; only its ``instruction`` is shown.
        score: returns the reward of a purchase.
        rule: a changed rule; None for upstream's shop.
    """

    def __init__(self, storefront: Storefront, goal: Goal, score: Score, rule: Rule | None = None) -> None:
        self.storefront = storefront
        self.goal = goal
        self._score = score
        self._rule = rule
        self._described: set[int] = set()  # products whose description was opened
        self._item_head = pages.item_head(goal.instruction, storefront.observation)
        self.done = False
        self.reward = 0.0
        self._start()

    def step(self, action: str) -> str:
        """Carry out an action and return the page after it; no string raises."""
        parsed = None if self.done else parse(action)
        if parsed is not None and parsed != INERT:
            name, argument = parsed
            if name == "search":
                self._search(argument)
            elif name == "click":
                self._click(argument)
        return self.text

    @property
    def admissible_actions(self) -> list[str]:
        """The actions with an effect, sorted; a search is among them only on a page with a search bar.

        ``click[search]`` is left out, although upstream calls that button clickable.
        """
        return list(self._actions)

    @property
    def clickables(self) -> list[str]:
        """The texts that upstream lists as clickable on this page, in its order; tests compare them with its traces."""
        if self.done:
            return []
        if self._number is None:
            return ["search"] if self._query is None else [*self._buttons(), *self._links]
        if self._sub_page:
            return [BACK, PREVIOUS]
        return list(self.storefront.item(self._number)[0].clickables)

    def _start(self) -> None:
        self._query: str | None = None
        self._results: list[int] = []
        self._page = 1
        self._links: dict[str, int] = {}
        self._opened: set[int] = set()
        self._close_item()
        self.text = pages.start_page(self.goal.instruction, self.storefront.observation)
        self._actions: tuple[str, ...] | list[str] = (SEARCH_FORM,)

    def _close_item(self) -> None:
        self._number: int | None = None
        self._options: dict[str, str] = {}
        self._sub_page = False

    def _search(self, query: str) -> None:
        self._query = query
        self._results = self.storefront.shop.search(query, RESULTS)
        self._show_results(1)

    def _click(self, text: str) -> None:
        if self._query is None:
            return  # the start page, whose only button does nothing
        if text == BACK:
            self._start()
        elif self._number is None:
            self._click_result(text)
        elif self._sub_page:
            if text == PREVIOUS:
                self._show_item(self._number)
        else:
            self._click_item(text, self._number)

    def _click_result(self, text: str) -> None:
        if text == NEXT:
            self._show_results(self._page + 1)
        elif text == PREVIOUS and self._page > 1:
            self._show_results(self._page - 1)
        elif text in self._links:
            number = self._links[text]
            self._opened.add(number)
            self._show_item(number)

    def _click_item(self, text: str, number: int) -> None:
        if text == PREVIOUS:
            self._show_results(self._page)
        elif text == BUY:
            if self._rule != "description_first" or number in self._described:
                self._buy(number)
        elif text in SUB_PAGES:
            self._show_sub_page(SUB_PAGES[text], number)
        elif (option := self.storefront.item(number)[0].options.get(text)) is not None:
            self._options[option] = text
            self._show_item(number)

    def _buy(self, number: int) -> None:
        self.reward = self._score(self.storefront.shop.product(number), self.goal, self._options)
        self.done = True
        self.text = pages.THANKS
        self._actions = ()

    def _buttons(self) -> tuple[str, ...]:
        return (BACK, PREVIOUS, NEXT) if self._page > 1 else (BACK, NEXT)

    def _show_results(self, page: int) -> None:
        self._close_item()
        self._page = page
        observation = self.storefront.observation
        parts = [pages.results_head(self.goal.instruction, page, len(self._results), observation)]
        self._links = {}
        for number in self._results[(page - 1) * PAGE_LENGTH : page * PAGE_LENGTH]:
            listing = self.storefront.listing(number)
            self._links[listing.link] = number
            parts.append(listing.opened if number in self._opened else listing.unopened)
        self.text = pages.join(parts, observation)
        self._actions = sorted(f"click[{text}]" for text in (*self._buttons(), *self._links))

    def _show_item(self, number: int) -> None:
        self._number = number
        self._sub_page = False
        item, self._actions = self.storefront.item(number)
        observation = self.storefront.observation
        if observation == "text_rich" and (self._options or '"' in str(self._query)):
            address = f"{str(self._query).replace(' ', '+')}/{self._page}/{json.dumps(self._options)}"
            self.text = pages.rich_item(self.storefront.shop.product(number), self._item_head, address)
        else:
            self.text = pages.join((self._item_head, item.text), observation)

    def _show_sub_page(self, name: str, number: int) -> None:
        self._sub_page = True
        if name == pages.DESCRIPTION:
            self._described.add(number)
        product = self.storefront.shop.product(number)
        self.text = pages.sub_page(self.goal.instruction, product, name, self.storefront.observation)
        self._actions = (f"click[{PREVIOUS}]", f"click[{BACK}]")
