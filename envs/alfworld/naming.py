"""The names of entities in texts, from the ids of a game file: ``Drawer_bar_..`` becomes ``drawer 3``.

Source: class ``Demangler`` in ``alfworld/agents/utils/misc.py`` (ALFWorld 0.4.2, MIT). Within one class of entities the
numbers descend over the ids sorted as lower-case text: the first id gets the highest number.
"""

from collections import defaultdict
from collections.abc import Iterable

SEPARATOR = "_bar_"


def number_names(ids: Iterable[str]) -> dict[str, str]:
    """Return the name of every id in ``ids`` (ids of receptacles, objects or locations, together or apart).

    The class is the text before the first ``_bar_``. An id that contains ``basin`` is the basin of a sink or bathtub,
    which is another class than the sink itself. An id without ``_bar_`` keeps its own text.
    """
    names: dict[str, str] = {}
    classes: defaultdict[str, list[str]] = defaultdict(list)
    for identifier in ids:
        lowered = identifier.lower()
        word, separator, _ = lowered.partition(SEPARATOR)
        if not separator:
            names[identifier] = lowered
        else:
            classes[word + "basin" if "basin" in lowered else word].append(identifier)
    for word, members in classes.items():
        ordered = sorted(members, key=str.lower)
        names.update((identifier, f"{word} {len(ordered) - index}") for index, identifier in enumerate(ordered))
    return names
