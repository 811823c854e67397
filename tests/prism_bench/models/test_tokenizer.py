import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from prism_bench.models.tokenizer import ACT, END, PAD, build_tokenizer, entity_parts

TEXTS = [
    "You are in the middle of a room. Looking quickly around you, you see a drawer 3, a drawer 12, and a shelf 1.",
    "Your task is to: put a mug in drawer.",
    "You arrive at drawer 3. The drawer 3 is closed.",
    "You arrive at drawer 12. On the drawer 12, you see a mug 1, and a mug 2.",
    "You arrive at shelf 1. On the shelf 1, you see nothing.",
    "go to drawer 3",
    "go to drawer 12",
    "go to shelf 1",
    "put mug 1 in/on drawer 12",
    "Nothing happens.",
] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(TEXTS)


def encode(tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([token]) for token in tokenizer.encode(text, add_special_tokens=False)]


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_back_exactly(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.text())
def test_any_text_is_read_back_whatever_the_tokenizer_was_made_from(texts, text):
    tokenizer = build_tokenizer(texts * 30, min_count=2)
    for probe in (*texts, text, "".join(texts)):
        assert tokenizer.decode(tokenizer.encode(probe, add_special_tokens=False)) == probe


@settings(deadline=None)
@given(st.lists(st.sampled_from(["café", "ü", "ß", "¡olé", "drawer", "3", "\n", "\u200b", "日"]), min_size=1))
def test_letters_beyond_ascii_survive_at_any_place(pieces):
    text = " ".join(pieces)
    tokenizer = build_tokenizer([*pieces, text] * 30)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_an_entity_is_one_token_wherever_it_stands(tokenizer):
    for text in ("go to drawer 12", "a drawer 12, and a mug 1.", "The drawer 12 is closed.", "in drawer 12"):
        assert " drawer 12" in encode(tokenizer, text)
    at_the_start = build_tokenizer(["drawer 12 is closed.", "go to drawer 12"])
    assert encode(at_the_start, "drawer 12 is")[0] == "drawer 12"


def test_entities_know_their_name_and_number(tokenizer):
    parts = entity_parts(tokenizer)
    assert set(parts.values()) == {("drawer", "3"), ("drawer", "12"), ("shelf", "1"), ("mug", "1"), ("mug", "2")}
    for token, (name, number) in parts.items():
        assert tokenizer.decode([token]).strip() == f"{name} {number}"


def test_fixed_phrases_are_one_token_and_names_stay_visible(tokenizer):
    assert encode(tokenizer, "You arrive at drawer 3. The")[0].strip() == "You arrive at"
    assert len(encode(tokenizer, "Nothing happens.")) == 1
    task = encode(tokenizer, "Your task is to: put a mug in drawer.")
    assert " mug" in task and " drawer" in task and len(task) <= 7


def test_an_entity_never_seen_is_spelled_from_what_is_known(tokenizer):
    pieces = encode(tokenizer, "go to drawer 34")
    assert "".join(pieces) == "go to drawer 34"
    assert 3 <= len(pieces) <= 8


def test_markers_are_single_special_tokens(tokenizer):
    for marker in (PAD, ACT, END):
        assert len(tokenizer.encode(marker, add_special_tokens=False)) == 1
    ids = tokenizer.encode(f"look{END}", add_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "look"
    assert (tokenizer.eos_token, tokenizer.pad_token) == (END, PAD)


def test_the_same_texts_give_the_same_tokenizer_in_any_order(tokenizer):
    again = build_tokenizer(reversed(TEXTS))
    assert again.get_vocab() == tokenizer.get_vocab()


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.chat_template == tokenizer.chat_template
    for text in [*set(TEXTS), "caf\u00e9 1  \n", "don't  stop , now"]:
        ids = loaded.encode(text, add_special_tokens=False)
        assert ids == tokenizer.encode(text, add_special_tokens=False)
        assert loaded.decode(ids) == text
    assert (loaded.eos_token, loaded.pad_token) == (END, PAD)


def test_the_chat_template_marks_the_end_of_every_message(tokenizer):
    messages = [{"role": "user", "content": "You see."}, {"role": "assistant", "content": "look"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == f"You see.{ACT}look{END}"
