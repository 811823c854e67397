"""A digest of source code, so that a stored stage made by other code is not taken for this one's."""

import hashlib
import importlib.util
from pathlib import Path


def source_digest(module: str) -> str:
    """Return 12 hexadecimal digits of the Python files of a package (with its subpackages), or of one module.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no module {module!r}")
    origin = Path(spec.origin)
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(origin.parent).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
