"""Pages against upstream's conversion from HTML, on small pages that are written and parsed here."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from envs.webshop.engine import Session, Storefront
from envs.webshop.goals import Goal
from envs.webshop.products import Product

VOID = {"input", "br"}
WORDS = st.one_of(
    st.text(max_size=8),
    st.text(" \n\t\r\f\xa0<>&\"'a\\é;", max_size=5),
    st.sampled_from(["", " ", "\n", "&amp;", "red"]),
)
VALUES = WORDS.map(lambda text: text.strip().lower())
PRODUCTS = st.builds(
    Product,
    asin=st.integers(0, 10**9 - 1).map("B{:09}".format),
    title=WORDS,
    description=WORDS,
    bullets=st.lists(WORDS, max_size=4).map(tuple),
    price_text=st.sampled_from(["$1.5", "$1.5 to $20.0"]),
    price=st.just(1.5),
    options=st.dictionaries(VALUES, st.lists(VALUES, max_size=4).map(tuple), max_size=3).map(
        lambda options: tuple(options.items())
    ),
    category=st.just("garden"),
    query=st.just("lamps"),
    product_category=st.just("Home"),
    attributes=st.just(("bright",)),
    instruction=st.none(),
    instruction_attributes=st.just(()),
)


@dataclass
class Node:
    text: str
    tag: str
    style: str | None


class Reader(HTMLParser):
    """Parser of the text nodes of an HTML page and the values of its radio buttons, like Beautiful Soup."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self.radios: list[str] = []
        self._open: list[tuple[str, str | None]] = [("", None)]
        self._data = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._flush()
        if tag not in VOID:
            self._open.append((tag, dict(attributes).get("class")))
        elif tag == "input":
            self.radios.append(dict(attributes)["value"] or "")

    def handle_endtag(self, tag: str) -> None:
        self._flush()
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._data += data

    def _flush(self) -> None:
        text, self._data = self._data, ""
        if text and not text.strip(" \n\t\f\r"):
            text = "\n" if "\n" in text else " "
        if text and text != "\n":
            self.nodes.append(Node(text, *self._open[-1]))

    def plain(self) -> str:
        return " [SEP] ".join(node.text.strip() for node in self.nodes)

    def rich(self, address: str, opened: set[str]) -> str:
        page = ""
        for node in self.nodes:
            line, said = node.text, ""
            selected = node.tag == "label" and f'"{node.text}"' in address
            clicked = "clicked " if selected or node.text in opened else ""
            around = f"[{clicked}button] {node.text} [{clicked}button_]"
            if node.tag == "button":
                line = f"[button] {node.text} [button_]"
            elif node.tag == "label":
                line, said = f"  {around}", f"You have clicked {node.text}.\n" if clicked else ""
            elif node.style == "product-link":
                line = f"\n{around}"
            page = said + page + line + "\n"
        return page

    def clickables(self) -> list[str]:
        kinds = [node.text.lower() for node in self.nodes if node.tag == "button" or node.style == "product-link"]
        return list(dict.fromkeys([*kinds, *self.radios]))


def button(text: str) -> str:
    return f'<form>\n  <button class="btn">{escape(text)}</button>\n</form>'


def top(instruction: str) -> str:
    return f"<div>\n  <h4>Instruction:<br>{escape(instruction)}</h4>\n  {button('Back to Search')}"


def results_html(instruction: str, shown: list[Product], page: int, total: int) -> str:
    rows = "\n".join(
        f'<h4><a class="product-link">{row.asin}</a></h4>\n<h4>{escape(row.title)}</h4>\n<h5>{row.price_text}</h5>'
        for row in shown
    )
    buttons = (button("< Prev") if page > 1 else "") + "\n" + button("Next >")
    return f"{top(instruction)}\n<h3>Page {page} (Total results: {total})</h3>\n{buttons}\n{rows}</div>"


def item_html(instruction: str, product: Product) -> str:
    def options() -> Iterator[str]:
        for name, values in product.options:
            yield f"<h4>{escape(name)}</h4>\n    "
            for value in values:
                yield f'<input type="radio" value="{escape(value)}">\n<label>{escape(value)}</label>\n'

    buttons = "\n\n".join(button(text) for text in ("Description", "Features", "Reviews", "Buy Now"))
    return (
        f"{top(instruction)}\n{button('< Prev')}\n<div>{''.join(options())}</div>\n<h2>{escape(product.title)}</h2>\n"
        f"<h4>Price: {product.price_text}</h4>\n<h4>Rating: {product.rating}</h4>\n{buttons}\n</div>"
    )


