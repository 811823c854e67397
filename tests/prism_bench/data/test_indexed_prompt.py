import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_bench.data.indexed_prompt import IndexedPrompt
from prism_bench.errors import InputError
from prism_bench.models.tokenizer import build_tokenizer

PROMPT = IndexedPrompt(" [SEP] ", code="B[0-9A-Z]{9}", task_label="Instruction:", words_per_piece=4)
START = "Shop [SEP] Instruction: [SEP] Find me a red, Red shirt ... tie [SEP] Search"
RESULTS = (
    "Instruction: [SEP] Find me a red shirt [SEP] Back to Search [SEP] Page 1 (Total results: 2) [SEP] "
    "B012345678 [SEP] Acme Cotton Shirt in Red for Men [SEP] $10.0 [SEP] B0ABCDEFGH [SEP] Tie [SEP] $7.5"
)
FORM = ("search[<keywords>]",)
CLICKS = ("click[b012345678]", "click[b0abcdefgh]", "click[back to search]")


def test_the_words_of_the_task_are_numbered_where_there_is_a_form():
    assert PROMPT.turn(START, FORM) == " shop find#1 me#2 a#3 red#4 red#5 shirt#6 tie#7 search"


def test_clicks_are_numbered_codes_hidden_and_long_pieces_cut():
    assert PROMPT.turn(RESULTS, CLICKS) == (
        " find me a red shirt back to search#1 page 1 (total results:#2 acme cotton shirt in $10.0#3 tie $7.5"
    )
    assert PROMPT.messages(RESULTS, CLICKS) == [{"role": "user", "content": PROMPT.turn(RESULTS, CLICKS)}]


def test_a_page_that_stays_the_same_is_not_shown_again_and_its_numbers_hold():
    assert PROMPT.turn(RESULTS, CLICKS, START) == PROMPT.turn(RESULTS, CLICKS)
    assert PROMPT.turn(RESULTS, CLICKS, RESULTS) == "unchanged"
    assert PROMPT.action("#3", RESULTS, CLICKS) == "click[b0abcdefgh]"


@pytest.mark.parametrize(
    ("observation", "admissible", "action", "completion"),
    [
        (START, FORM, "search[red shirt]", "search#4#6"),
        (START, FORM, "search[red red tie]", "search#4#5#7"),
        (START, FORM, "search[shirt me]", "search#6#2"),
        (START, FORM, "search[blue shirt]", "search[blue shirt]"),  # not a word of the page
        (RESULTS, CLICKS, "click[back to search]", " back to search#1"),
        (RESULTS, CLICKS, "click[b0abcdefgh]", "#3"),
        (RESULTS, CLICKS, "click[elsewhere]", "click[elsewhere]"),
        (RESULTS, CLICKS, "search[red]", "search[red]"),  # accepted there, but not offered
    ],
)
def test_an_action_and_its_reply(observation, admissible, action, completion):
    assert PROMPT.completion(action, observation, admissible) == completion
    assert PROMPT.action(completion, observation, admissible) == action


BOTH = ("", "#", "#0", "#1#2", "search#", "search#99", "#999999999999", "#-1", "x" * 100_000, "#" * 9999)


@pytest.mark.parametrize(
    ("completion", "observation", "admissible"),
    [(completion, START, FORM) for completion in (*BOTH, "#4", "find#1")]
    + [(completion, RESULTS, CLICKS) for completion in (*BOTH, "#4", "tie#4", "search#1#2")],
)
def test_a_reply_without_a_meaning_goes_to_the_environment_as_it_is(completion, observation, admissible):
    assert PROMPT.action(f" {completion}\n", observation, admissible) == completion


PIECES = st.lists(
    st.text(st.characters(codec="ascii", exclude_characters="[]<>#\n\r\t\x0b\x0c\x1c\x1d\x1e\x1f"), min_size=1)
    .map(str.strip)
    .filter(bool),
    min_size=1,
    max_size=6,
)


@given(PIECES, st.data())
def test_every_admissible_action_of_any_page_has_a_number_that_means_it(pieces, data):
    clicks = data.draw(st.lists(st.sampled_from(pieces), min_size=1)) + data.draw(PIECES)
    admissible = tuple(sorted({f"click[{text.lower()}]" for text in clicks} | {"wait"}))
    observation = " [SEP] ".join(pieces)
    for action in admissible:
        completion = PROMPT.completion(action, observation, admissible)
        assert re.fullmatch(r".*#\d+", completion)
        assert completion in PROMPT.turn(observation, admissible)
        assert PROMPT.action(completion, observation, admissible) == action


def test_without_a_task_label_every_word_can_be_picked_and_nothing_is_left_out():
    prompt = IndexedPrompt(" | ")
    assert prompt.turn("Welcome | a door | leave", ("click[leave]", "say[<words>]")) == " welcome#1 a#2 door#3 leave#4"
    assert prompt.turn("Welcome | a door", ("go north", "wait")) == " welcome a door go north#1 wait#2"
    assert prompt.completion("say[door]", "Welcome | a door", ("say[<words>]",)) == "say#3"


def test_episodes_without_admissible_actions_are_refused():
    with pytest.raises(InputError, match="collect them again"):
        PROMPT.turn(START, ())


def test_a_number_is_one_token_and_the_same_one_on_the_page_and_in_the_reply():
    pages = [PROMPT.turn(START, FORM), PROMPT.turn(RESULTS, CLICKS), "search#4#6", "#3"]
    tokenizer = build_tokenizer(pages * 30)
    number = tokenizer.convert_tokens_to_ids("#3")
    assert tokenizer.encode("#3") == [number]
    assert number in tokenizer.encode(pages[0])
    assert number in tokenizer.encode(pages[1])
    assert len(tokenizer.encode("search#4#6")) == 3
    shirt = tokenizer.convert_tokens_to_ids(" shirt")  # what is numbered somewhere is no part of a phrase elsewhere
    assert shirt in tokenizer.encode(pages[0])
    assert shirt in tokenizer.encode(pages[1])
