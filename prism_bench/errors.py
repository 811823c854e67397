"""The base class of this project's own errors.

Only these end a command with one sentence (:mod:`prism_bench.commands.hydra_command`); any other exception is a bug and
keeps its traceback.
"""


class InputError(ValueError):
    """Bad input: a setting, a file, a model, an environment. The message says what is wrong, where, and what to do."""
