"""``--help`` shows every setting with its comment, and settings whose defaults are in code only."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from prism_bench.commands.settings_help import Argument, parsed_arguments

ROOT = Path(__file__).resolve().parents[3]
CONF = ROOT / "conf"


@pytest.fixture(scope="module")
def shown() -> str:
    finished = subprocess.run([sys.executable, str(ROOT / "run.py"), "--help"], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize(
    "file", ["config", "model/tiny", "router/prism", "algorithm/sft", "algorithm/grpo", "env/alfworld"]
)
def test_every_comment_beside_a_setting_is_shown(shown, file):
    text = (CONF / f"{file}.yaml").read_text().partition("\nhydra:")[0].partition("\n\n")[2 if file == "config" else 0]
    comments = re.findall(r"^ *(\w+):.*?# (.+)$", text, re.MULTILINE)
    assert comments
    for name, comment in comments:
        assert re.search(rf"^ *{name}: .*# {re.escape(comment)}$", shown, re.MULTILINE), name


def test_defaults_in_code_are_shown_with_a_plus(shown):
    assert re.search(r"^  \+patience: 3 +# checks of the held-out loss without improvement", shown, re.MULTILINE)
    assert (
        re.search(r"^  \+projections: null", shown, re.MULTILINE) and "  temperature: ${rollout.temperature}" in shown
    )


class Sizes:
    """Something that a setting makes.

    Args:
        small: first line
            and second.
        large, huge: both.
    """

    def __init__(self, *, small: int, large: tuple[int, ...] = (1, 2), huge: object = object) -> None:
        raise AssertionError("the help makes nothing")


def test_arguments_are_read_off_the_source():
    assert parsed_arguments(f"{__name__}.Sizes") == {
        "small": Argument(None, "first line and second"),
        "large": Argument("[1, 2]", "both"),
        "huge": Argument("object", "both"),
    }
    inherited = parsed_arguments("prism_bench.models.policy.PretrainedModel")
    assert (
        inherited["batch_size"] == Argument(None, "episodes that run at once") and inherited["lora"].default == "null"
    )
    assert parsed_arguments("gymnasium.make") == parsed_arguments("no_such_module.Class") == {}
