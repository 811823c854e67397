"""Tokenizers with the chat templates of real models."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trl
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIALS = {
    "qwen": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "llama": ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
}
TEMPLATES = Path(trl.__file__).parent / "chat_templates"


@pytest.fixture(scope="session")
def chat_tokenizer() -> Callable[[str], PreTrainedTokenizerFast]:
    """Return a maker of tokenizers that spell in bytes and have a chat template of TRL's collection, by file name."""

    def make(template: str) -> PreTrainedTokenizerFast:
        specials = SPECIALS["llama" if template.startswith("llama") else "qwen"]
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE(vocab={byte: number for number, byte in enumerate(alphabet)}, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            bos_token=specials[0] if "begin" in specials[0] else None,
            eos_token=specials[-1],
            chat_template=(TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8"),
        )

    return make
