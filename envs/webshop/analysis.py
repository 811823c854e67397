"""The terms that WebShop's search sees in a text: Lucene's English analyser.

Source: Lucene 8 (https://github.com/apache/lucene-solr), which upstream reaches through Pyserini: StandardTokenizer
(the word boundaries of Unicode UAX #29, emoji of UTS #51), EnglishPossessiveFilter, LowerCaseFilter, StopFilter with
its 33 words, PorterStemFilter. In product texts this is more than detail: ``color:black``, ``30.00`` and ``★`` are
one term each.

Deviations: Lucene's tables of letters are those of Unicode 9, ours those of the installed ``regex``; they differ for
characters added or reclassified since, but not for emoji, whose table is written out below. The emoji among letters
(U+2139, Ⓜ, 🅰, 🅱, 🅾, 🅿) are never joined to a following emoji, a Hebrew word may end in ' after a ", and of more than
255 underscores before a word not the last 254 are kept.
"""

import re
from bisect import bisect_right
from functools import cache, lru_cache
from itertools import accumulate

import regex

from envs.webshop.stemmer import stem

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be but by for if in into is it no not of on or such that the their then there these they "
        "this to was will with",
    )
)

_LONGEST = 255
"""No token is longer, in UTF-16 units: a longer one goes on as another token."""

_PICTOGRAPHS = (
    "a9 ae 203c 2049 2122 2139 2194-2199 21a9-21aa 231a-231b 2328 2388 23cf 23e9-23f3 23f8-23fa 24c2 25aa-25ab 25b6 "
    "25c0 25fb-25fe 2600-2605 2607-2612 2614-2685 2690-2705 2708-2712 2714 2716 271d 2721 2728 2733-2734 2744 2747 "
    "274c 274e 2753-2755 2757 2763-2767 2795-2797 27a1 27b0 27bf 2934-2935 2b05-2b07 2b1b-2b1c 2b50 2b55 3030 303d "
    "3297 3299 1f000-1f0ff 1f10d-1f10f 1f12f 1f16c-1f171 1f17e-1f17f 1f18e 1f191-1f19a 1f1ad-1f1e5 1f201-1f20f "
    "1f21a 1f22f 1f232-1f23a 1f23c-1f23f 1f249-1f3fa 1f400-1f53d 1f546-1f64f 1f680-1f6ff 1f774-1f77f 1f7d5-1f7ff "
    "1f80c-1f80f 1f848-1f84f 1f85a-1f85f 1f888-1f88f 1f8ae-1f8ff 1f90c-1f93a 1f93c-1f945 1f947-1fffd"
)
"""Extended_Pictographic of https://unicode.org/Public/emoji/11.0/emoji-data.txt; later versions lack ★ and others."""

_ASCII_TOKEN = re.compile(
    r"(\w+(?:(?:(?<=[a-z])[:.'](?=[a-z])|(?<=[0-9])[,;.'](?=[0-9]))\w+)*)", re.ASCII | re.IGNORECASE
)
"""Finds the tokens of ASCII text that :func:`_unicode_token` finds, several times as fast."""


def analyse(text: str) -> list[str]:
    """Return the terms of a text in its order, repeated as they are in it."""
    return [term for term in map(_term, _tokens(text)) if term]


def _tokens(text: str) -> list[str]:
    """Return the tokens of a text; runs of underscores may be among them, and empty strings."""
    if text.isascii():
        return _find(_ASCII_TOKEN, text)
    unicode_token = _unicode_token()
    tokens: list[str] = []
    for part in text.split(" "):  # no token holds a space
        tokens += _find(_ASCII_TOKEN if part.isascii() else unicode_token, part)
    return tokens


