"""Commands that only read what runs have left do not wait for the libraries that train."""

import json
import subprocess
import sys

from example_runs import run

from prism_bench.results.result import RESULT, write_result

PROGRAM = """
import json, sys
from prism_bench.commands import cache, compare, report

for command, arguments in json.loads(sys.argv[1]):
    {"cache": cache, "compare": compare, "report": report}[command].main(arguments)
    heavy = {"torch", "transformers", "trl"} & sys.modules.keys()
    assert not heavy, (command, heavy)
"""


def test_results_and_stages_are_read_without_what_trains(tmp_path):
    config = {"env": {"make": {"_target_": "envs.gone.Environment"}, "expert": "any"}}
    write_result(tmp_path / "one" / RESULT, run(config=config))
    write_result(tmp_path / "two" / RESULT, run(router="random", config=config))
    folders, file = [str(tmp_path / "one"), str(tmp_path / "two")], str(tmp_path / "comparison.json")
    commands = [
        ["report", folders[:1]],
        ["report", [*folders, "--save", file, "--page", str(tmp_path / "page.html")]],
        ["compare", ["--verify", file]],
        ["cache", ["list", "--cache", str(tmp_path)]],
    ]
    subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(commands)], check=True, cwd=tmp_path)
