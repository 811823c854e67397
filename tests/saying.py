"""A backend that needs no model: it writes the same text in every turn."""

from dataclasses import dataclass, field

from prism_bench.data.rendering import Renderer
from prism_bench.rollouts.backend import Completion, Work


@dataclass
class Saying:
    """Writes ``text`` in every turn of every session, and remembers which sessions were served together."""

    renderer: Renderer
    text: str = "go east"
    served: list[list[int]] = field(default_factory=list)

    def complete(self, new_tokens, sampling):
        self.served.append(list(new_tokens))
        ids = [*self.renderer.tokenizer.encode(self.text, add_special_tokens=False), self.renderer.end_token_id]
        return {session: Completion(ids, [-0.5] * len(ids)) for session in new_tokens}

    def most_sessions(self, tokens):
        return None

    def close(self, sessions):
        pass

    def take_work(self):
        return Work()
