"""Every setting of a composed configuration with its value and its comment, for ``--help``.

Values are those of the chosen files. Comments are read off these files, and off the docstrings of the classes that the
settings make. Settings that have their default in such a class and nowhere else are listed with a plus, with which they
are set (``+model.projections=[wq]``). Classes are parsed and not imported, since large libraries would come with them.
"""

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import Container, OmegaConf

from prism_bench.stage_cache.code_digest import is_own, source_file

COMMENT_COLUMN = 42


def described_settings(conf: Path, root: Container) -> str:
    """Return a line for each setting, ready for Hydra's template of the help, in which a dollar is written twice.

    Args:
        conf: the folder of the configuration.
        root: the composed configuration, with Hydra's own part, which says what was chosen.
    """
    config: Any = OmegaConf.to_container(root, resolve=False)
    comments = _comments(conf / f"{config['hydra']['job']['config_name']}.yaml", "")
    for group, choice in config.pop("hydra")["runtime"]["choices"].items():
        name, _, package = group.partition("@")
        if choice is not None and not name.startswith("hydra/"):
            comments |= _comments(conf / name / f"{choice}.yaml", package or name.replace("/", "."))
    return "\n".join(_lines(config, comments)).replace("$", "$$")


@dataclass(frozen=True)
class Argument:
    """An argument of a class: its default as YAML, None without one, and what is said about it."""

    default: str | None
    comment: str


def parsed_arguments(target: str) -> dict[str, Argument]:
    """Return the arguments of a class of this project or of its user, by name.

    Args:
        target: its dotted name, as ``_target_`` has it; nothing is returned for functions and for installed packages.
    """
    module, _, name = target.rpartition(".")
    source = _source(module)
    return {} if source is None else _of_class(source, name)


def _lines(config: Mapping[str, Any], comments: Mapping[str, str], path: str = "", depth: int = 0) -> Iterator[str]:
    indent = "  " * depth
    target = config.get("_target_")
    in_code = parsed_arguments(target) if isinstance(target, str) else {}
    for name, value in config.items():
        place = f"{path}.{name}".lstrip(".")
        comment = comments.get(place) or (in_code[name].comment if name in in_code else "")
        if isinstance(value, Mapping) and value:
            yield _line(f"{indent}{name}:", comment)
            yield from _lines(value, comments, place, depth + 1)
        else:
            yield _line(f"{indent}{name}: {_yaml(value)}", comment)
    for name, argument in in_code.items():
        if name not in config and argument.default is not None:
            yield _line(f"{indent}+{name}: {argument.default}", argument.comment)


def _line(setting: str, comment: str) -> str:
    return f"{setting:<{COMMENT_COLUMN}} # {comment}" if comment else setting


def _comments(file: Path, package: str) -> dict[str, str]:
    """Return the comments beside the settings of a file and of those that it is based on, by dotted path."""
    if not file.is_file():
        return {}
    text = file.read_text(encoding="utf-8")
    package = "" if "@package _global_" in text else package
    lines, top = text.splitlines(), yaml.compose(text, yaml.SafeLoader)
    found: dict[str, str] = {}
    if not isinstance(top, yaml.MappingNode):
        return found
    for base in yaml.safe_load(text).get("defaults", []):
        if isinstance(base, str) and base != "_self_":
            name, _, own = base.partition("@")
            found |= _comments(file.with_name(f"{name}.yaml"), own or package)

    def visit(node: yaml.MappingNode, path: str) -> None:
        for key, value in node.value:
            place = f"{path}.{key.value}".lstrip(".")
            inner = isinstance(value, yaml.MappingNode)
            mark = key.end_mark if inner else value.end_mark
            said = re.match(r"[^#]*#\s*(.*)", lines[mark.line][mark.column :]) if mark.line < len(lines) else None
            if said and (inner or mark.line == key.start_mark.line):
                found[place] = said[1]
            if inner:
                visit(value, place)

    visit(top, package)
    return found


@functools.cache
def _source(module: str) -> str | None:
    """Return the text of a module, None for one of an installed package."""
    if not module or not is_own(module.partition(".")[0]):
        return None
    path = source_file(module)
    return None if path is None else path.read_text(encoding="utf-8")


def _of_class(source: str, name: str) -> dict[str, Argument]:
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            original = {alias.asname or alias.name: alias.name for alias in node.names}.get(name)
            if original is not None:
                return parsed_arguments(f"{node.module}.{original}")
        elif isinstance(node, ast.ClassDef) and node.name == name:
            return _of_definition(source, node)
    return {}


def _of_definition(source: str, definition: ast.ClassDef) -> dict[str, Argument]:
    """Return the arguments of a class and its bases: keywords of the constructor, or fields of a dataclass."""
    found: dict[str, Argument] = {}
    for base in definition.bases:
        if isinstance(base, ast.Name):
            found |= _of_class(source, base.id)
    said, lines = _said(ast.get_docstring(definition) or ""), source.splitlines()
    for node in definition.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            for each, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                found[each.arg] = Argument(_plain(default), said.get(each.arg, ""))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not _is_of_class(node):
            beside = lines[(node.end_lineno or 1) - 1][node.end_col_offset or 0 :].partition("#")[2].strip()
            found[node.target.id] = Argument(_plain(node.value), beside)
    return {each: Argument(found[each].default, said.get(each, found[each].comment)) for each in found}


def _is_of_class(field: ast.AnnAssign) -> bool:
    return "ClassVar" in ast.unparse(field.annotation)


def _plain(default: ast.expr | None) -> str | None:
    """Write a default of Python as YAML does."""
    if default is None:
        return None
    try:
        value = ast.literal_eval(default)
    except ValueError:
        return ast.unparse(default)
    value = list(value) if isinstance(value, tuple) else value
    return _yaml(value)


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True, width=10**6)).removesuffix("...\n").strip()


def _said(docstring: str) -> dict[str, str]:
    """Return what the sections Args and Attributes of a docstring say about each name."""
    said: dict[str, str] = {}
    for section in re.findall(r"^(?:Args|Attributes):\n((?:(?: {4}.*)?\n?)+)", docstring, re.MULTILINE):
        for names, text in re.findall(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
            said |= dict.fromkeys(names.split(", "), " ".join(text.split()).removesuffix("."))
    return said
