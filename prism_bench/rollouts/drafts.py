"""Drafts: the tokens that probably come next, because they came next before (prompt lookup).

Agents repeat themselves and name what they have just read. A model that is given a token and a draft of those after it
reads them in one forward pass, and every token that it would have drawn anyway is a pass saved (speculative decoding,
arXiv 2211.17192, with the text itself in place of a small model). Here a draft never changes what is drawn: each token
is drawn from the model's own distribution at the next number of the session's stream, as without drafts, and the draft
is dropped from the first token on that is another.
"""

from collections.abc import Iterable


class Lookup:
    """The tokens of a session, and where each one and each pair of neighbours occurred last."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._after_pair: dict[tuple[int, int], int] = {}
        self._after: dict[int, int] = {}

    def extend(self, ids: Iterable[int]) -> None:
        """Append tokens."""
        for token in ids:
            place = len(self.ids)
            if place:
                self._after[self.ids[-1]] = place
            if place > 1:
                self._after_pair[self.ids[-2], self.ids[-1]] = place
            self.ids.append(token)

    def draft(self, most: int, end_token_id: int) -> list[int]:
        """Return up to ``most`` tokens that may come after at least one, none of which ends a completion.

        They are those that followed the last two tokens where these occurred last, or else the last one.
        """
        if most < 1:
            return []
        ids = self.ids
        place = self._after_pair.get((ids[-2], ids[-1])) if len(ids) > 1 else None
        place = self._after.get(ids[-1]) if place is None else place
        found = [] if place is None else ids[place : place + most]
        return found[: found.index(end_token_id)] if end_token_id in found else found