def sub_page_html(instruction: str, texts: list[str]) -> str:
    shown = "\n".join(f"<p>{escape(text)}</p>" for text in texts)
    return f"{top(instruction)}\n{button('< Prev')}\n{shown}\n</div>"


class OneShelf:
    """A shop whose search finds every product."""

    def __init__(self, products: list[Product]) -> None:
        self._products = products

    def product(self, number: int) -> Product:
        return self._products[number]

    def search(self, query: str, limit: int) -> list[int]:
        return list(range(len(self._products)))[:limit]


def sessions(products: list[Product], instruction: str) -> tuple[Session, Session]:
    goal = Goal("B0", "garden", "lamps", "A lamp", "Home", instruction, ("bright",), 10.0, ())
    plain, rich = (Storefront(OneShelf(products), mode) for mode in ("text", "text_rich"))
    return Session(plain, goal, lambda *_: 0.0), Session(rich, goal, lambda *_: 0.0)


def by_asin(product: Product) -> str:
    return product.asin


@given(products=st.lists(PRODUCTS, max_size=25, unique_by=by_asin), instruction=WORDS, more=st.integers(0, 3))
def test_results(products: list[Product], instruction: str, more: int) -> None:
    html = results_html(instruction, products[more * 10 : more * 10 + 10], more + 1, len(products))
    for session in sessions(products, instruction):
        for action in ["search[lamp]", *["click[next >]"] * more]:
            session.step(action)
        reader = Reader(html)
        expected = reader.plain() if session.storefront.observation == "text" else reader.rich("", set())
        assert session.text == expected
        assert session.clickables == reader.clickables()


@given(product=PRODUCTS, instruction=WORDS, query=st.sampled_from(["lamp", 'a "red" lamp', '"é"']), data=st.data())
def test_items(product: Product, instruction: str, query: str, data: st.DataObject) -> None:
    options = [(name, value) for name, values in product.options for value in values]
    reader = Reader(item_html(instruction, product))
    plain, rich = sessions([product], instruction)
    for session in (plain, rich):
        for action in (f"search[{query}]", f"click[{product.asin}]"):
            session.step(action)
    assert plain.clickables == rich.clickables == reader.clickables()
    selected: dict[str, str] = {}
    for name, value in data.draw(st.lists(st.sampled_from(options), max_size=3)) if options else []:
        if f"click[{value}]" in plain.admissible_actions and value not in ("search", "buy now"):
            selected[{option: name for name, option in options}[value]] = value
            assert plain.step(f"click[{value}]") == reader.plain(), (name, value)
            rich.step(f"click[{value}]")
    assert plain.text == reader.plain()
    address = f"https://shop/{product.asin}/{query.replace(' ', '+')}/1/{json.dumps(selected)}"
    assert rich.text == reader.rich(address, set())


@given(product=PRODUCTS, instruction=WORDS)
def test_sub_pages(product: Product, instruction: str) -> None:
    shown = {
        "description": [product.description],
        "features": [f" {bullet}" for bullet in product.bullets],
        "reviews": [],
    }
    for session in sessions([product], instruction):
        for name, texts in shown.items():
            reader = Reader(sub_page_html(instruction, texts))
            for action in ("search[lamp]", f"click[{product.asin}]", f"click[{name}]"):
                session.step(action)
            expected = reader.plain() if session.storefront.observation == "text" else reader.rich("", set())
            assert (session.text, session.clickables) == (expected, reader.clickables())


@given(products=st.lists(PRODUCTS, min_size=2, max_size=10, unique_by=by_asin), instruction=WORDS)
def test_products_once_opened_are_marked(products: list[Product], instruction: str) -> None:
    products = [replace(product, title="A lamp") for product in products]
    _, session = sessions(products, instruction)
    for action in ("search[lamp]", f"click[{products[1].asin}]", "click[< prev]"):
        session.step(action)
    reader = Reader(results_html(instruction, products, 1, len(products)))
    assert session.text == reader.rich("", {products[1].asin})
