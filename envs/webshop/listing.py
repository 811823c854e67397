"""The texts of generated products: the entries of the three raw files, written from random choices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from envs.webshop.vocabulary import Attribute, Kind

_T = TypeVar("_T")

# Human instructions. {item} is the kind with its attributes, {options} a list such as "color navy, size large".
_REQUESTS = (
    "i am looking for {item}{options}.",
    "i need {item}{options}.",
    "i would like to buy {item}{options}.",
    "can you find {item}{options}?",
    "show me {item}{options} please.",
)
_OPTION_STYLES = (", {name} {value}", " in {value}", ", the {name} should be {value}", " that come in {value}")


@dataclass(frozen=True, slots=True)
class Draw:
    """The random choices for one product. ``rest`` are uniform numbers in [0, 1) for its wording."""

    kind: Kind
    brand: str
    model: str
    price: str
    attributes: list[Attribute]
    options: list[tuple[str, list[str]]]
    wanted: list[Attribute]  # attributes that the synthetic instruction asks for; empty where there is no instruction
    has_human: bool  # there are human instructions
    rest: list[float]


def product_entry(draw: Draw, asin: str) -> dict[str, object]:
    """Return the entry of ``items_shuffle.json``."""
    kind, attributes, chances = draw.kind, draw.attributes, iter(draw.rest)
    in_title = attributes[:1]
    extra = next(chances)
    if extra < 0.4:  # a second one keeps titles short if it stands in front of the noun
        in_title = in_title + [attribute for attribute in attributes[1:] if not attribute.link][:1]
    title = f"{draw.brand} {_phrase(kind.noun, in_title)}" + (f", {draw.model}" if extra > 0.7 else "")
    described, pointed = attributes[:-2], attributes[-2:]
    in_later_point = pointed[1:] if next(chances) < 0.5 else []
    points = [_point(group) for group in (pointed[: len(pointed) - len(in_later_point)], in_later_point) if group]
    rating = next(chances)
    return {
        "name": title,
        "full_description": f"{_capital(_phrase(kind.noun, described))}. {pick(kind.sentences, next(chances))}",
        "pricing": draw.price,
        "images": [f"https://images.example/{asin}.jpg"],
        "product_category": kind.path,
        "average_rating": "" if rating < 0.3 else round(3.5 + 1.5 * next(chances), 1),
        "small_description": [*points, pick(kind.sentences, next(chances))],
        "customization_options": {name: [{"value": value} for value in values] for name, values in draw.options} or "",
        "asin": asin,
        "category": kind.category,
        "query": kind.query,
        "page": 1 + int(next(chances) * 400),
    }


def annotation_entry(draw: Draw) -> dict[str, object]:
    """Return the entry of ``items_ins_v2.json``."""
    attributes = [attribute.text for attribute in draw.attributes]
    if not draw.wanted:
        return {"attributes": attributes}
    wanted = sorted(draw.wanted, key=lambda attribute: ("", "with", "for").index(attribute.link))
    return {
        "attributes": attributes,
        "instruction": f"Find me {_phrase(draw.kind.query, wanted)}",
        "instruction_attributes": [attribute.text for attribute in wanted],
    }


def human_entries(draw: Draw, asin: str) -> list[dict[str, object]]:
    """Return the entry of ``items_human_ins.json``: one or two instructions, each for one choice of options."""
    written: list[dict[str, object]] = []
    for turn in range(1 + (draw.rest[-1] < 0.3)):
        chances = draw.rest[turn * 3 : turn * 3 + 3]
        chosen = [(name.lower(), pick(values, chances[0])) for name, values in draw.options]
        wanted = draw.attributes[turn : turn + 1 + int(2 * chances[1])]
        style = pick(_OPTION_STYLES, chances[2])
        sentence = pick(_REQUESTS, draw.rest[-2 - turn]).format(
            item=_phrase(draw.kind.query, wanted),
            options="".join(style.format(name=name, value=value) for name, value in chosen),
        )
        written.append(
            {
                "asin": asin,
                "instruction": sentence,
                "attributes": [attribute.text for attribute in draw.attributes],
                "options": [f"{name}: {value}" for name, value in chosen] or [""],
                "instruction_attributes": [attribute.text for attribute in wanted],
                "instruction_options": [value for _, value in chosen],
                "assignment_id": f"GENERATED{asin}{turn}",
                "worker_id": f"WRITER{int(1000 * draw.rest[-1])}",
            }
        )
    return written


def pick(choices: Sequence[_T], chance: float) -> _T:
    """Return the choice at ``chance``, a number in [0, 1)."""
    return choices[int(chance * len(choices))]


def _phrase(noun: str, attributes: list[Attribute]) -> str:
    """Return the noun with its attributes: ``gluten free, low fat potato chips with sea salt for movie night``."""
    front = ", ".join(attribute.text for attribute in attributes if not attribute.link)
    joined = f"{front} {noun}" if front else noun
    for link in ("with", "for"):
        linked = ", ".join(attribute.text for attribute in attributes if attribute.link == link)
        joined += f" {link} {linked}" if linked else ""
    return joined


def _point(attributes: list[Attribute]) -> str:
    return _capital(" and ".join(attribute.text for attribute in attributes)) + "."


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
