"""Reader of official ``game.tw-pddl`` files: returns a :class:`~envs.alfworld.game.Game`.

Such a file is JSON with the PDDL domain, the text grammar, the PDDL problem and whether the game can be solved. Domain
and grammar are the same in all games of a release except for the task sentence. They are recognised by a digest, and
their rules are in :mod:`envs.alfworld.engine`; only the problem is parsed. An unknown domain or grammar is refused,
because the engine could not answer word for word.
"""

import functools
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, get_args

from envs.alfworld.game import Game, Goal, Receptacle, Rule, Thing, Wording
from envs.alfworld.naming import number_names
from prism_bench.errors import InputError

# SHA-256 of the text without its task sentence and with every run of white space as one blank (see `digest`).
_DOMAINS = frozenset(
    {
        "f51911bbdee3be25b67ae483468f721a40d79c00636b1465566266070a7e7fd1",  # games v2.1.1
        "8a8b56e1d06229b564b808ee83c8d8a6c0e16f18ba1e949325e4551b39f3e007",  # one game of v2.1.1
        "095330b41d6659e74c6797f4a914b07923707bc33fa33984f278c9cb98edec5b",  # games v2.1.2
        "c1ef97add90ca92e2a4ac7431e16f2d4073301a21cec767355cc0b8c99156aef",  # package 0.4.2
    }
)
_GRAMMARS: Mapping[str, Wording] = {
    "2d3167f12452fd82f327e388a165a1bc9ea1c1c05ed5ef167a5d988fa10d90b9": "put",  # games v2.1.1
    "4cff29707b7984f6afe744fe2aa27da54475efce4f6da1bac6a766c26a753522": "move",  # games v2.1.2
    "160460f6028632bb243bd367c990bb90d448e65fe51f8ef96a9f87b61f49b1df": "move",  # package 0.4.2
}

RULES = "prism_bench_rules"
"""The key of a game file that names changed rules: a game that only the native engine can play."""

_TASK = re.compile(r'"Your task is to: ([^"]*)\."')
_PLAIN_SENTENCE = re.compile(r"[A-Za-z0-9 ,.'/-]*")
_OTHER_ENGINE = "use upstream's with +env.make.engine=textworld"
_FACT = re.compile(r"\((\w+) (\w+)(?: (\w+))?\)")
_DISTANCES = re.compile(r"\(= \(distance [^()]*\) \d+\)")
_BLANKS = re.compile(r"\s+")

# Predicates of facts at the start. The last three never show in the text of a game.
_PREDICATES = {
    *("atLocation", "receptacleAtLocation", "objectAtLocation", "receptacleType", "objectType", "inReceptacle"),
    *("openable", "opened", "canContain", "pickupable", "cleanable", "heatable", "coolable", "toggleable", "sliceable"),
    *("isReceptacleObject", "inReceptacleObject", "isCool", "moveable", "full", "isOn"),
}

_GOAL_TYPE = re.compile(r"\((objectType|receptacleType) (\?\w+) (\w+?)Type\)")
# SHA-256 (16 digits) of a goal without blanks, closing brackets at its end and the types it names.
_GOALS: Mapping[str, str] = {
    "299c9508e23b34cd": "pick_and_place_simple",
    "46750530b14e2c72": "look_at_obj_in_light",
    "f57be595f8f1858b": "pick_clean_then_place_in_recep",
    "b2a29ef94c8e9149": "pick_heat_then_place_in_recep",
    "26bf2572846dab89": "pick_cool_then_place_in_recep",
    "635e1cdece81e73c": "pick_two_obj_and_place",
}


def digest(text: str) -> str:
    """Return the digest of a PDDL domain or grammar without its task sentence, whatever its white space."""
    return hashlib.sha256(_BLANKS.sub(" ", _TASK.sub("", text)).strip().encode()).hexdigest()


