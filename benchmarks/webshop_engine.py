"""Speed of WebShop, and growth of time and memory with the catalogue.

    python benchmarks/webshop_engine.py [--sizes 1000 10000 100000 1180000] [--cache DIR]

The first table has a row for each size: the time, memory and disk to generate and compile a catalogue once; the time
from the start of a new process to its first page; the memory of one process and of eight together after some steps
(shared pages counted once); and the time of a search with its page of results. A catalogue that is already in DIR is
not made again. A million products take many minutes and some GB of disk. The second table is a random rollout on 1,000
products, in one process of one thread, one step in five a search; a step goes through the wrappers of
``gymnasium.make`` and includes the sorted admissible actions. Linux only.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from envs.webshop.sources import catalogue_for

ID = "envs.webshop:prism_bench/WebShop-v0"
SEARCHES = 500
STEPS = 2_000  # of a process before its memory is measured
TOGETHER = 8


@dataclass(frozen=True)
class Pace:
    """Steps per second of wall time and of processor time, and the share of searches."""

    clock: float
    processor: float
    searches: float


@dataclass(frozen=True)
class Growth:
    """The costs of a catalogue: seconds and peak MiB to make it (None: not made now), MiB on disk, and costs in use."""

    products: int
    making: float | None
    peak: float | None
    disk: float
    ready: float
    one: float
    together: float
    median: float
    slow: float


def query(env: gymnasium.Env[str, str], rng: random.Random) -> str:
    """Return a plausible query: the first words of an instruction, without "Find me"."""
    shop: Any = env.unwrapped
    words = shop.goal(shop.task_ids[rng.randrange(len(shop.task_ids))]).instruction.split()[2:]
    return " ".join(words[: rng.randint(3, 12)])


def random_rollout(env: gymnasium.Env[str, str], steps: int, seed: int) -> Pace:
    """Return the pace of random clicks, with a search at every fifth step; resets count as time, not as steps.

    Nothing is clicked on the start page, since only a search leads on from it. Searches therefore stay near a fifth.
    """
    rng = random.Random(seed)
    searches = [f"search[{query(env, rng)}]" for _ in range(steps)]
    searched = 0
    _, info = env.reset(seed=seed)
    start, start_of_processor = time.perf_counter(), time.process_time()
    for number in range(steps):
        actions = info["admissible_actions"]
        action = actions[int(rng.random() * len(actions))]
        while action == "click[back to search]":
            action = actions[int(rng.random() * len(actions))]
        if number % 5 == 0 or len(actions) == 1:
            action = searches[number]
            searched += 1
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            _, info = env.reset()
    return Pace(
        steps / (time.perf_counter() - start), steps / (time.process_time() - start_of_processor), searched / steps
    )


def search_times(env: gymnasium.Env[str, str], seed: int) -> list[float]:
    """Return the milliseconds of random searches, each from a new first page."""
    rng = random.Random(seed)
    times = []
    for _ in range(SEARCHES):
        env.reset()
        action = f"search[{query(env, rng)}]"
        start = time.perf_counter()
        env.step(action)
        times.append((time.perf_counter() - start) * 1000)
    return times


def make_catalogue(products: int, cache: Path, seed: int) -> None:
    """Make the catalogue in this process, and print its costs."""
    there = set(cache.iterdir()) if cache.is_dir() else set()
    start = time.perf_counter()
    folder = catalogue_for(products=products, cache=cache).folder
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
    print(
        json.dumps(
            {"new": folder not in {path.resolve() for path in there}, "seconds": seconds, "peak": peak, "disk": disk}
        )
    )


def roll_out(products: int, cache: Path, seed: int) -> None:
    """Show a first page, make some steps, and wait until the memory is measured and the process killed."""
    env = gymnasium.make(ID, products=products, cache=cache)
    env.reset(seed=seed)
    ready = time.time() - psutil.Process().create_time()
    times = search_times(env, seed)
    random_rollout(env, STEPS, seed)
    slow = statistics.quantiles(times, n=20)[-1]
    print(json.dumps({"ready": ready, "median": statistics.median(times), "slow": slow}), flush=True)
    sys.stdin.read()


def spawn(role: str, products: int, cache: Path, seed: int) -> "subprocess.Popen[str]":
    """Start this file as another process, with the ``role`` of making a catalogue or of using it."""
    arguments = ["--role", role, "--sizes", str(products), "--cache", str(cache), "--seed", str(seed)]
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        sys.exit("a process of the benchmark failed; its output is above")
    return dict(json.loads(line))


def memory(processes: "list[subprocess.Popen[str]]") -> float:
    """Return the MiB of the processes; a page that several of them map is divided between them."""
    return float(sum(psutil.Process(process.pid).memory_full_info().pss for process in processes)) / 2**20


def measure(products: int, cache: Path, seed: int) -> Growth:
    maker = spawn("make", products, cache, seed)
    made = answer(maker)
    maker.communicate()
    users: list[subprocess.Popen[str]] = []
    try:
        users.append(spawn("use", products, cache, seed))
        first = answer(users[0])
        one = memory(users)
        for number in track(range(1, TOGETHER), description=f"{products:,} products, {TOGETHER} processes"):
            users.append(spawn("use", products, cache, seed + number))
            answer(users[-1])
        together = memory(users)
    finally:
        for user in users:
            user.kill()
            user.communicate()
    return Growth(
        products,
        made["seconds"] if made["new"] else None,
        made["peak"] if made["new"] else None,
        made["disk"],
        first["ready"],
        one,
        together,
        first["median"],
        first["slow"],
    )


def print_growth(rows: list[Growth], console: Console) -> None:
    columns = (
        "products",
        "make\ns",
        "peak\nMiB",
        "disk\nMiB",
        "ready\ns",
        "alone\nMiB",
        f"{TOGETHER} together\nMiB",
        "search\nms",
        "95 %\nms",
    )
    table = Table(title="WebShop: growth with the catalogue")
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            f"{row.products:,}",
            "" if row.making is None else f"{row.making:,.1f}",
            "" if row.peak is None else f"{row.peak:,.0f}",
            f"{row.disk:,.1f}",
            f"{row.ready:.2f}",
            f"{row.one:,.0f}",
            f"{row.together:,.0f}",
            f"{row.median:.2f}",
            f"{row.slow:.2f}",
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000], metavar="N", help="products")
    parser.add_argument("--steps", type=int, default=50_000, help="steps of the rollout, after half as many unmeasured")
    parser.add_argument("--cache", type=Path, help="folder of catalogues; by default a temporary one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--role", choices=["make", "use"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        (make_catalogue if options.role == "make" else roll_out)(options.sizes[0], options.cache, options.seed)
        return

    console = Console()
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.cache or Path(temporary)
        if options.sizes:
            print_growth([measure(size, cache, options.seed) for size in options.sizes], console)
        table = Table("", "steps/s", "steps/s of processor time", "searches", title="WebShop: 1,000 generated products")
        for observation in ("text", "text_rich"):
            env = gymnasium.make(ID, products=1000, cache=cache, observation=observation)
            random_rollout(env, options.steps // 2, options.seed + 1)
            pace = random_rollout(env, options.steps, options.seed)
            table.add_row(observation, f"{pace.clock:,.0f}", f"{pace.processor:,.0f}", f"{pace.searches:.0%}")
        console.print(table)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
