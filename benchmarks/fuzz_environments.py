"""Fuzzing of environments: a million random and hostile actions, with limits of time and memory.

    python benchmarks/fuzz_environments.py [ID ...] [--actions 1000000] [--limit 5]

Without ids, all environments of this repository. Exits with 1 if an action raised, took longer than the limit or had
an invalid result, or if memory grew after the first tenth of the actions. Unix only.
"""

import argparse
import faulthandler
import math
import random
import signal
import string
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium
import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

IDS = (
    "envs.alfworld:prism_bench/ALFWorld-v0",
    "envs.webshop:prism_bench/WebShop-v0",
    "envs.babyai:prism_bench/BabyAI-v0",
)
MEGABYTE = 1_000_000
SHARE_OF_LONG = 1 / 5000  # a search for a megabyte of words is slow everywhere
GROWTH_ALLOWED = 48.0  # MiB after the first tenth: caches fill, the allocator keeps the memory of long strings
REPORTS = 10
WATCHED = 1000  # actions with a common limit, ten times the limit of one action, which begins anew after a failure

BOMBS = (
    "(a+)+$",
    "(a|a)*b",
    "(.*a){20}",
    "([a-z]+)*[",
    r"(\w+\s?)+!",
    "^(([a-z])+.)+[A-Z]",
    "(?=(a+))a*b",
    "%s%n{0!r}",
)
BRACKETS = ("[", "]", "][", "[]", "<keywords>", "[SEP]")
WORDS = (*BRACKETS, "search", "click", "go to", "take", "\n", "\x00", "None", "-1", "{x}")
UNICODE = "aé ß\u0130\u200b\u202e\ufeff\ud800\udfff\U0001f600\u0001\u2028漢字ﬁǅ\u0345"


@dataclass
class Report:
    """The results of fuzzing: counts, seconds, MiB, and the first failures."""

    name: str
    actions: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    memory: float = 0.0
    growth: float = 0.0
    failures: tuple[str, ...] = ()


def admissible(rng: random.Random, actions: list[str]) -> str:
    action = rng.choice(actions) if actions else "look"
    return action.replace(
        "<keywords>", " ".join(rng.choices(("red", "shoe", "large", "lamp", "x"), k=rng.randint(1, 5)))
    )


def near_miss(rng: random.Random, actions: list[str]) -> str:
    """Return an admissible action with one change."""
    action = admissible(rng, actions)
    at = rng.randint(0, len(action))
    change = rng.randrange(8)
    if change == 0:
        return action[:at] + action[at + 1 :]
    if change == 1:
        return action[:at] + rng.choice(string.printable) + action[at:]
    if change == 2:
        return action[:at]
    if change == 3:
        return action[at:] + action[:at]
    if change == 4:
        return action.upper()
    if change == 5:
        return action * rng.randint(2, 4)
    if change == 6:
        return rng.choice(WORDS) + action + rng.choice(WORDS)
    return action.replace(" ", rng.choice(("  ", "\t", "\u00a0", "")))


def random_bytes(rng: random.Random, actions: list[str]) -> str:
    data = rng.randbytes(rng.randint(0, 200))
    return data.decode("latin-1") if rng.random() < 0.5 else data.decode("utf-8", errors="surrogateescape")


def random_unicode(rng: random.Random, actions: list[str]) -> str:
    text = "".join(rng.choices(UNICODE, k=rng.randint(0, 60)))
    return f"{rng.choice(('search', 'click', 'go to', ''))}[{text}]" if rng.random() < 0.5 else text


def brackets(rng: random.Random, actions: list[str]) -> str:
    return "".join(rng.choices(WORDS, k=rng.randint(0, 12)))


def bomb(rng: random.Random, actions: list[str]) -> str:
    text = rng.choice(("a", "a ", "aA", "[", "]", "1")) * rng.randint(1, 500) + rng.choice(("!", "\n", ""))
    return rng.choice((f"search[{rng.choice(BOMBS)}]", f"click[{text}]", f"search[{text}", rng.choice(BOMBS) + text))


