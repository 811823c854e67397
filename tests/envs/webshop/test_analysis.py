"""Terms of a text, against known ones and against another implementation of Unicode's word boundaries."""

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from envs.webshop.analysis import STOP_WORDS, analyse


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("color:black size:medium price < 30.00", ["color:black", "size:medium", "price", "30.00"]),
        ("Women's swimsuits & cover-ups", ["women", "swimsuit", "cover", "up"]),
        ("men\u2019s dogs\u2019 O\uff07S rock'n'roll", ["men", "dog", "o", "rock'n'rol"]),
        ("this is not a lamp for the desk", ["lamp", "desk"]),
        ("1,000.5 3.5in 5'6 a.3 b;c wi-fi x_1 __", ["1,000.5", "3.5in", "5'6", "3", "b", "c", "wi", "fi", "x_1"]),
        ("Nike® Air™ ★★☞", ["nike", "®", "air", "™", "★", "★", "☞"]),
        ("❤\ufe0f✔", ["❤\ufe0f", "✔"]),
        ("👩🏽\u200d🚀👍🏽 👨\u200d👩\u200d👧", ["👩🏽\u200d🚀", "👍🏽", "👨\u200d👩\u200d👧"]),
        ("🇩🇪🇫🇷🇬 1\ufe0f\u20e3#\u20e3 * #", ["🇩🇪", "🇫🇷", "1\ufe0f\u20e3", "#\u20e3"]),
        ("カタカナ 漢字 ひら ภาษาไทย 한국어", ["カタカナ", "漢", "字", "ひ", "ら", "ภาษาไทย", "한국어"]),
        ("x\u0301y naïve ДΣ İstanbul", ["x\u0301y", "naïv", "д\u03c3", "istanbul"]),
        ("a\u00a0red\u2003lamp…", ["red", "lamp"]),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    assert analyse(text) == terms


def test_there_are_lucenes_33_stop_words() -> None:
    assert len(STOP_WORDS) == 33
    assert analyse(" ".join(STOP_WORDS).upper()) == []


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("x" * 600, [255, 255, 90]),
        ("é" * 600, [255, 255, 90]),
        ("x" * 254 + ".y", [254, 1]),
        ("\U00020bb7" * 200, [1] * 200),  # one letter each
        ("\U00010400" * 200, [127, 73]),  # two UTF-16 units each: a token ends before one would be cut
        ("☞" * 300, [1] * 300),
    ],
)
def test_no_token_is_longer_than_255_units(text: str, lengths: list[int]) -> None:
    assert [len(term) for term in analyse(text)] == lengths


@pytest.mark.parametrize(
    "piece",
    ["_", "é_", "\u200d", "a\u0301", "\u0301", "#\u20e3", "1,", 'א"', "🌸\u200d", "🏴\U000e0041", "\ud800", "🇩", "a'"],
)
def test_hostile_texts_are_analysed(piece: str) -> None:
    text = piece * 3000 + " é lamp"
    assert analyse(text)[-2:] == ["é", "lamp"]


# Boundaries as `regex` finds them; a segment is a token where it holds a letter, a digit or a katakana. Left out of the
# alphabet: what the standard has no tokens for (emoji, Han, Thai), possessives, stop words, words with a stem; vowels,
# before which `regex` breaks after an apostrophe; marks, which it joins to what follows them.
TOKEN = regex.compile(r"[\p{WB=ALetter}\p{WB=Numeric}\p{WB=Katakana}]")


@given(st.text("bxQñ\u0444\u066307カ_\u203f.,:;'\u2019\u00b7 -/\"\u00a0\n$°", max_size=30))
@example("x.'b 3.,0 ñ_:b カ_b カb 3'ñ")
def test_tokens_lie_between_unicode_word_boundaries(text: str) -> None:
    segments = regex.split(r"(?V1w)\b", text)
    assert analyse(text) == [part.lower() for part in segments if TOKEN.search(part)]


@pytest.mark.parametrize("text", ["x\u0301:\u0301ñ", "x\u00ad\u0301_\u0301b", "3\u0301,\u03010", "カ\u0301カ"])
def test_marks_belong_to_what_precedes_them(text: str) -> None:
    assert analyse(f"\u0301{text} \u0301{text}") == [text, text]


@given(st.text("abzXZ019_.,:;'\" \t-", max_size=30))
def test_the_pattern_for_ascii_finds_what_the_other_finds(text: str) -> None:
    assert [*analyse(text), "é"] == analyse(f"{text}\u00a0é")


@given(st.text())
def test_any_text_has_terms_in_lower_case_that_are_no_stop_words(text: str) -> None:
    terms = analyse(text)
    assert not STOP_WORDS & set(terms)
    assert analyse(text.upper().lower()) == analyse(text.upper())