def parse_game(content: str | Mapping[str, Any], task_id: str) -> Game:
    """Return the game of the text of a ``game.tw-pddl`` file, or of its parsed JSON.

    Raises:
        InputError: the content is no game file, its domain, grammar, goal or a fact is unknown to the native engine, or
            the file does not say that the game can be solved.
    """
    data = load_content(content, task_id)
    if data["solvable"] is not True:
        raise InputError(f"{task_id}: the game file does not say that the game can be solved; leave this game out")
    wording = _recognise(data, task_id)
    task = _TASK.search(data["grammar"])
    if task is None:
        raise InputError(f"{task_id}: the grammar states no task; write the game file again")
    problem = data["pddl_problem"]
    start, end = problem.find("(:init"), problem.find("(:goal")
    if not 0 <= start < end:
        raise InputError(f"{task_id}: the PDDL problem lacks (:init or (:goal; write the game file again")
    facts = _facts(problem[start + 6 : end], task_id)
    try:
        receptacles, things, agent = _entities(facts)
    except (KeyError, IndexError) as missing:
        raise InputError(f"{task_id}: the PDDL problem is incomplete, facts about {missing} are missing") from None
    return Game(
        task_id=task_id,
        task_sentence=task[1] + ".",
        wording=wording,
        start=agent,
        receptacles=receptacles,
        things=things,
        fits=frozenset((_plain(holder), _plain(held)) for holder, held in facts["canContain"]),
        goal=_parse_goal(problem[end:], task_id),
        rule=_rule(data.get(RULES, []), task_id),
    )


def _rule(rules: Any, task_id: str) -> Rule | None:
    if rules not in ([], *([known] for known in get_args(Rule))):
        raise InputError(f"{task_id}: {RULES} is {rules!r}; it can be a list of one of {', '.join(get_args(Rule))}")
    return rules[0] if rules else None


def check_grammar(grammar: str, task_id: str) -> Wording:
    """Return the wording of a grammar, which has to be that of a release, with a task sentence of plain words.

    TextWorld evaluates a text in curly brackets as Python, escaped ones too, wherever it stands in a grammar.

    Raises:
        InputError: it is another grammar.
    """
    known = _known_digest(grammar)
    if known not in _GRAMMARS:
        raise InputError(
            f"{task_id}: the grammar of this game (digest {known[:12]}) is that of no release of ALFWorld, and a "
            "grammar can hold code; leave this game out, or download the games again"
        )
    for sentence in _TASK.findall(grammar):
        if not _PLAIN_SENTENCE.fullmatch(sentence):
            raise InputError(f"{task_id}: the task {sentence[:60]!r} is no plain sentence; leave this game out")
    return _GRAMMARS[known]


def load_content(content: str | Mapping[str, Any], task_id: str) -> Mapping[str, Any]:
    """Return the JSON object of a game file.

    Raises:
        InputError: it is none, or lacks one of the three texts.
    """
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except json.JSONDecodeError as error:
            raise InputError(f"{task_id}: the game file is not JSON ({error}); unpack or download it again") from None
    if not isinstance(content, Mapping):
        raise InputError(f"{task_id}: the game file holds no JSON object; unpack or download it again")
    for key in ("pddl_domain", "grammar", "pddl_problem"):
        if not isinstance(content.get(key), str):
            raise InputError(f"{task_id}: the game file has no text under {key!r}; unpack or download it again")
    return {"solvable": None, **content}


def _recognise(data: Mapping[str, Any], task_id: str) -> Wording:
    wording = check_grammar(data["grammar"], task_id)
    domain = _known_digest(data["pddl_domain"])
    if domain not in _DOMAINS:
        raise InputError(
            f"{task_id}: the native engine does not know the PDDL domain (digest {domain[:12]}) of this game; "
            f"{_OTHER_ENGINE}"
        )
    return wording


@functools.lru_cache(maxsize=8)
def _digest_without_task(text: str) -> str:
    return digest(text)


def _known_digest(text: str) -> str:
    # All games of a release share these texts without their task, so that each is hashed once.
    return _digest_without_task(_TASK.sub("", text))


