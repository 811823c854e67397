"""The stemmer against the examples of Porter's paper, and against NLTK's with the author's departures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.webshop.stemmer import stem

ENDINGS = """
    s es ss sses ies y ed eed ing at bl iz ll e ational tional enci anci izer bli alli entli eli ousli
    ization ator alism  iveness fulness ousness aliti iviti biliti logi icate ative alize iciti ical ful ness
    ance er ic able ible ant ement  ment ent sion tion ion ou ism ate iti ous ive ize
"""


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("caresses", "caress"),
        ("ponies", "poni"),
        ("feed", "feed"),
        ("agreed", "agre"),
        ("plastered", "plaster"),
        ("sing", "sing"),
        ("hopping", "hop"),
        ("falling", "fall"),
        ("filing", "file"),
        ("happy", "happi"),
        ("sky", "sky"),
        ("generalizations", "gener"),
        ("oscillators", "oscil"),
        ("controlling", "control"),
        ("replacement", "replac"),
        ("adoption", "adopt"),
    ],
)
def test_words_of_the_paper(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize(("word", "expected"), [("5s", "5s"), ("assembly", "assembl"), ("technology", "technolog")])
def test_departures_from_the_paper(word: str, expected: str) -> None:
    assert stem(word) == expected


@given(
    st.builds(
        lambda head, endings: head + "".join(endings),
        st.text("abeilostuwxyz3é", max_size=6),
        st.lists(st.sampled_from(ENDINGS.split()), max_size=3),
    )
)
def test_agrees_with_nltk(word: str) -> None:
    porter = pytest.importorskip("nltk.stem.porter", reason="needs nltk: pip install nltk").PorterStemmer
    assert stem(word) == porter(porter.MARTIN_EXTENSIONS).stem(word, to_lowercase=False)
