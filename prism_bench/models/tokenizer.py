"""A tokenizer made from scratch from the text of an environment, for small models.

A small model learns fastest when a token is a thing: the name of an entity (``drawer 3``), a fixed phrase of the
environment (``You arrive at``), or a word. Four rules find them in any text:

* a word followed by a number names an *entity* and is one token;
* a number sign and its number name a *position* (``#7``) and are one token;
* neighbouring words that (nearly) always occur together are merged into a *phrase*, as word2phrase does (Mikolov et
  al. 2013, arXiv 1310.4546), here with the larger of the two conditional frequencies and until nothing changes. Words
  that name entities or stand before a position are never merged: the name of a thing must stay visible;
* everything else stays a word, with the space before it.

Bytes are the last resort, so that any text can be encoded and decoded exactly; words with letters beyond ASCII are
spelled in bytes.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, ACT, END = "<|pad|>", "<|act|>", "<|end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.content }}"
    "{{ '" + END + "' if message.role == 'assistant' else '" + ACT + "' }}{% endfor %}"
)
"""One marker after each message: the policy writes after ``ACT`` and stops with ``END``."""

_ENTITY = re.compile(r" ?[a-z]+ \d+")
_POSITION = re.compile(r"#\d+")
_PIECE = re.compile(r" ?\b[a-z]+ \d+\b|#\d+| ?\w+| ?[^\w\s#]+| ?#|\s")


def build_tokenizer(texts: Iterable[str], min_count: int = 20, cohesion: float = 0.9) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose vocabulary is the entities, phrases and words of ``texts``.

    Args:
        texts: observations and actions of the environment; repeated texts weigh more.
        min_count: how often a pair must occur before it may become one phrase.
        cohesion: the least frequency of one word of a pair, given the other, with which the two merge.
    """
    weights = Counter(texts)
    sequences = [(_split(text), count) for text, count in weights.items()]
    names = {piece.split()[0] for pieces, _ in sequences for piece in pieces if _ENTITY.fullmatch(piece)}
    frozen = {piece for pieces, _ in sequences for piece in pieces if _names_something(piece, names)}
    frozen |= {
        named for pieces, _ in sequences for named, piece in itertools.pairwise(pieces) if _POSITION.fullmatch(piece)
    }
    vocabulary = {piece for pieces, _ in sequences for piece in pieces}
    while merges := _cohesive_pairs(sequences, frozen, min_count, cohesion):
        sequences = [(_merge(pieces, merges), count) for pieces, count in sequences]
    vocabulary |= {piece for pieces, _ in sequences for piece in pieces}

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: number for number, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (PAD, ACT, END)])
    # Pieces beyond ASCII are left to bytes: the decoder would take a token such as "\u00e9" for the byte E9.
    pieces = [piece for piece in sorted(vocabulary) if piece.isascii() and len(piece) > 1]
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in pieces])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[ACT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def entity_parts(tokenizer: PreTrainedTokenizerFast) -> dict[int, tuple[str, str]]:
    """Return name and number of every entity token, by token id: ``{417: ("drawer", "3")}``."""
    return {
        number: (token.split()[0], token.split()[1])
        for token, number in tokenizer.get_vocab().items()
        if _ENTITY.fullmatch(token)
    }


def _split(text: str) -> list[str]:
    return [match.group() for match in _PIECE.finditer(text)]


def _names_something(piece: str, names: set[str]) -> bool:
    return any(kind.fullmatch(piece) for kind in (_ENTITY, _POSITION)) or piece.strip() in names


def _cohesive_pairs(
    sequences: list[tuple[list[str], int]], frozen: set[str], min_count: int, cohesion: float
) -> set[tuple[str, str]]:
    singles, pairs = Counter[str](), Counter[tuple[str, str]]()
    for pieces, count in sequences:
        for piece in pieces:
            singles[piece] += count
        for pair in itertools.pairwise(pieces):
            pairs[pair] += count
    return {
        (first, second)
        for (first, second), count in pairs.items()
        if count >= min_count
        and not {first, second} & frozen
        and count >= cohesion * min(singles[first], singles[second])
    }


def _merge(pieces: list[str], merges: set[tuple[str, str]]) -> list[str]:
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) in merges:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged
