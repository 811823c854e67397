"""The arguments that a class or function takes, with their types, from its signature.

A class whose ``**options`` go to its base class takes the arguments of both. Other functions to which they go are named
in an annotation::

    def __init__(self, *, split: str, **options: Annotated[Any, ArgumentsOf(GeneratedGames)]) -> None:
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_type_hints

import gymnasium
from typing_extensions import is_protocol

from prism_bench.settings.values import Type


@dataclass(frozen=True)
class ArgumentsOf:
    """Annotation of ``**options`` that are arguments of another function or class.

    Attributes:
        function: takes them.
        types: narrower types of some of them, by name.
        withheld: those that the caller sets and a setting may not.
    """

    function: Callable[..., Any]
    types: Mapping[str, Any] = field(default_factory=dict, hash=False)
    withheld: Collection[str] = field(default=(), hash=False)


@dataclass(frozen=True)
class Arguments:
    """The arguments of a function.

    Attributes:
        types: by name.
        required: names of those without a default.
        withheld: names of those that only code sets.
        others: whether it takes arguments of any other name, too.
    """

    types: Mapping[str, Type]
    required: frozenset[str] = frozenset()
    withheld: frozenset[str] = frozenset()
    others: bool = False


@functools.cache
def arguments_of(function: Callable[..., Any]) -> Arguments:
    """Return the arguments of a class or function."""
    types: dict[str, Type] = {}
    required: set[str] = set()
    others: ArgumentsOf | bool = False
    for number, (parameters, hints) in enumerate(_signatures(function)):
        others = False
        for name, parameter in parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                others = next((mark for mark in marks(hints.get(name)) if isinstance(mark, ArgumentsOf)), True)
            elif parameter.kind is not parameter.VAR_POSITIONAL and name not in types:
                types[name] = Type(hints.get(name, Any))
                if number == 0 and parameter.default is parameter.empty:  # a subclass may fill those of its base
                    required.add(name)
        if isinstance(others, ArgumentsOf):
            more = arguments_of(others.function)
            narrowed = {name: Type(hint) for name, hint in others.types.items()}
            withheld = frozenset(others.withheld) - types.keys()
            return Arguments(
                {**more.types, **narrowed, **types}, frozenset(required), more.withheld | withheld, more.others
            )
        if not others:
            others = number > 0 and not parameters  # a base class that takes nothing was given nothing, either
            break
    return Arguments(types, frozenset(required), others=others is True)


def environment_arguments(name: str) -> Arguments:
    """Return the arguments of ``gymnasium.make`` for a registered environment: its own and the environment's."""
    entry_point = gymnasium.spec(name).entry_point
    creator = gymnasium.envs.registration.load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    own = arguments_of(gymnasium.make)
    made = arguments_of(cast(Any, creator)) if creator is not None else Arguments({}, others=True)
    return Arguments({**made.types, **own.types}, own.required | made.required, made.withheld, made.others)


def _signatures(function: Callable[..., Any]) -> Iterator[tuple[Mapping[str, inspect.Parameter], dict[str, Any]]]:
    """Yield parameters and type hints of a function; of a class, those of each constructor, its own first."""
    if not inspect.isclass(function):
        yield inspect.signature(function).parameters, _hints(function)
        return
    for owner in function.__mro__:
        if "__init__" in vars(owner) and owner is not object and not is_protocol(owner):
            parameters = dict(list(inspect.signature(vars(owner)["__init__"]).parameters.items())[1:])  # without self
            yield parameters, _hints(owner if dataclasses.is_dataclass(owner) else vars(owner)["__init__"])


def _hints(annotated: Any) -> dict[str, Any]:
    try:
        return get_type_hints(annotated, include_extras=True)
    except (NameError, TypeError):  # names that only type checkers see
        return {}


def marks(hint: Any) -> tuple[Any, ...]:
    """Return what ``Annotated`` adds to a type."""
    return getattr(hint, "__metadata__", ())
