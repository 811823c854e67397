from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_bench.data.prompts import ActionPrompt, ActPrompt, ReactPrompt, check_thoughts
from prism_bench.errors import InputError

REACT = ReactPrompt(instruction="You are an agent.\n")
ACT = ActPrompt(instruction="Answer with a command:\n", commands="go east, go west\n")
ACTIONS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).map(str.strip).filter(bool)


@given(ACTIONS)
@pytest.mark.parametrize("prompt", [ActionPrompt(), ACT, REACT], ids=["action", "act", "react"])
def test_the_action_is_read_back_from_its_reply(prompt, action):
    if prompt != ActionPrompt() and "Action:" in action:
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
@pytest.mark.parametrize("prompt", [ACT, REACT], ids=["act", "react"])
def test_the_first_line_after_the_last_marker_is_the_action(prompt, completion, action):
    assert prompt.action(completion, "You see a shelf.", ()) == action


def test_react_opens_with_the_instruction():
    (message,) = REACT.messages("You see a shelf.", ())
    assert message == {"role": "user", "content": "You are an agent.\n\nObservation: You see a shelf."}
    assert REACT.turn("You see a mug.", ()) == "Observation: You see a mug."


def test_act_opens_with_the_commands_and_says_nothing_else():
    system, user = ACT.messages("You see a shelf.", ())
    assert system == {"role": "system", "content": "Answer with a command: go east, go west"}
    assert user == {"role": "user", "content": "You see a shelf."}
    assert (ACT.turn("You see a mug.", ()), ACT.completion("go east", "", ())) == ("You see a mug.", "go east")


def test_demonstrations_without_thoughts_are_refused_by_the_prompt_that_asks_for_them(corridor_episodes):
    expert = corridor_episodes[:2]
    thoughtful = [
        replace(one, steps=(replace(one.steps[0], completion="Thought: on.\nAction: go east"), *one.steps[1:]))
        for one in expert
    ]
    bare = [replace(one, steps=tuple(replace(step, completion="Action: go") for step in one.steps)) for one in expert]
    check_thoughts(REACT, thoughtful, "here")
    for prompt in (ActionPrompt(), ACT, replace(REACT, thoughts="optional")):
        check_thoughts(prompt, expert, "here")
    for episodes in ([thoughtful[0], expert[1]], [thoughtful[0], bare[1]]):
        with pytest.raises(InputError, match=r"^here: episode 1 has no thoughts, .* prompt=act, .*prompt.thoughts=opt"):
            check_thoughts(REACT, episodes, "here")


def test_the_bare_prompt_adds_nothing():
    assert ActionPrompt().messages("You see a shelf.", ("look",)) == [{"role": "user", "content": "You see a shelf."}]
    assert ActionPrompt().action(" look\n", "You see a shelf.", ()) == "look"


@pytest.mark.parametrize("prompt", [replace(p, list_admissible=True) for p in (ActionPrompt(), ACT, REACT)])
def test_admissible_actions_are_listed_on_request(prompt):
    assert prompt.turn("You see a shelf.", ("go to shelf 1", "look")).endswith(
        "You see a shelf.\nAdmissible actions: go to shelf 1, look"
    )
    with pytest.raises(InputError, match="collect them again with the same prompt"):
        prompt.turn("You see a shelf.", ())
