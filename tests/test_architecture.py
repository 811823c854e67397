"""The folders are the architecture: who may import whom, read from import statements and from docstrings."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter

from house import CORE, FILES, PACKAGES, imports, rooms, tree


def part(module: str) -> str:
    """Return the part of the house a module lives in: the core, one environment, or the baselines of one kind."""
    package, _, rest = module.partition(".")
    return package if package == CORE else f"{package}.{rest.partition('.')[0]}"


def rooms_of_the_core() -> dict[str, set[str]]:
    graph = rooms()
    return {name: imported - set(PACKAGES) for name, imported in graph.items() if name not in PACKAGES}


ROOMS = rooms_of_the_core()
"""The rooms of the core, and which others each imports."""


@cache
def allowed(name: str) -> frozenset[str]:
    """Return the rooms that a room may import: for a folder, those its docstring names and all below them."""
    module = f"{CORE}.{name}"
    if FILES[module].name == "__init__.py":
        found = re.search(r"^May import (.+?)\.$", ast.get_docstring(tree(module)) or "", re.MULTILINE | re.DOTALL)
        assert found, f"the docstring of {module} does not say what it may import"
        named = set(re.findall(r"``(\w+)``", found[1]))
    else:
        named = ROOMS[name]
    assert named <= ROOMS.keys(), f"{module} names rooms that are not there"
    return frozenset(named.union(*map(allowed, named)))


def test_a_folder_imports_only_what_its_docstring_allows():
    forbidden = {(name, other) for name in ROOMS for other in ROOMS[name] - allowed(name)}
    assert forbidden == set()


def test_the_core_has_floors_and_no_import_leads_upwards():
    order = list(TopologicalSorter({name: ROOMS[name] | allowed(name) for name in ROOMS}).static_order())
    floors = ["errors", "accounting", "data", "models", "rollouts", "algorithms", "stages", "experiment", "commands"]
    assert [name for name in order if name in floors] == floors


def test_environments_and_baselines_know_the_core_and_nothing_of_each_other():
    strangers = {
        (module, name) for module in FILES for name in imports(module) if part(name) not in (CORE, part(module))
    }
    assert strangers == set()


def test_the_core_names_no_environment_and_no_baseline():
    environments = sorted({part(module).partition(".")[2] for module in FILES if module.startswith("envs.")})
    baselines = [
        node.name
        for module in FILES
        if part(module).startswith("baselines.")
        for node in tree(module).body
        if isinstance(node, ast.ClassDef)
    ]
    assert {"alfworld", "babyai"} <= {*environments} and len(baselines) >= 3  # folders and single files
    words = re.compile(rf"\b({'|'.join([*environments, *baselines])})\b|\bbaselines\.", re.IGNORECASE)
    named = {
        (module, found[0])
        for module, path in FILES.items()
        for found in words.finditer(path.read_text(encoding="utf-8"))
        if part(module) == CORE
    }
    assert named == set()


def test_no_module_imports_itself_by_way_of_others():
    graph = {module: set(imports(module)) - {module} for module in FILES}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(FILES) - len(PACKAGES)
    assert "prism_bench.data.rendering" in graph["prism_bench.probe.gradients"]  # the graph is not empty
