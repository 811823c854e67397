"""The line between bad input and bugs, drawn for objects that Hydra makes."""

import gymnasium
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from prism_bench.commands.refusals import refusal
from prism_bench.errors import InputError
from prism_bench.files import write_atomically
from prism_bench.results.loggers import FileLogger


class Strict:
    """Refuses negative sizes, takes the root of others, and calls a helper wrongly for size 7."""

    def __init__(self, size: int) -> None:
        if size < 0:
            raise InputError(f"size={size} is negative")
        if size == 7:
            helper(colour="red")  # type: ignore[call-arg]
        if size == 8:
            import a_library_that_is_not_there  # noqa: F401
        if size == 9:
            raise ValueError("deep inside")


def helper() -> None: ...


class StrictEnvironment(gymnasium.Env[int, int]):
    def __init__(self, size: int) -> None:
        Strict(size)


gymnasium.register("Strict-v0", entry_point=StrictEnvironment)


def refused(**settings: object) -> str | None:
    config = OmegaConf.create({"part": settings, "other": 3})
    try:
        instantiate(config.part)
    except Exception as error:
        return refusal(error)
    pytest.fail("nothing was raised")


@pytest.fixture(params=["class", "environment"])
def target(request: pytest.FixtureRequest) -> dict[str, object]:
    """Configuration of an object of this module, made directly or as Gymnasium makes environments."""
    if request.param == "class":
        return {"_target_": f"{__name__}.Strict"}
    return {"_target_": "gymnasium.make", "id": "Strict-v0"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": -1}, ["size=-1 is negative"]),
        ({}, ["part: ", "missing 1 required positional argument: 'size'"]),
        ({"size": 1, "colour": "red"}, ["part: ", "got an unexpected keyword argument 'colour'"]),
        ({"size": "???"}, ["part.size has no value; give it one with part.size=VALUE"]),
        ({"size": "${absent}"}, ["Interpolation key 'absent' not found"]),
    ],
)
def test_arguments_that_a_class_does_not_take_are_bad_input(target, arguments, words):
    sentence = refused(**target | arguments)
    assert sentence is not None and all(word in sentence for word in words), sentence


@pytest.mark.parametrize("size", [7, 8, 9])
def test_errors_inside_a_class_are_bugs(target, size):
    assert refused(**target | {"size": size}) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"_target_": f"{__name__}.Absent"},
        {"_target_": "no_such_module.Router"},
        {"_target_": "os.system", "command": "true"},
        {"_target_": "gymnasium.make", "id": "Absent-v0"},
        {"_target_": "gymnasium.make", "id": "no_such_module:Absent-v0"},
    ],
)
def test_classes_and_environments_that_do_not_exist_are_bad_input(settings):
    assert refused(**settings)


def test_a_missing_key_is_bad_input_only_where_the_user_removed_it():
    config = OmegaConf.create({"seed": 0})
    OmegaConf.set_struct(config, True)
    with pytest.raises(AttributeError) as caught:
        _ = config.prompt
    assert refusal(caught.value) is None
    assert refusal(caught.value, removed=True) == "the configuration has no prompt"


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), OSError(5, "x"), RuntimeError("x"), TypeError("x")])
def test_other_errors_are_bugs(error):
    assert refusal(error) is None


@pytest.mark.parametrize(
    "write", [lambda folder: write_atomically(folder / "result.json", "{}"), lambda folder: FileLogger(folder / "run")]
)
def test_a_folder_that_cannot_be_written_is_bad_input(tmp_path, write):
    (tmp_path / "occupied").write_text("a file")
    with pytest.raises(InputError, match=r"occupied.* cannot be written \((Not a directory|File exists)\)"):
        write(tmp_path / "occupied")


def test_a_full_disk_is_bad_input(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    logger = FileLogger(tmp_path)
    with pytest.raises(InputError, match=r"metrics.jsonl cannot be written \(No space left on device\)"):
        logger.log({"loss": 1.0}, step=0)
