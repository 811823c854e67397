import itertools

from hypothesis import given
from hypothesis import strategies as st

from prism_bench.data.batching import groups_of_similar_length, groups_within_budget

FACTORS = st.floats(1, 4)
SLACKS = st.integers(0, 40)


@given(st.lists(st.integers(0, 500)), FACTORS, SLACKS)
def test_every_item_is_in_one_group_and_no_group_is_wider_than_allowed(lengths, factor, slack):
    groups = list(groups_of_similar_length(range(len(lengths)), lengths.__getitem__, factor=factor, slack=slack))
    assert sorted(item for group in groups for item in group) == list(range(len(lengths)))
    for group in groups:
        assert max(lengths[item] for item in group) <= factor * min(lengths[item] for item in group) + slack
    for group, after in itertools.pairwise(groups):  # and no group could have taken in the next item
        assert lengths[after[0]] > factor * lengths[group[0]] + slack


@given(st.lists(st.integers(0, 500)), st.integers(1, 2000))
def test_groups_are_padded_within_the_budget_and_as_large_as_it_allows(lengths, tokens):
    groups = list(groups_within_budget(lengths, tokens))
    assert sorted(position for group in groups for position in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[position] for position in group) <= tokens
    for group, after in itertools.pairwise(groups):
        assert (len(group) + 1) * lengths[after[0]] > tokens
