"""The official data, which are no part of the project: without them the tests that need them are skipped."""

import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from envs.webshop.goals import HumanInstruction, read_human_instructions
from envs.webshop.json_stream import JsonStream
from envs.webshop.products import Product, read_annotations, read_products

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "data" / "webshop"


def official(name: str) -> Path:
    """Return the path of an official file, or skip the test."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"needs the official data of WebShop; there is no {path}")
    return path


@cache
def recorded(name: str) -> Any:
    """Return the content of a recorded JSON file."""
    path = official(name)
    return json.loads(lzma.open(path).read() if path.suffix == ".xz" else path.read_bytes())


@cache
def documents() -> list[dict[str, Any]]:
    """Return the official index's text of each product."""
    return [json.loads(line) for line in lzma.open(official("documents_1000.jsonl.xz"))]


@cache
def official_products(price_seed: int = 0) -> tuple[Product, ...]:
    """Return the thousand official products as we read them."""
    annotations = read_annotations(JsonStream(official("items_ins_v2_1000.json")))
    return tuple(read_products(JsonStream(official("items_shuffle_1000.json")), annotations, price_seed))


@cache
def official_instructions() -> dict[str, tuple[HumanInstruction, ...]]:
    """Return the official human instructions as we read them."""
    return read_human_instructions(JsonStream(official("items_human_ins.json")))
