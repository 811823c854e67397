"""Types of settings: numbers with bounds, and groups that are made elsewhere.

They are annotations, for anybody's classes: a constructor that asks for a ``Count`` is never given a 0. Any other
annotation that pydantic knows works as well.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MinLen

_MOST = 2**31 - 1  # what libraries in C take

Count = Annotated[int, Ge(1), Le(_MOST)]
"""A whole number from 1 on."""

CountFromZero = Annotated[int, Ge(0), Le(_MOST)]
"""A whole number from 0 on."""

Seed = Annotated[int, Ge(0), Lt(2**32)]
"""A seed that every library takes."""

Positive = Annotated[float, Gt(0)]
"""A number above 0."""

NotNegative = Annotated[float, Ge(0)]
"""A number from 0 on."""

Share = Annotated[float, Ge(0), Le(1)]
"""A number from 0 to 1."""

Fraction = Annotated[float, Gt(0), Lt(1)]
"""A number between 0 and 1, neither of which it is."""

Text = Annotated[str, MinLen(1)]
"""A text that is not empty."""

AS_WRITTEN = "as written"
"""Mark of a type whose values are checked and made elsewhere, although they name classes."""

Group = Annotated[Mapping[str, Any], AS_WRITTEN]
"""A group of settings as it is written."""

Items = Annotated[Sequence[Any], AS_WRITTEN]
"""A list of anything, as it is written."""
