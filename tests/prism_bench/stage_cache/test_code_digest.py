"""The code that a stage can run: its own imports, in whatever form, and nothing else."""

import importlib
import importlib.machinery
import sys
from pathlib import Path

import pytest

from prism_bench.errors import InputError
from prism_bench.stage_cache import code_digest
from prism_bench.stage_cache.code_digest import code_of
from prism_bench.stages.base import pretrain
from prism_bench.stages.collect import collect
from prism_bench.stages.evaluate import evaluate

FILES = {
    "__init__.py": '"""A package."""\n',
    "start.py": "import numpy\nfrom . import near\ndef later():\n    from shop.deep.far import thing\n    return thing",
    "near.py": '"""Near."""\nVALUE = 1  # one\n',
    "deep/__init__.py": "",
    "deep/far.py": "from shop import near\nfrom ..other import x as thing\n",
    "other.py": "x = 1\n",
    "unused.py": "import torch\n",
    "words.json": "[1]",
}


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    for name, content in FILES.items():
        (tmp_path / "shop" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "shop" / name).write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    clear_caches()
    importlib.invalidate_caches()
    yield tmp_path / "shop"
    clear_caches()


def clear_caches() -> None:
    for cached in (code_digest._spec, code_digest.is_own, code_digest._distributions):
        cached.cache_clear()


def test_a_package_installed_into_a_folder_of_any_name_counts_by_its_version(package):
    (package / "start.py").write_text("import tool\n")
    target = package.parent
    for name, content in {
        "tool/__init__.py": "from . import fast\n",
        "tool/fast.so": "\0",
        "tool-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: tool\nVersion: 1.2\n",
        "tool-1.2.dist-info/RECORD": "tool/__init__.py,,\ntool/fast.so,,\n",
        "tool-1.2.dist-info/INSTALLER": "pip\n",
    }.items():
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_text(content)
    clear_caches()
    code = code_of(["shop.start"])
    assert set(code.modules) == {"shop", "shop.start"}
    assert code.packages["tool"] == "1.2"


def test_an_extension_module_of_ones_own_counts_by_its_bytes(package):
    (package / "start.py").write_text("import native\n")
    extension = package.parent / f"native{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    extension.write_bytes(b"\0one")
    before = code_of(["shop.start"])
    assert "native" in before.modules
    extension.write_bytes(b"\0another")
    assert code_of(["shop.start"]) != before


def test_imports_are_followed_wherever_they_stand(package):
    code = code_of(["shop.start.later"])
    assert set(code.modules) == {"shop", "shop.start", "shop.near", "shop.deep", "shop.deep.far", "shop.other"}
    assert set(code.packages) == {"python", "numpy"}
    assert "shop" not in sys.modules  # parsed, not run


@pytest.mark.parametrize(
    ("file", "content", "counts"),
    [
        ("near.py", '"""Near."""\nVALUE = 2  # one\n', True),
        ("near.py", '"""Quite near."""\n\n\nVALUE = 1  # the first number\n', False),
        ("other.py", "x = 2\n", True),
        ("words.json", "[2]", True),
        ("unused.py", "import torch, numpy\n", False),
    ],
)
def test_an_edit_counts_if_it_can_be_run(package, file, content, counts):
    before = code_of(["shop.start"])
    (package / file).write_text(content)
    assert (code_of(["shop.start"]) != before) == counts


def test_a_module_that_does_not_exist_is_named():
    with pytest.raises(InputError, match="there is no module 'no_such_package', which the configuration names"):
        code_of(["no_such_package.module.Class"])


def test_stages_depend_on_their_own_code_only():
    modules = {
        function.name: set(code_of([function.function.__module__]).modules)
        for function in (collect, pretrain, evaluate)
    }
    for found in modules.values():
        assert "prism_bench.stage_cache" in found and "prism_bench.accounting.meter" in found
        assert not found & {"prism_bench.results.tables", "prism_bench.results.result", "prism_bench.experiment"}
        assert not any(name.startswith(("envs", "baselines", "prism_bench.commands")) for name in found)
    assert "prism_bench.algorithms.sft" in modules["base"] and "prism_bench.algorithms.grpo" not in modules["base"]
    assert "prism_bench.algorithms.sft" not in modules["eval"] and "prism_bench.probe.gradients" not in modules["eval"]
    packages = code_of([pretrain.function.__module__]).packages
    assert {"torch", "transformers", "trl", "peft", "python"} <= packages.keys()
