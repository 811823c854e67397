"""Files, Python, commands and links of the README and of docs/ work as written, in a copy of the project."""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import house
import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from prism_bench.commands import main
from prism_bench.data.trajectory import load_trajectories
from prism_bench.results.result import read_result

ROOT = Path(__file__).resolve().parents[1]
OTHERS = [ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "results/README.md")]
PAGES = {path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
LINKING = PAGES | {path: path.read_text(encoding="utf-8") for path in OTHERS}
ALL = "\n".join(PAGES.values())

FENCE = r"^```(\w+)\n(.*?)^```$"
NAMED = {name: content for name, _, content in re.findall(rf"^`(\S+/\S+)`\n\n{FENCE}", ALL, re.MULTILINE | re.DOTALL)}
BLOCKS = re.findall(FENCE, ALL, re.MULTILINE | re.DOTALL)
PYTHON = [content for language, content in BLOCKS if language == "python" and content not in NAMED.values()]
LINES = [line for language, content in BLOCKS if language == "bash" for line in content.splitlines()]
SPANS = re.findall(r"`((?:make|bash|python|prism-bench) [^`\n]+)`", ALL)
COMMANDS = [re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line) for line in LINES]  # without variables of the environment
RUNS = ("python run.py", "prism-bench run", "prism-bench check", "prism-bench compare")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project after following the pages: nothing changed, some files added."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "run.py", folder)
    for part in ("conf", "prism_bench", "envs", "baselines"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    assert NAMED.keys() == {
        "baselines/algorithms/leave_one_out.py",
        "baselines/routers/steps.py",
        "conf/algorithm/leave_one_out.yaml",
        "conf/router/steps.yaml",
        "conf/strategy/warm_up_then_rl.yaml",
        "envs/treasure.py",
        "conf/env/treasure.yaml",
        "envs/taxi.py",
        "conf/env/taxi.yaml",
    }
    for name, content in NAMED.items():
        assert not (folder / name).exists()
        (folder / name).write_text(content, encoding="utf-8")
    for place in ("tests/envs", "tests/baselines/routers"):
        (folder / place).mkdir(parents=True)
    made = [line for line in [*COMMANDS, *SPANS] if line.startswith("prism-bench new-")]
    for line in dict.fromkeys(" ".join(shlex.split(line, comments=True)) for line in made):
        python(folder, "-m", "prism_bench", *line.split()[1:])
    return folder


def python(project: Path, *arguments: str) -> str:
    """Run Python in the project and return what it prints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def command(start: str) -> list[str]:
    """Return the arguments that make Python run the one command that starts so."""
    found = [line for line in COMMANDS if line.startswith(start)]
    assert len(found) == 1, found
    program, *arguments = shlex.split(found[0], comments=True)
    return ["-m", "prism_bench", *arguments] if program == "prism-bench" else arguments


def values(word: str, crossed: bool) -> list[str]:
    """Return every setting that a word of the command line stands for; ``crossed`` lists are of values to try."""
    override = OverridesParser.create().parse_override(word)
    if override.is_sweep_override():
        return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    if crossed and isinstance(override.value(), list):
        return [f"{override.get_key_element()}={value}" for value in override.value()]
    return [word]


@pytest.fixture(scope="module")
def run(project: Path) -> Path:
    """The folder of a run with all added files and some smaller settings."""
    smaller = [
        "algorithm.max_steps=1",
        "eval.tasks=10",
        "eval.curve_points=1",
        "logger=none",
        "cache=cache",
        "hydra.run.dir=run",
    ]
    python(project, *command("python run.py env=treasure"), *smaller)
    return project / "run"


def test_the_environments_keep_the_contract(project):
    checks = [code for code in PYTHON if "check_environment" in code]
    assert len(checks) == 2
    for code in checks:
        python(project, "-c", code)


@pytest.mark.slow
def test_environment_router_strategy_and_algorithm_do_the_main_job(run):
    result = read_result(run / "result.json")
    assert result["router"] == "StepsRouter" and result["allocation"] == {"sft": 50, "rl": 50}
    assert result["protocol"]["environment"] == "envs.treasure:Treasure-v0"
    phases = [(phase["name"], phase["algorithm"], phase["demonstrations"]) for phase in result["phases"]]
    assert phases == [("warm_up", "SFT", 100), ("rl", "LeaveOneOut", 0)]
    assert result["success"]["rl"]["valid"]["all"]["n"] == 10


@pytest.mark.parametrize("line", [line for line in [*COMMANDS, *SPANS] if line.startswith(RUNS)])
def test_the_settings_of_every_run_exist(project, line):
    words = [word for word in shlex.split(line, comments=True) if "=" in word]
    crossed = line.startswith("prism-bench compare")
    with initialize_config_dir(str(project / "conf"), version_base="1.3"):
        tried = [values(word, crossed)[: 1 if word.startswith("seed=") else None] for word in words]
        for row in range(max(map(len, tried), default=1)):  # every value once; all combinations would take minutes
            assert compose("config", overrides=[settings[row % len(settings)] for settings in tried])


def test_sweeps_are_tried_value_by_value():
    assert values("seed=range(2)", crossed=False) == ["seed=0", "seed=1"]
    assert values("router=prism,random", crossed=False) == ["router=prism", "router=random"]
    assert values("router=[prism,random]", crossed=True) == ["router=prism", "router=random"]
    assert values("model.projections=[wq]", crossed=False) == ["model.projections=[wq]"]


def test_both_explain_themselves_in_the_help(project):
    shown = python(project, "run.py", "--help")
    assert "treasure               A treasure hunt in a row of rooms\n" in shown
    assert "steps                  Steps of the expert: long episodes go to RL\n" in shown


@pytest.mark.slow
def test_parts_can_be_used_alone(project, run):
    python(project, *command("prism-bench collect"), "tasks=4")
    python(project, *command("prism-bench export"))
    python(project, *command("prism-bench import"))
    original, imported = (load_trajectories(project / f"{name}.parquet") for name in ("episodes", "imported"))
    assert len(original) == 4
    assert [len(trajectory.steps) for trajectory in imported] == [len(trajectory.steps) for trajectory in original]

    alone = [code for code in PYTHON if "check_environment" not in code]
    assert len(alone) == 2
    (project / "CHECKPOINT").symlink_to(read_result(run / "result.json")["files"]["checkpoint base"])
    python(project, *command("prism-bench probe"))
    assert (project / "norms.png").is_file()
    python(project, "-c", "".join(alone) + "import numpy\nnumpy.save('scores.npy', scores)\n")
    scores = np.load(project / "scores.npy")
    assert scores.shape == (4,) and len(set(scores)) == 4


def test_commands_that_are_named_exist():
    targets = re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    programs = {"make": set(targets), "prism-bench": set(main.COMMANDS)}
    assert any(line.startswith("make ") for line in COMMANDS)
    for line in [*COMMANDS, *SPANS]:
        program, *arguments = shlex.split(line, comments=True) or [""]
        if program in programs:
            assert arguments[0] in programs[program] | {"COMMAND"}, line
        elif program in ("python", "bash") and not arguments[0].startswith("-"):
            assert (ROOT / arguments[0]).is_file(), line


@pytest.mark.parametrize("page", LINKING, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(page):
    for name in re.findall(r"`((?:conf|prism_bench|envs|tests|docs|baselines|benchmarks)/[\w./-]*)`", LINKING[page]):
        assert (ROOT / name).exists() or name in NAMED, name


@pytest.mark.parametrize("page", LINKING, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    prose = re.sub(r"^```.*?^```$", "", LINKING[page], flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", prose)
    assert len(links) == len(re.findall(r"\[(?:[^][]|\[[^]]*\])*\]\([^)\s]+\)", prose)), "a link has no opening bracket"
    for link in links:
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file() and target.is_relative_to(ROOT), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\s-]", "", heading.lower()).replace(" ", "-") for heading in headings], link


def test_the_readme_fits_the_first_screens():
    assert len(PAGES[ROOT / "README.md"].splitlines()) < 90


def test_the_house_is_drawn_from_the_present_imports():
    assert house.PICTURE.read_text(encoding="utf-8") == house.draw(), "make docs draws it again"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    python(ROOT, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path))
    for page in ("index", "tutorial", "contributing", "benchmarks", "reference/prism_bench.routing"):
        assert (tmp_path / f"{page}.html").is_file()
    assert "PrismRouter" in (tmp_path / "reference" / "prism_bench.routing.html").read_text(encoding="utf-8")
    outside = r'(?:src|href)="(https?://[^"]+\.(?:js|css|woff2?))"'
    assert not [page for page in tmp_path.rglob("*.html") if re.search(outside, page.read_text(encoding="utf-8"))]


def test_hooks_before_a_commit_are_the_first_steps_of_make_test():
    hooks = _yaml(".pre-commit-config.yaml")["repos"][0]["hooks"]
    steps = re.search(r"^test:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert steps and all(hook["language"] == "system" and not hook["pass_filenames"] for hook in hooks)
    first = [step.removeprefix("\t$(BIN)/") for step in steps[1].splitlines()][: len(hooks)]
    assert [hook["entry"] for hook in hooks] == first and "pytest" not in " ".join(first)


def test_the_citation_and_the_changes_are_of_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    citation = _yaml("CITATION.cff")
    assert citation["version"] == version and f"\n## {version}" in LINKING[ROOT / "CHANGELOG.md"]
    assert "2601.07224" in str(citation["references"])


def _yaml(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_areas_of_the_results_are_those_of_the_diagnoses_in_the_repository():
    """Every cell, by its router and regime; a table shows areas, or what is left of them."""
    shown: dict[tuple[str, str], set[str]] = {}
    for path in (ROOT / "results" / "diagnoses").glob("*.json"):
        for row in json.loads(path.read_text(encoding="utf-8"))["detections"]:
            for area in (row["area"], row["beyond"]):
                text = "{mean:.2f} [{low:.2f}, {high:.2f}]".format_map(area)
                shown.setdefault((row["router"], row["regime"]), set()).add(text)
    sections = re.findall(r"^## Does a score detect.*?(?=^## )", PAGES[ROOT / "docs" / "results.md"], re.M | re.S)
    checked = 0
    for table in itertools.chain.from_iterable(re.findall(r"(?:^\|.*\n)+", text, re.M) for text in sections):
        header, _, *rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
        for row in rows:
            for column, cell in zip(header, row, strict=True):
                if "[" in cell:
                    assert cell in shown[row[0], column]
                    checked += 1
    assert checked > 150