def long(rng: random.Random, actions: list[str]) -> str:
    unit = rng.choice((*WORDS, *BOMBS, "a", "red lamp ", *UNICODE, *(actions or ["look"])))
    text = (unit * (MEGABYTE // max(1, len(unit)) + 1))[:MEGABYTE]
    return rng.choice((text, f"search[{text}]", f"click[{text}]", f"go to {text}"))


KINDS: dict[Callable[[random.Random, list[str]], str], float] = {
    admissible: 0.4,
    near_miss: 0.3,
    random_bytes: 0.1,
    random_unicode: 0.08,
    brackets: 0.08,
    bomb: 0.04,
    long: SHARE_OF_LONG,
}


@contextmanager
def step_limit(seconds: float) -> Iterator[Callable[[], None]]:
    """Yield a function that starts the clock of a step; a step that exceeds it raises TimeoutError.

    If the interpreter itself does not return, in a regular expression for instance, the process ends instead, with a
    traceback.
    """

    def ring(*_: Any) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_REAL, seconds) and None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


def wrong(result: Any) -> str | None:
    """Return the fault of a step's result, None if it is valid."""
    observation, reward, terminated, truncated, info = result
    if not isinstance(observation, str):
        return f"the observation is {type(observation).__name__}"
    if not isinstance(reward, int | float) or not math.isfinite(reward) or not 0 <= info["score"] <= 1:
        return f"the reward is {reward!r}, the score {info['score']!r}"
    if not isinstance(terminated, bool) or not isinstance(truncated, bool):
        return "termination or truncation is no bool"
    return None


def fuzz(
    env: gymnasium.Env[str, str], actions: int, seed: int, limit: float, watch: Callable[[Report], None] | None = None
) -> Report:
    """Return the report on random and hostile actions; ``watch`` is called with it ten times on the way."""
    rng = random.Random(seed)
    kinds, weights = list(KINDS), list(KINDS.values())
    process = psutil.Process()
    report = Report(env.spec.name if env.spec else type(env.unwrapped).__name__)
    failures: list[str] = []
    settled, failed = 0.0, False
    _, info = env.reset(seed=seed)
    interval = max(1, actions // REPORTS)
    with step_limit(limit) as start_clock:
        for number in range(1, actions + 1):
            if number % WATCHED == 1 or failed:
                faulthandler.dump_traceback_later(10 * limit, exit=True, file=sys.__stderr__)
            action = rng.choices(kinds, weights)[0](rng, info["admissible_actions"])
            start = time.perf_counter()
            over, failed = True, False
            try:
                start_clock()
                result = env.step(action)
                signal.setitimer(signal.ITIMER_REAL, 0)
                if problem := wrong(result):
                    failures.append(f"{action[:80]!r}: {problem}")
                over, info = result[2] or result[3], result[4]
            except Exception as error:  # any exception is a finding
                failed = True
                failures.append(f"{action[:80]!r}: {type(error).__name__}: {error}"[:300])
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            taken = time.perf_counter() - start
            report.seconds += taken
            report.slowest = max(report.slowest, taken)
            if over:
                _, info = env.reset()
            if number % interval == 0 or number == actions:
                report.actions, report.memory = number, process.memory_info().rss / 2**20
                settled = settled or report.memory
                report.growth = report.memory - settled
                report.failures = tuple(failures[:20])
                if watch is not None:
                    watch(report)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", default=IDS, metavar="ID", help="Gymnasium ids of environments")
    parser.add_argument("--actions", type=int, default=1_000_000, help="all together")
    parser.add_argument("--limit", type=float, default=5.0, help="seconds that a step may take")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    console = Console()
    columns = ("environment", "actions", "a second", "slowest ms", "RSS MiB", "grown", "failures")
    table = Table(*columns, title="Hostile actions")

    def row(report: Report) -> tuple[str, ...]:
        return (
            report.name,
            f"{report.actions:,}",
            f"{report.actions / report.seconds:,.0f}",
            f"{report.slowest * 1000:,.0f}",
            f"{report.memory:,.0f}",
            f"{report.growth:+,.1f}",
            str(len(report.failures)),
        )

    reports = []
    console.print(*columns, sep="  ")
    for name in options.ids:
        env = gymnasium.make(name)
        each = options.actions // len(options.ids)
        reports.append(
            fuzz(env, each, options.seed, options.limit, lambda report: console.print(*row(report), sep="  "))
        )
        env.close()
        table.add_row(*row(reports[-1]))
    console.print(table)
    for report in reports:
        for failure in report.failures:
            console.print(f"{report.name}: {escape(failure)}")
    if any(report.failures or report.growth > GROWTH_ALLOWED for report in reports):
        sys.exit(1)


if __name__ == "__main__":
    main()
