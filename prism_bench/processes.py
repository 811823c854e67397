"""The processes that make one run together: the same command, started several times by torchrun.

The first process makes the run. The others wait until it calls a function in all of them (:func:`together`), as the
stages that train or roll out do. In such a call every process holds the same batch and does its share of it: the
episodes it plays are gathered, the gradients it finds are added up. The number of processes therefore changes how long
a run takes, and nothing else up to the order in which floats are added.

Outside of such a call a process is alone, number 0 of 1.

Deviation from how TRL and Accelerate train on several devices: they give each process a batch of its own, and expect of
all the same number of forward passes, which here depends on the lengths of episodes and on who earned what. They are
not told of the other processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from prism_bench.errors import InputError

if TYPE_CHECKING:  # takes seconds to import
    import torch

Item = TypeVar("Item")

_LONG = timedelta(days=30)
"""How long a process waits for another: the others do nothing while the first one does what they cannot share."""


@dataclass
class _Processes:
    """The processes that were started together, seen from this one."""

    number: int = 0
    count: int = 1
    messages: Any = None  # the group for messages, which no device has to carry
    called: bool = False  # in a call of all
    lost: bool = False  # a call ended in an exception, and the others may be anywhere


_here = _Processes()


def started() -> int:
    """Return how many processes make the run."""
    return _here.count


def count() -> int:
    """Return how many processes share the work that is being done."""
    return _here.count if _here.called else 1


def number() -> int:
    """Return the number of this process among them."""
    return _here.number if _here.called else 0


def share(items: Sequence[Item]) -> list[Item]:
    """Return the items that are this process's: every N-th of them."""
    return list(items[number() :: count()])


def gather(value: Item) -> list[Item]:
    """Return the value of each process, in their order."""
    if count() == 1:
        return [value]
    from torch.distributed import all_gather_object

    values: list[Any] = [None] * count()
    all_gather_object(values, value, group=_here.messages)
    return values


def agree(value: Item) -> Item:
    """Return the value of the first process."""
    return value if count() == 1 else _sent(value)


def add_up(tensors: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by the sum over all processes."""
    if count() == 1:
        return
    from torch.distributed import all_reduce

    for work in [all_reduce(tensor, async_op=True) for tensor in tensors]:
        assert work is not None
        work.wait()


@contextmanager
def joined() -> Iterator[bool]:
    """Join the processes that torchrun has started; yield True in all but the first, which end when it does."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield False
        return
    _join()
    try:
        yield _here.number > 0
    finally:
        if not _here.lost:
            _part()


@contextmanager
def together(function: Callable[..., object], *arguments: Any) -> Iterator[None]:
    """Call a function of a module in all other processes while the block runs in this one.

    Raises:
        InputError: the others are gone.
    """
    if _here.count == 1:
        yield
        return
    if _here.lost:
        raise InputError("the other processes were lost with an earlier run; start this one again")
    _sent((function, arguments))
    with _called():
        yield


def take_part() -> None:
    """Do what the first process calls, until it has ended.

    Raises:
        InputError: something is refused, in this process at least.
    """
    while (call := _sent(None)) is not None:
        function, arguments = call
        with _called():
            try:
                function(*arguments)
            except InputError as error:
                raise InputError(f"in process {_here.number}: {error}") from None


def _join() -> None:
    """Meet the other processes, and take one GPU of this machine."""
    place = int(os.environ.get("LOCAL_RANK", "0"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = None if visible is None else visible.split(",")
    os.environ["CUDA_VISIBLE_DEVICES"] = str(place) if devices is None else ",".join(devices[place : place + 1])

    import torch
    from torch.distributed import init_process_group, new_group

    init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_LONG)
    _here.number, _here.count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    _here.messages = new_group(backend="gloo", timeout=_LONG)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):  # by which Accelerate would find the others
        del os.environ[name]


def _part() -> None:
    """End the others, if this is the first process, and then the connections to them."""
    from torch.distributed import destroy_process_group

    if _here.number == 0:
        _sent(None)
    destroy_process_group()


@contextmanager
def _called() -> Iterator[None]:
    _here.called = True
    try:
        yield
    except BaseException:
        _here.lost = True
        raise
    finally:
        _here.called = False


def _sent(value: Any) -> Any:
    """Return in all processes what the first one gives."""
    from torch.distributed import broadcast_object_list

    values = [value]
    broadcast_object_list(values, src=0, group=_here.messages)
    return values[0]
