"""The pages of WebShop as upstream's text modes show them, rendered from products without HTML.

Source: ``convert_html_to_text`` and ``get_available_actions`` in ``web_agent_site/envs/web_agent_text_env.py`` of
https://github.com/princeton-nlp/WebShop, with the pages themselves in ``web_agent_site/templates``. Upstream fills a
template, parses the HTML and prints its text nodes; here a page is a sequence of *pieces*, one for each text node.

* ``text`` strips the pieces and joins them by `` [SEP] ``.
* ``text_rich`` prints one piece a line, with ``[button]`` around clickable pieces and ``[clicked button]`` around
  products that were opened and options that are selected.

A node that is empty, or white space with a line break, is no piece; other white space is a piece of one space, as
Beautiful Soup reads it, and empty in ``text`` mode.

Deviations: the page after ``buy now`` is one sentence, because upstream's shows the goal and the reward. Reviews are
always empty, as in upstream's loader. The page of attributes, which upstream hides by default, does not exist.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from envs.webshop.products import Product

Observation = Literal["text", "text_rich"]
OBSERVATIONS: tuple[str, ...] = get_args(Observation)

SEARCH, BACK, PREVIOUS, NEXT, BUY = "Search", "Back to Search", "< Prev", "Next >", "Buy Now"
DESCRIPTION = "Description"
SUB_PAGES = (DESCRIPTION, "Features", "Reviews")
ITEM_BUTTONS = (BACK, PREVIOUS, *SUB_PAGES, BUY)

THANKS = "Thank you for shopping with us!"
"""The last page, in both modes."""

WHITE_SPACE = " \n\t\f\r"  # of HTML


class Piece(NamedTuple):
    """One text node of a page, and its kind."""

    text: str
    kind: Literal["plain", "button", "option", "product"] = "plain"


@dataclass(frozen=True, slots=True)
class Listing:
    """The lines of one product on a page of results, before and after it was first opened."""

    link: str
    unopened: str
    opened: str


@dataclass(frozen=True, slots=True)
class Item:
    """The page of one product below its first lines.

    ``text`` is the page with no option selected. ``options`` maps a selectable value to the name of its option, the
    last one if several have that value. ``clickables`` are in upstream's order.
    """

    text: str
    options: dict[str, str]
    clickables: tuple[str, ...]


def start_page(instruction: str, observation: Observation) -> str:
    """Return the page with the search bar."""
    # In text_rich mode a space follows the colon on this page only.
    pieces = [Piece("WebShop"), Piece("Instruction: "), *_plain(instruction), Piece(SEARCH, "button")]
    return _render(pieces, observation)


def results_head(instruction: str, page: int, total: int, observation: Observation) -> str:
    """Return the head of a page of results; every page has a button to the next, even the last."""
    pieces = [*_head(instruction), Piece(f"Page {page} (Total results: {total})")]
    pieces += [Piece(button, "button") for button in ((PREVIOUS, NEXT) if page > 1 else (NEXT,))]
    return _render(pieces, observation)


def listing(product: Product, observation: Observation) -> Listing:
    """Return the lines of a product among results."""
    pieces = [Piece(product.asin, "product"), *_plain(product.title), *_plain(product.price_text)]
    return Listing(
        product.asin.lower(), _render(pieces, observation), _render(pieces, observation, clicked=(product.asin,))
    )


def item_head(instruction: str, observation: Observation) -> str:
    """Return the first lines of the page of a product and of its sub-pages."""
    return _render([*_head(instruction), Piece(PREVIOUS, "button")], observation)


def item(product: Product, observation: Observation) -> Item:
    """Return the page of a product below its first lines."""
    options = {value: name for name, values in product.options for value in values}
    buttons = [button.lower() for button in ITEM_BUTTONS]
    return Item(_render(_item(product), observation), options, tuple(dict.fromkeys([*buttons, *options])))


def rich_item(product: Product, head: str, address: str) -> str:
    """Return the whole ``text_rich`` page of a product with selected options.

    Args:
        product: the product.
        head: the page's first lines.
        address: the end of upstream's address of the page: the words searched for, the number of the page of results,
            and the selected options as JSON. An option counts as clicked if the address contains its value in
            quotation marks. So an option with an accent never does (JSON escapes it), and one that was searched for in
            quotation marks always does.
    """
    pieces = list(_item(product))
    clicked = [piece.text for piece in pieces if piece.kind == "option" and f'"{piece.text}"' in address]
    said = "".join(f"You have clicked {text}.\n" for text in reversed(clicked))
    return said + head + _render(pieces, "text_rich", clicked)


def sub_page(instruction: str, product: Product, name: str, observation: Observation) -> str:
    """Return a whole page of :data:`SUB_PAGES`."""
    shown: tuple[str, ...] = ()
    if name == "Description":
        shown = (product.description,)
    elif name == "Features":
        shown = tuple(f" {bullet}" for bullet in product.bullets)
    pieces = [*_head(instruction), Piece(PREVIOUS, "button"), *(piece for text in shown for piece in _plain(text))]
    return _render(pieces, observation)


def join(parts: Iterable[str], observation: Observation) -> str:
    """Return the page that consists of these rendered parts."""
    return (" [SEP] " if observation == "text" else "").join(parts)


def _head(instruction: str) -> Iterator[Piece]:
    yield Piece("Instruction:")
    yield from _plain(instruction)
    yield Piece(BACK, "button")


def _item(product: Product) -> Iterator[Piece]:
    for name, values in product.options:
        yield from _plain(name)
        for value in values:
            for piece in _plain(value):
                yield Piece(piece.text, "option")
    yield from _plain(product.title)
    yield Piece(f"Price: {product.price_text}")
    yield Piece(f"Rating: {product.rating}")
    for button in (*SUB_PAGES, BUY):
        yield Piece(button, "button")


def _plain(text: str) -> Iterator[Piece]:
    if text.strip(WHITE_SPACE):
        yield Piece(text)
    elif text and "\n" not in text:
        yield Piece(" ")


def _render(pieces: Iterable[Piece], observation: Observation, clicked: Collection[str] = ()) -> str:
    if observation == "text":
        return " [SEP] ".join(piece.text.strip() for piece in pieces)
    return "".join(_rich(piece, piece.text in clicked) + "\n" for piece in pieces)


def _rich(piece: Piece, clicked: bool) -> str:
    if piece.kind == "plain":
        return piece.text
    indent = {"button": "", "option": "  ", "product": "\n"}[piece.kind]
    if clicked and piece.kind != "button":
        return f"{indent}[clicked button] {piece.text} [clicked button_]"
    return f"{indent}[button] {piece.text} [button_]"
