import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from prism_bench.accounting.ledger import LedgerRow
from prism_bench.results.result import Outcome, build_result, write_result
from prism_bench.results.tables import count, duration, main, memory, print_comparison, print_result, share

LEDGER = [
    LedgerRow("base", trained_tokens=1_200_000, flops=6 * 10**12, seconds=200, device_seconds=200, cached=True),
    LedgerRow("route", prefill_tokens=30_000, flops=2 * 10**12, seconds=50, device_seconds=50),
    LedgerRow("eval", env_steps=700, seconds=0, peak_memory_bytes=3 * 2**29),
]


def result(
    router="prism", partial=False, ledger=LEDGER, stages=("base", "final"), protocol=None, seed=7, won=20, **config
):
    outcomes = [
        Outcome(
            stage, "valid_seen", f"task-{number}", f"type {number % 2}", solved, 0.5 if partial else solved * 1.0, 5
        )
        for stage in stages
        for number in range(40)
        for solved in [number % 4 == 0 or (stage == "final" and number < won)]
    ]
    return build_result(
        router=router,
        config={"seed": seed, "folder": f"runs/{seed}"} | config,
        protocol=protocol or {"decoding": "greedy", "steps": 50},
        seeds={"seed": seed},
        allocation={"sft": 1500, "rl": 1501},
        outcomes=outcomes,
        ledger=ledger,
        files={"scores": "route/scores.json"},
    )


def printed(call, *arguments) -> str:
    stream = io.StringIO()
    call(*arguments[:1], Console(file=stream, width=160), *arguments[1:])
    return stream.getvalue()


def cells(text: str, first: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if re.match(rf"[│┃] {re.escape(first)} ", line)]
    return [cell.strip() for cell in line.strip("│┃").split("│")]


def test_tables_of_one_result(tmp_path):
    text = printed(print_result, result(), tmp_path)
    assert "Router prism: 1,500 trajectories to SFT, 1,501 to RL" in text
    assert "decoding: greedy; steps: 50" in text
    assert cells(text, "all") == ["all", "40", "25.0 [14.2, 40.2]", "62.5 [47.0, 75.8]"]
    assert cells(text, "type 1") == ["type 1", "20", "0.0 [0.0, 16.1]", "50.0 [29.9, 70.1]"]
    assert cells(text, "final - base")[1].startswith("+37.5 [+2")
    assert "Score" not in text
    assert cells(text, "base (cached)") == ["base (cached)", "0", "0", "1.20 M", "6.00 T", "0", "3 min 20 s", "0 MiB"]
    assert cells(text, "total") == ["total", "30.0 k", "0", "1.20 M", "8.00 T", "700", "4 min 10 s", "1.50 GiB"]
    assert "Routing took 25.0 % of the FLOPs and 20.0 % of the time." in text
    assert f"scores: {tmp_path}/route/scores.json" in text


def test_partial_scores_have_a_table_of_their_own():
    text = printed(print_result, result(partial=True))
    assert "Score on valid_seen" in text and "Score on valid_seen" not in printed(print_result, result())
    assert "Score on valid_seen" in printed(print_comparison, {"runs/a": result(), "runs/b": result(partial=True)})


def test_deaths_of_environments_are_shown_where_there_were_any():
    assert "died" not in printed(print_result, result())
    text = printed(print_result, result(ledger=[*LEDGER, LedgerRow("rl", worker_deaths=2), LedgerRow("sft")]))
    assert "Processes of environments that died: 2 (in rl)" in text


def test_device_time_is_shown_where_it_differs():
    assert "device time" not in printed(print_result, result())
    text = printed(print_result, result(ledger=[LedgerRow("rl", seconds=60, device_seconds=480)]))
    assert cells(text, "rl")[-3:] == ["1 min 00 s", "8 min 00 s", "0 MiB"]
    assert "Routing took" not in text


def test_a_result_without_evaluation_is_printed():
    assert "Cost per phase" in printed(print_result, result(stages=()))


def test_comparison_has_one_row_per_run():
    text = printed(
        print_comparison, {"runs/[a]": result(), "runs/b": result("random", stages=("base", "sft", "final"))}
    )
    assert cells(text, "runs/[a]") == [
        "runs/[a]",
        "prism",
        "7",
        "25.0 [14.2, 40.2]",
        "",
        "62.5 [47.0, 75.8]",
        "8.00 T",
        "25.0 %",
        "4 min 10 s",
        "20.0 %",
    ]
    assert cells(text, "runs/b")[1:5:3] == ["random", "25.0 [14.2, 40.2]"]
    assert "Not comparable" not in text


def test_configurations_with_several_seeds_have_a_row_each():
    # At the end a run solves the first so many of 40 tasks, and every fourth of the others.
    finals = {"prism": {0: 20, 1: 28}, "random": {1: 36, 0: 20}}
    runs = {
        f"runs/{router}-{seed}": result(router, seed=seed, won=won)
        for router, by_seed in finals.items()
        for seed, won in by_seed.items()
    }
    text = printed(print_comparison, runs | {"runs/once": result("loss"), "runs/longer": result("prism", seed=0, rl=1)})
    table = text[text.index("means over seeds") :]
    t = 12.706204736  # Student's t with one degree of freedom, 97.5 %; two values a, b have the interval t |a - b| / 2
    assert cells(table, "runs/prism-0") == [
        "runs/prism-0",
        "prism",
        "0, 1",
        "25.0 ± 0.0",
        "",
        f"70.0 ± {t * 15 / 2:.1f}",
        "",
    ]
    assert cells(table, "runs/random-1")[2:] == [
        "0, 1",
        "25.0 ± 0.0",
        "",
        f"77.5 ± {t * 30 / 2:.1f}",
        f"+7.5 ± {t * 15 / 2:.1f}",
    ]
    assert "runs/once" not in table and "runs/longer" not in table
    assert "seeds" not in printed(print_comparison, {"a": result(), "b": result("random")})


def test_comparison_says_when_protocols_differ():
    text = printed(print_comparison, {"a": result(), "b": result(protocol={"decoding": "greedy", "steps": 30})})
    assert "Not comparable as they are: the protocols differ in steps." in text


def test_the_command_prints_files_and_folders(tmp_path, capsys):
    write_result(tmp_path / "one" / "result.json", result())
    write_result(tmp_path / "two" / "result.json", result("random"))
    assert main([str(tmp_path / "one")]) == 0
    assert "Router prism" in capsys.readouterr().out
    assert main([str(tmp_path / "one"), str(tmp_path / "two" / "result.json")]) == 0
    assert "random" in capsys.readouterr().out


def test_the_command_refuses_other_files_in_one_sentence():
    done = subprocess.run(
        [sys.executable, "-m", "prism_bench.results.tables", __file__], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(rf"{re.escape(str(Path(__file__)))}: not readable as a result .*\n", done.stderr)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (12_345, "12.3 k"),
        (999_600, "1.00 M"),
        (3.7e18, "3.70 E"),
        (1e26, "100000 Z"),
    ],
)
def test_counts(number, text):
    assert count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.314, "0.31 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"),
        (245, "4 min 05 s"),
        (3599.8, "1 h 00 min"),
        (7380, "2 h 03 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_memory_and_shares():
    assert (memory(700 * 2**20), memory(3 * 2**29)) == ("700 MiB", "1.50 GiB")
    assert (share(1, 8), share(0, 0)) == ("12.5 %", "0.0 %")
