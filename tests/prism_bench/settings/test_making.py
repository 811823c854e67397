"""Objects made of settings: arguments are checked by type hints, whoever wrote the class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import gymnasium
import pytest
from pydantic import Field

from prism_bench.errors import InputError
from prism_bench.settings.configuration import Place
from prism_bench.settings.making import build, make
from prism_bench.settings.signatures import ArgumentsOf
from prism_bench.settings.targets import check_targets


class Part:
    def __init__(self, size: Annotated[int, Field(ge=1)] = 1) -> None:
        self.size = size


class Whole:
    """A class as a third party may write it."""

    def __init__(
        self,
        part: Part,
        rate: float = 0.5,
        kind: Literal["a", "b"] = "a",
        names: Sequence[str] = (),
        limits: tuple[int, int] | None = None,
        place: Path | None = None,
        anything=None,  # type: ignore[no-untyped-def]
    ) -> None:
        self.found = (part, rate, kind, names, limits, place, anything)
        if kind == "b" and rate > 1:
            raise InputError("kind=b takes no rate above 1")
        if anything == "bug":
            raise ValueError("deep inside")


class More(Whole):
    """Takes the arguments of its base class and those of a function."""

    def __init__(self, colour: str = "red", **others: Any) -> None:
        super().__init__(**others)


class Strict(gymnasium.Env[int, int]):
    def __init__(self, size: int, **part: Annotated[Any, ArgumentsOf(Part, withheld=["secret"])]) -> None: ...


class Sized(Protocol):
    size: int


@dataclass(frozen=True)
class Inner:
    depth: int


@dataclass(frozen=True)
class Outer:
    inner: Inner
    on: bool = False


gymnasium.register("Strict-v0", entry_point=Strict)
PART = {"_target_": f"{__name__}.Part"}


def whole(**settings: Any) -> Any:
    return make({"_target_": f"{__name__}.Whole", "part": PART, **settings}, "whole")


def test_values_become_what_the_hints_say():
    part, *rest = whole(rate=1, names=["x"], limits=[1, 2], place="a/b", anything={"x": 1}).found
    assert isinstance(part, Part) and rest == [1, "a", ["x"], (1, 2), Path("a/b"), {"x": 1}]
    assert make(PART | {"_partial_": True}, "part")(size=3).size == 3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rate": "1"}, "whole.rate=1 is not possible; it should be a number"),
        ({"rate": True}, "whole.rate=true is not possible; it should be a number"),
        ({"rate": float("nan")}, "whole.rate=NaN is not possible; it should be a finite number"),
        ({"kind": "c"}, "whole.kind=c is not possible; it should be 'a' or 'b'"),
        ({"names": "x"}, "whole.names=x is not possible; it should be a list"),
        ({"names": [1]}, "whole.names=[1] is not possible; it should be a text"),
        ({"limits": [1, 2.5]}, "whole.limits=[1, 2.5] is not possible; it should be a whole number, or null"),
        ({"place": "a\0"}, "contains a NUL character"),
        ({"rat": 1}, "whole has no setting 'rat'; the nearest are rate, "),
        ({"part": PART | {"size": 0}}, "whole.part.size=0 is not possible; it should be 1 or more"),
        ({"part": 3}, "whole.part=3 is not possible; it should be a group of settings that makes a Part"),
        ({"part": {"_target_": f"{__name__}.Inner", "depth": 1}}, "whole.part makes a Inner, which is not possible"),
        ({"kind": "b", "rate": 2}, "whole: kind=b takes no rate above 1"),
        ({"_partial_": "yes"}, "whole._partial_=yes is not possible; it should be true or false"),
    ],
)
def test_values_of_another_type_are_refused_under_their_full_name(settings, sentence):
    with pytest.raises(InputError) as refusal:
        whole(**settings)
    assert sentence in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_bug_of_a_class_stays_one():
    with pytest.raises(ValueError, match="deep inside") as bug:
        whole(anything="bug")
    assert not isinstance(bug.value, InputError)


def test_further_arguments_are_those_of_the_base_class_or_of_a_named_function():
    more = {"_target_": f"{__name__}.More", "part": PART}
    assert make(more | {"colour": "blue", "rate": 2.0}, "more").found[1] == 2.0
    with pytest.raises(InputError, match="more has no setting 'color'; the nearest are colour, "):
        make(more | {"color": "blue"}, "more")
    environment = {"_target_": "gymnasium.make", "id": "Strict-v0", "size": 2}
    for wrong, sentence in (
        ({"size": "2"}, "env.size=2 is not possible; it should be a whole number"),
        ({"secret": 1}, "env.secret is set by the run; leave it out"),
        ({"colour": 1}, "env has no setting 'colour'"),
        ({"max_episode_steps": "all"}, "env.max_episode_steps=all is not possible"),
        ({"id": "Absent-v0"}, "env.id=Absent-v0 is not possible; .*doesn't exist"),
        ({"id": "no_such_module:X-v0"}, "env.id names the module no_such_module, which does not exist"),
    ):
        with pytest.raises(InputError, match=sentence):
            make(environment | wrong, "env")


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (None, "it should be the path of a class"),
        ("Part", "it should be the path of a class"),
        (f"{__name__}.Absent", "has no class 'Absent'"),
        (f"{__name__}.pytest", "has no class 'pytest'"),
        ("prism_bench.files.writing", "has no class 'writing'"),
        ("no_such_module.Router", "which does not exist"),
        ("prism_bench.experiment.shutil.rmtree", "which does not exist"),
        ("prism_bench.routing.router.ScoreRouter", "that is a base class"),
        (f"{__name__}.Whole", "part has no value; give it one with router.part=VALUE"),
        (f"{__name__}.Inner", "names Inner, which is no Sized, it has no size"),
    ],
)
def test_what_is_no_class_of_the_kind_is_refused(target, sentence):
    settings = {"_target_": target, **({"depth": 1} if str(target).endswith("Inner") else {})}
    with pytest.raises(InputError, match=sentence):
        make(settings, "router", Sized)


@pytest.mark.parametrize("target", ["os.system", "shutil.rmtree", "prism_benchmark.x", "gymnasium.spec"])
def test_foreign_classes_are_refused_unless_the_user_names_their_module(target):
    settings = {"router": {"_target_": target}, "phases": [{"_target_": "peft.LoraConfig"}]}
    with pytest.raises(InputError, match=r"^router\._target_ names .* modules=\["):
        check_targets(settings)
    check_targets(settings, [target.partition(".")[0]])
    with pytest.raises(InputError, match=r"^make\.id names antigravity"):
        check_targets({"make": {"_target_": "gymnasium.make", "id": "antigravity:X-v0"}})


def test_dataclasses_are_built_with_those_inside():
    assert build(Outer, {"inner": {"depth": 2}}) == Outer(Inner(2))
    for settings, sentence in (
        ({"inner": {"depth": "x"}}, r"^inner\.depth=x is not possible"),
        ({"inner": {}}, r"^inner\.depth has no value"),
        ({"inner": {"depth": 1}, "of": True}, "the configuration has no setting 'of'; the nearest are on, "),
    ):
        with pytest.raises(InputError, match=sentence):
            build(Outer, settings)


def test_a_setting_is_named_where_its_value_is_written():
    place = Place("", {"inner.depth": "seed", "seed": "first"})
    with pytest.raises(InputError, match=r"^first=x is not possible"):
        build(Outer, {"inner": {"depth": "x"}}, place)
