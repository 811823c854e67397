"""The line between bad input and bugs."""

import pytest

from prism_bench.commands.refusals import refusal
from prism_bench.errors import InputError
from prism_bench.files import write_atomically
from prism_bench.results.loggers import FileLogger


def test_bad_input_is_one_sentence():
    assert refusal(InputError("there is no\n  such file")) == "there is no such file"


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
