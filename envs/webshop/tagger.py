"""Taggers that decide which words of a product title are nouns, which the reward depends on.

Upstream (``web_agent_site/engine/goal.py`` of https://github.com/princeton-nlp/WebShop) takes the words that spaCy's
``en_core_web_lg`` tags NOUN or PROPN. Here the tagger is chosen by name:

* ``rules``, the default: words split roughly as by spaCy, without numbers, function words, and the adverbs, verbs and
  adjectives that spaCy seldom takes for part of a name. It needs no download. Titles capitalise nearly every word, and
  spaCy calls nearly every capitalised word a proper noun; so little is lost without a model. The word lists were made
  from every other title of the official 1,000 products. On the other 500, and on 20,000 random pairs of them, it agrees
  with spaCy 3.8 as spaCy's models agree with each other:

  =====================================  =============  =============  ==========
  share of                               rules and md   rules and sm   sm and md
  =====================================  =============  =============  ==========
  titles with the same set of nouns      40 %           42 %           43 %
  pairs with the same class of score     98.4 %         98.3 %         98.3 %
  correlation of the scores              0.988          0.985          0.986
  =====================================  =============  =============  ==========

  A score is the reward's title score, a class one of the ranges that the reward distinguishes: 0, below 0.1, up to 0.2,
  above. Upstream's ``lg`` was compared on the title scores in upstream's own tests only, which are the same.
* ``spacy:MODEL``: any installed spaCy model; ``spacy:en_core_web_lg`` is upstream's.
* ``tokens``: everything between white space is a noun. The recorded rewards of the official code were made with it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from prism_bench.errors import InputError

Tagger = Callable[[str], Sequence[str]]
"""A function from a title to its nouns: lower-cased, in order, with repetitions."""

DEFAULT_TAGGER = "rules"
_SPACY = "spacy:"
_CACHED_TITLES = 1 << 13

_CORE = re.compile(r"[^\W_](?:.*[^\W_])?")  # a word without the punctuation around it
_POSSESSIVE = re.compile(r"['\u2019][sS]$")
# Places inside a word where spaCy splits it: "Short-Sleeve", "Black/White", "Sofa,Chair", "5*7", "60ft".
_SPLIT = re.compile(
    r"(?<=[^\W_])[-~\u2013\u2014:<>=/](?=[^\W\d_])"
    r"|(?<=[^\W\d_]),(?=[^\W\d_])"
    r"|(?<=\d)[+\-*^](?=[\d-])"
    r"|(?<=[a-z])\.(?=[A-Z])"
    r"|\.\.+|--+"
    r"|(?<=\d)(?=(?:km|cm|mm|nm|m|ft|in|yd|kg|g|mg|lb|oz|[kmgt]b|KB|[GMT]B?)$)"
)
_FUNCTION_WORDS = """
    a an the and or nor but plus x etc for with without of in on at by to from into onto over under up down out off as
    against through than per between behind below above after before during within about via like if while when where
    which that this these those each every any all some both no not only so very just also too more most other own your
    you my me i it its his her our we us they them their who what how is are was were be been am being do does did has
    have had can could will would should may must one two three four five six seven eight nine ten
"""
_ADVERBS = """
    fully gently nearly highly simply effectively easily quickly perfectly specially extremely really still well ever
    never always again once overall now definitely
"""
_VERBS = """
    make makes made designed includes include included including protects protect removes remove reduces promote
    promotes supports restores enjoy apply used listed renewed discontinued keeps keep helps help gives allows prevents
    provides improves creates stay get see sit catch infused built covers tempered shaped proven rotating
    sleeping fitted imported gain hold holds strengthen soothes excite shut play
"""
_ADJECTIVES = """
    original true thin empty elegant different various suitable resealable squeezable extendable replaceable colorful
    typical total younger tired unframed
"""
_NEVER_NOUNS = frozenset((_FUNCTION_WORDS + _ADVERBS + _VERBS + _ADJECTIVES).split())
_LOWER_CASE_ADJECTIVE = re.compile(
    r"anti|black|blue|brown|clean|cool|deep|dry|extra|fit|free|fresh|gray|green|high|large|light|long|low|new|old|pink"
    r"|red|safe|short|slim|small|soft|thick|tall|warm|white|wide|yellow|.{3,}(?:able|ible|ful|less|ous|ive|ed|ly)"
)


@lru_cache(maxsize=8)
def noun_tagger(name: str) -> Tagger:
    """Return the tagger called ``name``, which caches the last titles.

    Raises:
        InputError: there is none of that name, or spaCy or its model is not installed.
    """
    tag: Tagger
    if name == DEFAULT_TAGGER:
        tag = _rules
    elif name == "tokens":
        tag = _tokens
    elif name.startswith(_SPACY):
        tag = _spacy_nouns(name.removeprefix(_SPACY))
    else:
        raise InputError(f"there is no tagger {name!r}; choose {DEFAULT_TAGGER}, tokens or {_SPACY}MODEL")
    return lru_cache(maxsize=_CACHED_TITLES)(tag)


def describe(name: str) -> str:
    """Return a description of the tagger ``name`` and of its agreement with upstream's, in one line.

    Raises:
        InputError: as for :func:`noun_tagger`.
    """
    noun_tagger(name)  # refuses an unknown name
    if name == DEFAULT_TAGGER:
        return (
            "rules: nouns by word lists (upstream: by spaCy en_core_web_lg, not compared; title scores fall into the "
            "same class as with en_core_web_md for 98 % of pairs of official titles, and so do en_core_web_sm's)"
        )
    if name == "tokens":
        return "tokens: every word of a title is a noun (upstream: those that spaCy en_core_web_lg tags as nouns)"
    meta = _load(name.removeprefix(_SPACY)).meta
    return f"{name}: nouns by spaCy's {meta['lang']}_{meta['name']} {meta['version']} (upstream: en_core_web_lg)"


def _tokens(title: str) -> tuple[str, ...]:
    return tuple(title.lower().split())


def _rules(title: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _words(title) if _may_be_noun(word))


def _words(title: str) -> Iterator[str]:
    for piece in title.split():
        if core := _CORE.search(piece):
            yield from filter(None, _SPLIT.split(_POSSESSIVE.sub("", core[0])))


def _may_be_noun(word: str) -> bool:
    if not any(map(str.isalpha, word)) or (word[0].isdigit() and word != "3D"):
        return False
    return word.lower() not in _NEVER_NOUNS and not (word.islower() and _LOWER_CASE_ADJECTIVE.fullmatch(word))


def _spacy_nouns(model: str) -> Tagger:
    pipeline = _load(model)

    def tag(title: str) -> tuple[str, ...]:
        return tuple(token.text.lower() for token in pipeline(title) if token.pos_ in ("NOUN", "PROPN"))

    return tag


@lru_cache(maxsize=1)
def _load(model: str) -> Any:
    """Return the spaCy pipeline without the parts that no tag depends on."""
    try:
        import spacy
    except ImportError as error:
        raise InputError(f"the tagger {_SPACY}{model} needs spaCy: pip install spacy") from error
    try:
        return spacy.load(model, exclude=["ner", "lemmatizer"])
    except OSError as error:
        raise InputError(
            f"spaCy has no model {model!r} here; try python -m spacy download {model}, or the tagger {DEFAULT_TAGGER}"
        ) from error
