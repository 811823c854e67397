"""The splits of goals against their definitions, and the products that they share."""

import itertools
from pathlib import Path
from typing import Any

import gymnasium
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from envs.webshop.splits import SPLITS, TaskIds, shared_with_train, split_indices
from prism_bench.errors import InputError

ID = "envs.webshop:prism_bench/WebShop-v0"
OFFICIAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "webshop"
GOAL_PRODUCTS = st.lists(st.integers(0, 40), max_size=80).map(lambda numbers: np.array(numbers, dtype=np.int32))


def each_split(products: NDArray[np.int32], split_by: Any) -> dict[str, list[int]]:
    """Return the goals of every split; one that is refused as empty has none."""
    found = {}
    for split in SPLITS:
        try:
            found[split] = list(split_indices(split, products, split_by))
        except InputError as error:
            assert f"the split {split} of {len(products)} goals is empty" in str(error)
            found[split] = []
    return found


@given(st.integers(0, 20_000))
def test_splits_share_all_goals_and_no_goal(count: int) -> None:
    parts = each_split(np.zeros(count, dtype=np.int32), "goal")
    assert sorted(itertools.chain(*parts.values())) == list(range(count))
    sizes = {split: len(indices) for split, indices in parts.items()}
    if count >= 3000:
        assert sizes == {"test": 500, "valid": 1000, "train": count - 1500}
        assert (parts["test"][0], parts["valid"][0], parts["train"][0]) == (0, 500, 1500)
    else:
        assert sizes == {"test": count // 6, "valid": count // 3, "train": count - count // 6 - count // 3}


@given(GOAL_PRODUCTS)
def test_a_split_by_product_takes_from_train_what_the_others_ask_for_and_no_more(products: NDArray[np.int32]) -> None:
    by_goal, by_product = each_split(products, "goal"), each_split(products, "product")
    assert (by_product["test"], by_product["valid"]) == (by_goal["test"], by_goal["valid"])
    evaluated = {int(products[goal]) for split in ("test", "valid") for goal in by_goal[split]}
    assert by_product["train"] == [goal for goal in by_goal["train"] if int(products[goal]) not in evaluated]


@given(GOAL_PRODUCTS, st.sampled_from(["goal", "product"]))
def test_the_share_of_shared_products_is_counted(products: NDArray[np.int32], split_by: Any) -> None:
    parts = each_split(products, split_by)
    train = {int(products[goal]) for goal in parts["train"]}
    lines = []
    for split in ("test", "valid"):
        shared = [int(products[goal]) in train for goal in parts[split]]
        lines += [f"{100 * sum(shared) / len(shared):.0f} % of the {split} goals"] if shared else []
    assert shared_with_train(products, split_by) == ", ".join(lines)


def test_what_does_not_exist_is_refused() -> None:
    products = np.zeros(5000, dtype=np.int32)
    with pytest.raises(InputError, match="WebShop has no split 'dev'; choose from train, valid, test"):
        split_indices("dev", products)
    with pytest.raises(InputError, match="WebShop cannot split by 'asin'; choose from goal, product"):
        split_indices("train", products, "asin")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"the split train of 5000 goals is empty; .* or split_by=goal"):
        split_indices("train", products, "product")


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        ({}, "98 % of the test goals, 99 % of the valid goals"),
        ({"source": "official", "data": OFFICIAL}, "96 % of the test goals, 97 % of the valid goals"),
    ],
    ids=["generated", "official"],
)
def test_the_protocol_names_what_train_shares(options: dict[str, Any], shared: str, tmp_path: Path) -> None:
    if options and not (OFFICIAL / "items_shuffle_1000.json").exists():
        pytest.skip(f"needs the official products; there is no {OFFICIAL}")
    for split_by, expected in (("goal", shared), ("product", "0 % of the test goals, 0 % of the valid goals")):
        splits = {
            split: gymnasium.make(ID, **options, cache=tmp_path, split=split, split_by=split_by).unwrapped
            for split in SPLITS
        }
        for split, env in splits.items():
            protocol = env.protocol()  # type: ignore[attr-defined]
            assert (protocol["split"], protocol["split_by"]) == (split, split_by)
            assert protocol["products_shared_with_train"] == expected
        asins = {split: {env.goal(task).asin for task in env.task_ids} for split, env in splits.items()}  # type: ignore[attr-defined]
        assert bool(asins["train"] & (asins["valid"] | asins["test"])) == (split_by == "goal")
        train: Any = splits["train"]
        _, info = train.reset(seed=0)
        assert info["task_id"] in train.task_ids
        train.reset(options={"task_id": train.task_ids[-1]})


ASCENDING = st.one_of(
    st.builds(lambda start, length: range(start, start + length), st.integers(0, 30), st.integers(1, 30)),
    st.sets(st.integers(0, 60), min_size=1).map(lambda numbers: np.array(sorted(numbers))),
)


@given(ASCENDING, st.integers(0, 70))
def test_task_ids_are_the_indices_as_text(indices: range | NDArray[np.int64], position: int) -> None:
    ids, expected = TaskIds(indices), [str(index) for index in list(indices)]
    assert list(ids) == expected and len(ids) == len(expected) and ids[-1] == expected[-1]
    assert list(ids[1:3]) == expected[1:3] and list(ids[::2]) == expected[::2]
    assert (str(position) in ids) == (str(position) in expected)
    nearest = ids.nearest(str(position))
    assert len(nearest) == min(3, len(expected)) and set(nearest) <= set(expected)
    closest = min(abs(int(task_id) - position) for task_id in expected)
    assert min(abs(int(task_id) - position) for task_id in nearest) == closest


@pytest.mark.parametrize("odd", ["", "01", "+1", "1 ", "\u0661", "1.0", "9" * 10_000, 1, None, "fixed", "²"])
def test_what_spells_no_index_is_no_task(odd: object) -> None:
    ids = TaskIds(range(10))
    assert odd not in ids
    assert ids.nearest(odd) == (("0", "1", "2") if odd == 1 else ("0", "9"))


def test_five_million_task_ids_take_no_room() -> None:
    ids = TaskIds(range(1500, 5_000_000))
    assert "4999999" in ids and "5000000" not in ids and "1499" not in ids
    assert ids.nearest("7000000") == ("4999997", "4999998", "4999999")
    assert ids.nearest("1499") == ("1500", "1501", "1502")
