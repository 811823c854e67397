"""The folders are the architecture: who may know whom, read from the import statements themselves."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("prism_bench", "envs", "baselines")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def imports(module: str) -> Iterator[str]:
    """Yield the modules of this project that ``module`` imports, wherever the statement stands."""
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = (
                ".".join([*parents[: len(parents) - node.level + 1], node.module or ""]) if node.level else node.module
            )
            base = (base or "").rstrip(".")
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name in FILES and name not in FOLDERS)


def part(module: str) -> str:
    """Return the part of the house a module lives in: the core, one environment, or one router."""
    folder, _, rest = module.partition(".")
    return folder if folder == "prism_bench" else f"{folder}.{rest.partition('.')[0]}"


def test_environments_and_routers_know_the_core_and_nothing_of_each_other():
    strangers = {
        (module, name)
        for module in FILES
        for name in imports(module)
        if part(name) not in ("prism_bench", part(module))
    }
    assert strangers == set()


def test_the_core_names_no_environment_and_no_router():
    environments = [folder.name for folder in (ROOT / "envs").iterdir() if (folder / "__init__.py").is_file()]
    routers = [
        node.name
        for path in (ROOT / "baselines").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert environments and len(routers) >= 4
    named = {
        (module, name)
        for module, path in FILES.items()
        for name in [*environments, *map(str.lower, routers), "baselines."]
        if module.startswith("prism_bench") and name in path.read_text(encoding="utf-8").lower()
    }
    assert named == set()


def test_no_module_imports_itself_by_way_of_others():
    graph = {module: set(imports(module)) - {module} for module in FILES}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(FILES) - len(FOLDERS)
    assert "prism_bench.data.rendering" in graph["prism_bench.probe.gradients"]  # the graph is not empty
