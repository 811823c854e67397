import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_bench.data.prompts import ActionPrompt, ReactPrompt
from prism_bench.errors import InputError

REACT = ReactPrompt(instruction="You are an agent.\n")
ACTIONS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).map(str.strip).filter(bool)


@given(ACTIONS)
@pytest.mark.parametrize("prompt", [ActionPrompt(), REACT], ids=["action", "react"])
def test_the_action_is_read_back_from_its_reply(prompt, action):
    if prompt is REACT and "Action:" in action:
        return  # a policy may say so in a thought; what comes after the last marker counts
    assert prompt.action(prompt.completion(action, "", ()), "", ()) == action


@pytest.mark.parametrize(
    ("completion", "action"),
    [
        ("Thought: the mug may be there.\nAction: go to shelf 1", "go to shelf 1"),
        ("Action: look", "look"),
        ("Thought: not Action: look but\nAction:  go to bed 1 \nObservation: You arrive", "go to bed 1"),
        ("Action: go to\nAction: look", "look"),
        ("go to shelf 1", "go to shelf 1"),
        ("go to shelf 1\nand look", "go to shelf 1"),
        ("Thought: I wonder", "Thought: I wonder"),
        ("Action:", ""),
        ("Action: \n", ""),
        ("", ""),
    ],
)
def test_react_reads_the_first_line_after_the_last_marker(completion, action):
    assert REACT.action(completion, "You see a shelf.", ()) == action


def test_react_opens_with_the_instruction():
    (message,) = REACT.messages("You see a shelf.", ())
    assert message == {"role": "user", "content": "You are an agent.\n\nObservation: You see a shelf."}
    assert REACT.turn("You see a mug.", ()) == "Observation: You see a mug."


def test_the_bare_prompt_adds_nothing():
    assert ActionPrompt().messages("You see a shelf.", ("look",)) == [{"role": "user", "content": "You see a shelf."}]
    assert ActionPrompt().action(" look\n", "You see a shelf.", ()) == "look"


@pytest.mark.parametrize("prompt", [ActionPrompt(list_admissible=True), ReactPrompt("Play.", list_admissible=True)])
def test_admissible_actions_are_listed_on_request(prompt):
    assert prompt.turn("You see a shelf.", ("go to shelf 1", "look")).endswith(
        "You see a shelf.\nAdmissible actions: go to shelf 1, look"
    )
    with pytest.raises(InputError, match="collect them again with the same prompt"):
        prompt.turn("You see a shelf.", ())
