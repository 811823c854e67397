"""The code that a function can run, as a digest and as versions of packages.

A stored stage must not outlive the code that made it, and must outlive every other edit. That code is everything that
the function's module imports, directly or through other modules, anywhere in a file. Modules of this project and of the
user count by their syntax tree (comments and docstrings aside) and the data files of their package, installed packages
by their version. Modules are found and parsed, not imported. Imports by a computed name are not seen; the names in the
configuration (``_target_``) are passed in.
"""

import ast
import functools
import itertools
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path

import xxhash

from prism_bench.errors import InputError

_OWN = __name__.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Code:
    """Digests of modules by name, and versions of installed packages by name."""

    modules: dict[str, str]
    packages: dict[str, str]


def code_of(modules: Iterable[str]) -> Code:
    """Return the code that ``modules`` can import, themselves included.

    Raises:
        InputError: there is no such module.
    """
    own: dict[str, str] = {}
    foreign: set[str] = set()
    waiting = _with_packages(modules)
    met = set(waiting)
    for top in {name.partition(".")[0] for name in waiting} - sys.stdlib_module_names - {"__main__"}:
        if _spec(top) is None:
            raise InputError(f"there is no module {top!r}, which the configuration names")
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if not is_own(top):
            foreign.add(top)
            continue
        path = source_file(name)
        if path is not None:
            code, imports = _read(name, path, path.stat().st_mtime_ns)
            own[name] = code + _data_digest(path)
            new = _with_packages(imports) - met
            waiting |= new
            met |= new
    return Code(dict(sorted(own.items())), _versions(foreign))


@functools.cache
def _spec(top: str) -> ModuleSpec | None:
    if top == "__main__":  # a script, which has no spec
        return spec_from_file_location(top, getattr(sys.modules[top], "__file__", None))
    return find_spec(top)


@functools.cache
def is_own(top: str) -> bool:
    """Return True for a package of this project or of the user, neither installed from elsewhere nor Python's."""
    if top in sys.stdlib_module_names:
        return False
    spec = _spec(top)
    places = [] if spec is None else [*(spec.submodule_search_locations or []), *([spec.origin] if spec.origin else [])]
    distributions = _distributions()
    # A folder of `pip install --target` has any name, and what an installer wrote beside the packages.
    found = [metadata.distribution(name) for name in distributions.get(top, [])]
    beside = {Path(str(one.locate_file(""))) for one in found if one.read_text("INSTALLER")}
    installed = any(
        {"site-packages", "dist-packages"} & set(Path(place).parts) or Path(place).parent in beside for place in places
    )
    if not installed:
        return bool(places)
    return distributions.get(top) == distributions.get(_OWN)


def source_file(name: str) -> Path | None:
    """Return the file of a module or package; None if a name is of something else, such as a class in a module."""
    top, *rest = name.split(".")
    spec = _spec(top)
    if spec is None:
        return None
    if not spec.submodule_search_locations:
        return Path(spec.origin) if spec.origin and not rest else None
    place = Path(next(iter(spec.submodule_search_locations))).joinpath(*rest)
    files = (place / "__init__.py", place.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


def _with_packages(names: Iterable[str]) -> set[str]:
    """Return names with those of their packages, whose code runs when they are imported."""
    return {part for name in names for part in itertools.accumulate(name.split("."), "{}.{}".format)}


@functools.lru_cache(maxsize=1024)
def _read(module: str, path: Path, modified: int) -> tuple[str, list[str]]:
    """Return the digest of a module and the names that it imports; ``modified`` keeps edited files out of the cache."""
    if path.suffix != ".py":  # an extension module
        return xxhash.xxh3_128_hexdigest(path.read_bytes()), []
    tree = ast.parse(path.read_bytes(), filename=str(path))
    imports = _imports(tree, module if path.name == "__init__.py" else module.rpartition(".")[0])
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    return xxhash.xxh3_128_hexdigest(ast.dump(tree).encode()), imports


def _data_digest(path: Path) -> str:
    """Return the digest of a package's data files; empty for a module and for a package without any."""
    if path.name != "__init__.py":
        return ""
    files = sorted(file for file in path.parent.iterdir() if file.is_file() and file.suffix not in (".py", ".pyc"))
    return xxhash.xxh3_128_hexdigest(b"".join(f.name.encode() + f.read_bytes() for f in files)) if files else ""


def _imports(tree: ast.Module, package: str) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names += [f"{base}.{alias.name}" for alias in node.names]
    return names


_distributions = functools.cache(metadata.packages_distributions)
_version = functools.cache(metadata.version)


def _versions(tops: set[str]) -> dict[str, str]:
    distributions = _distributions()
    names = {name for top in tops for name in distributions.get(top, [])}
    python = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    return python | {name: _version(name) for name in sorted(names)}
