"""Commands that only read what runs have left do not wait for the libraries that train."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
from prism_bench.commands import cache, compare, report

for command, arguments in json.loads(sys.argv[1]):
    {"cache": cache, "compare": compare, "report": report}[command].main(arguments)
    heavy = {"torch", "transformers", "trl"} & sys.modules.keys()
    assert not heavy, (command, heavy)
"""


def test_results_and_stages_are_read_without_what_trains(folders, tmp_path):
    file = str(tmp_path / "comparison.json")
    commands = [
        ["report", [str(folders[0])]],
        ["report", [*map(str, folders), "--save", file, "--page", str(tmp_path / "page.html")]],
        ["compare", ["--verify", file]],
        ["cache", ["list", "--cache", str(tmp_path)]],
    ]
    subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(commands)], check=True, cwd=tmp_path)