def _facts(init: str, task_id: str) -> defaultdict[str, list[tuple[str, str]]]:
    """Return the facts by predicate, ids in lower case as TextWorld has them; a fact of one argument repeats it."""
    if "distance" in init:
        init = _DISTANCES.sub("", init)
    facts: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    found = _FACT.findall(init)
    if len(found) != init.count("("):
        odd = _FACT.sub("", init).replace(")", "").strip()
        raise InputError(f"{task_id}: the PDDL problem has an entry that is no simple fact: {odd[:60]!r}")
    for predicate, first, second in found:
        facts[predicate].append((first, second))
    unknown = facts.keys() - _PREDICATES
    if unknown:
        raise InputError(
            f"{task_id}: the native engine does not know facts of the kind {min(unknown)!r} at the start of a game; "
            f"{_OTHER_ENGINE}"
        )
    return facts


def _plain(type_name: str) -> str:
    return type_name.removesuffix("Type")


def _entities(facts: Mapping[str, list[tuple[str, str]]]) -> tuple[tuple[Receptacle, ...], tuple[Thing, ...], str]:
    """Return receptacles and things, each sorted by lower-case id, and the agent's location at the start."""

    def members(predicate: str) -> set[str]:
        return {first.lower() for first, _ in facts[predicate]}

    def by_first(predicate: str) -> dict[str, list[str]]:
        pairs = defaultdict(list)
        for first, second in facts[predicate]:
            pairs[first.lower()].append(second.lower())
        return pairs

    receptacle_types = {identifier.lower(): _plain(kind) for identifier, kind in facts["receptacleType"]}
    thing_types = {identifier.lower(): _plain(kind) for identifier, kind in facts["objectType"]}
    names = number_names([*receptacle_types, *thing_types])
    openable, opened = members("openable"), members("opened")
    locations = by_first("receptacleAtLocation")
    receptacles = tuple(
        Receptacle(
            id=identifier,
            name=names[identifier],
            type=receptacle_types[identifier],
            location=locations[identifier][0],
            openable=identifier in openable,
            opened=identifier in opened,
        )
        for identifier in sorted(receptacle_types)
    )
    properties = {
        field: members(predicate)
        for field, predicate in (
            ("pickupable", "pickupable"),
            ("cleanable", "cleanable"),
            ("heatable", "heatable"),
            ("coolable", "coolable"),
            ("toggleable", "toggleable"),
            ("sliceable", "sliceable"),
            ("vessel", "isReceptacleObject"),
            ("cool", "isCool"),
        )
    }
    held_by, beside, vessels = by_first("inReceptacle"), by_first("objectAtLocation"), by_first("inReceptacleObject")
    things = []
    for identifier in sorted(thing_types):
        holders = sorted(set(held_by.get(identifier, ())))
        things.append(
            Thing(
                id=identifier,
                name=names[identifier],
                type=thing_types[identifier],
                receptacle=holders[0] if holders else None,
                location=beside[identifier][0] if identifier in beside else None,
                also_in=tuple(holders[1:]),
                inside_vessels=tuple(sorted(set(vessels.get(identifier, ())))),
                **{field: identifier in ids for field, ids in properties.items()},
            )
        )
    return receptacles, tuple(things), facts["atLocation"][0][1].lower()


def _parse_goal(text: str, task_id: str) -> Goal:
    shape = _BLANKS.sub("", _GOAL_TYPE.sub(r"(\1 \2 _)", text)).strip(")")
    task_type = _GOALS.get(hashlib.sha256(shape.encode()).hexdigest()[:16])
    named: dict[str, list[str]] = {"objectType": [], "receptacleType": []}
    for predicate, _, type_name in _GOAL_TYPE.findall(text):
        named[predicate].append(type_name)
    objects, receptacles = named["objectType"], named["receptacleType"]
    if task_type == "look_at_obj_in_light":
        return Goal(task_type, object_type=objects[1], lamp_type=objects[0])
    if task_type is None or len(set(objects)) != 1 or len(set(receptacles)) != 1:
        raise InputError(f"{task_id}: the native engine does not know this form of goal; {_OTHER_ENGINE}")
    return Goal(task_type, object_type=objects[0], receptacle_type=receptacles[0])