def _find(pattern: re.Pattern[str] | regex.Pattern[str], text: str) -> list[str]:
    tokens: list[str] = pattern.findall(text)
    if max(map(len, tokens), default=0) <= _LONGEST // 2:
        return tokens
    # Lucene reads through a window: at every place it takes the longest token that ends inside.
    units = [0, *accumulate(1 + (character > "\uffff") for character in text)]
    tokens, start = [], 0
    while start < len(text):
        stop = bisect_right(units, units[start] + _LONGEST) - 1
        match = pattern.search(text, start, stop)
        if match is None:
            start = max(start + 1, stop - 2)  # the window may end inside an emoji
        elif match.start() > start:
            start = match.start()
        else:
            tokens.append(match[1] or "")
            start = match.end()
    return tokens


@cache
def _unicode_token() -> regex.Pattern[str]:
    """Return the pattern whose only group is a token. Its last alternatives are runs in which no token begins.

    Possessive quantifiers keep the time linear in the text, whatever the text.
    """
    pictographs = re.sub("[0-9a-f]+", lambda code: chr(int(code[0], 16)), _PICTOGRAPHS).replace(" ", "")
    parts = {
        "modifier": r"\p{Emoji_Modifier}",
        "base": r"\p{Emoji_Modifier_Base}",
        "pictograph": f"[{pictographs}]",
        "flag": r"\p{WB=Regional_Indicator}",
        # Characters that belong to the one before them (UAX #29, WB4); in emoji, the two presentation selectors do not.
        "more": r"[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]*+",
        "also": r"[[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]--[\ufe0e\ufe0f]]*+",
    }
    parts |= {
        "digit": r"\p{WB=Numeric}" + parts["more"],
        "kana": r"\p{WB=Katakana}" + parts["more"],
        "join": r"\p{WB=ExtendNumLet}" + parts["more"],
        "in_word": r"[\p{WB=MidLetter}\p{WB=MidNumLet}\p{WB=Single_Quote}]" + parts["more"],
        "in_number": r"[\p{WB=MidNum}\p{WB=MidNumLet}\p{WB=Single_Quote}]" + parts["more"],
        "hebrew": r"\p{WB=Hebrew_Letter}" + parts["more"],
    }
    parts["letter"] = r"(?:\p{{WB=ALetter}}{more}|{hebrew}(?:'{more}|\"{more}(?={hebrew}))?+)".format(**parts)
    parts["run"] = (
        r"(?:{kana}(?:(?:{join})*+{kana})*+"
        r"|(?:{digit}(?:(?:(?:{join})*+|{in_number}){digit})*+|{letter}(?:(?:(?:{join})*+|{in_word}){letter})*+)++)"
    ).format(**parts)
    parts["emoji"] = r"(?:{base}{also}{modifier}{also}|{pictograph}{also}\ufe0f?+|{modifier}{also})".format(**parts)
    tokens = (
        r"(?:{join})*+{run}(?:(?:{join})++{run})*+(?:{join})*+",
        r"(?:\u200d++(?!{modifier}))?+{emoji}(?:(?:\u200d++|(?<=\u200d)){emoji})*+",
        r"[0-9#*][[\p{{WB=Extend}}\p{{WB=Format}}\p{{WB=ZWJ}}]--[\ufe0e\ufe0f]]*\ufe0f?\u20e3{also}",
        r"(?:{flag}{more}){{2}}",
        r"(?:\p{{LB=SA}}{more})++",
        r"[\p{{Script=Han}}\p{{Script=Hiragana}}]{more}",
    )
    return regex.compile(f"({'|'.join(tokens)})|(?:{{join}})++|\\u200d++".format(**parts), regex.VERSION1)


@lru_cache(maxsize=1 << 17)
def _term(token: str) -> str:
    """Return the term of a token, empty where the token is a stop word or no token."""
    if not token.strip("_"):
        return ""
    if token[-1] in "sS" and token[-2:-1] in ("'", "\u2019", "\uff07"):
        token = token[:-2]
    # Java lower-cases letter by letter: no final sigma, and a capital İ becomes one letter.
    token = token.lower() if token.isascii() else "".join("i" if c == "\u0130" else c.lower() for c in token)
    return "" if token in STOP_WORDS else stem(token)
