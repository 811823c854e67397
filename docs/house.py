"""Picture of the house, ``docs/house.svg``: its parts, and who imports whom, read from import statements.

``make docs`` draws it again. A folder is a part with the first sentence of its docstring; what a folder imports by way
of a single file counts as its own import, and an arrow that follows from others is left out.
"""

import ast
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = "prism_bench"
PACKAGES = (CORE, "envs", "baselines")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
"""The file of every module."""

START = "experiment"
"""The single file that is drawn as a part: a run from top to bottom."""

PICTURE = Path(__file__).with_name("house.svg")
BOX, HEIGHT, GAP, FLOOR = 222, 82, 18, 128


@cache
def tree(module: str) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def imports(module: str) -> Iterator[str]:
    """Yield the modules of this project that ``module`` imports, wherever the statement stands."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name in FILES and name not in PACKAGES)


def room(module: str) -> str:
    """Return the folder or the single file of the core that a module lives in; for others, their package."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == CORE else package


def rooms() -> dict[str, set[str]]:
    """Return the rooms of the core and the other packages, and which others each imports."""
    graph: dict[str, set[str]] = {}
    for module in FILES:
        if module != CORE:
            graph.setdefault(room(module), set()).update(map(room, imports(module)))
    return {name: imported - {name} for name, imported in graph.items()}


def is_folder(name: str) -> bool:
    """Return True for a room that is a folder."""
    return name in PACKAGES or FILES[f"{CORE}.{name}"].name == "__init__.py"


def parts() -> dict[str, set[str]]:
    """Return the parts that are drawn, and which others each imports, arrows that follow from others left out."""
    graph = rooms()

    def reached(name: str) -> Iterator[str]:
        for other in graph[name]:
            if is_folder(other) or other == START:
                yield other
            else:
                yield from reached(other)

    drawn = {name: set(reached(name)) - {name} for name in graph if is_folder(name) or name == START}

    @cache
    def below(name: str) -> frozenset[str]:
        return frozenset(drawn[name].union(*map(below, drawn[name])))

    return {name: {o for o in drawn[name] if not any(o in below(p) for p in drawn[name])} for name in drawn}


def floors(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the parts floor by floor, the lowest first; a part stands as low as what it imports allows."""
    level: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        level[name] = 1 + max((level[other] for other in graph[name]), default=-1)
    return [sorted(name for name in level if level[name] == floor) for floor in range(max(level.values()) + 1)]


def draw() -> str:
    """Return the picture as SVG."""
    graph = parts()
    order = floors(graph)
    width = max(map(len, order)) * (BOX + GAP) + GAP
    height = len(order) * FLOOR
    places: dict[str, tuple[float, float]] = {}
    for floor, names in enumerate(reversed(order)):
        left = (width - len(names) * BOX - (len(names) - 1) * GAP) / 2
        places |= {name: (left + i * (BOX + GAP), GAP + floor * FLOOR) for i, name in enumerate(names)}
    arrows = [_arrow(places[name], places[other]) for name in sorted(graph) for other in sorted(graph[name])]
    boxes = [_box(name, *place) for name, place in places.items()]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
            f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>',
            *arrows,
            *boxes,
            "</svg>\n",
        ]
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (u, v) = start, end
    x, u, y = x + BOX / 2, u + BOX / 2, y + HEIGHT
    bend = (v - y) / 2
    curve = f"M{x:g} {y:g} C{x:g} {y + bend:g} {u:g} {v - bend:g} {u:g} {v - 6:g}"
    head = f"M{u - 4:g} {v - 7:g} L{u:g} {v:g} L{u + 4:g} {v - 7:g} Z"
    return f'<path d="{curve}" fill="none" stroke="#9aa5b1"/><path d="{head}" fill="#9aa5b1"/>'


def _box(name: str, x: float, y: float) -> str:
    module = name if name in PACKAGES else f"{CORE}.{name}"
    sentence = (ast.get_docstring(tree(module)) or "").partition("\n")[0].rstrip(".").replace("`", "")
    lines = textwrap.wrap(sentence, 33, max_lines=3, placeholder=" ...")
    fill = "#fdf3e1" if name in PACKAGES else "#e8f0fa"
    title = f"{name}/" if is_folder(name) else f"{name}.py"
    words = [f'<text x="{x + 12:g}" y="{y + 22:g}" font-size="15" font-weight="bold">{title}</text>']
    words += [
        f'<text x="{x + 12:g}" y="{y + 40 + 15 * i:g}" font-size="12" fill="#333">{escape(line)}</text>'
        for i, line in enumerate(lines)
    ]
    place = f'x="{x:g}" y="{y:g}" width="{BOX}" height="{HEIGHT}"'
    return f'<rect {place} rx="6" fill="{fill}" stroke="#9aa5b1"/>' + "".join(words)


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
