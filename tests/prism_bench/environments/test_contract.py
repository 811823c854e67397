"""The contract's own functions."""

import pytest

from prism_bench.environments.contract import is_admissible

ACTIONS = ["back", "click[a.c]", "search[<keywords>]", "send <what> to <whom>"]


@pytest.mark.parametrize(
    ("action", "admissible"),
    [
        ("back", True),
        ("Back", False),
        ("click[a.c]", True),
        ("click[abc]", False),
        ("search[red\nshoes]", True),
        ("search[]", False),
        ("search[red] now", False),
        ("send a letter to her", True),
        ("send a letter", False),
        ("", False),
    ],
)
def test_an_action_is_admissible_if_it_is_listed_or_fills_in_a_form(action, admissible):
    assert is_admissible(action, ACTIONS) is admissible
