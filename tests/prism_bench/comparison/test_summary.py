"""The tables of a comparison in Markdown and on a console."""

import io

import pytest
from folders import folder_of
from rich.console import Console

from prism_bench.accounting.meter import LedgerRow
from prism_bench.comparison.counterparts import Wanted
from prism_bench.comparison.gather import gather
from prism_bench.comparison.record import FailedRun
from prism_bench.comparison.summary import markdown, print_tables
from prism_bench.comparison.tables import tables_of

WANTED = Wanted({"router": "random"}, {"strategy": "rl"}, 0.6)


def rows(text: str, first: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith(f"| {first} ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_row_has_every_seed_and_the_difference_with_all_that_belongs_to_it(tmp_path):
    finals = {"random": (10, 12, 14), "prism": (38, 39, 40)}
    folders = [
        folder_of(tmp_path, router=router, seed=seed, won=won)
        for router, by_seed in finals.items()
        for seed, won in enumerate(by_seed)
    ]
    comparison = gather(folders, WANTED)
    row = rows(markdown(comparison, tables_of(comparison)), "prism-split")[0]
    assert row[1] == "3" and row[4] == "95.0, 97.5, 100.0" and row[5] == "random-split"
    assert row[6].startswith("+50.8 [+") and float(row[7].removeprefix("< ")) < 0.05
    assert 0 < float(row[8]) < 100 and row[9:] == ["1.00", "better"]
    assert rows(markdown(comparison, tables_of(comparison)), "random-split")[0][5:] == [""] * 6


def test_budgets_have_tables_of_their_own_and_notes_say_what_is_missing(tmp_path):
    free = folder_of(tmp_path / "free", ledger=[LedgerRow("route", flops=7)])
    limited = folder_of(tmp_path / "limited", config={"budget.flops": 5e12})
    failed = [FailedRun("loss-split", 3, "it ran out of luck")]
    comparison = gather([free, limited], WANTED, failed=failed)
    text = markdown(comparison, tables_of(comparison))
    assert "### Success on valid_seen, %. Equal data" in text
    assert "### Success on valid_seen, %. Equal compute: 5.00 T FLOPs" in text
    assert "No result: loss-split, seed 3: it ran out of luck" in text and "One seed" in text


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_console_of_any_width_shows_whole_names(tmp_path, width):
    runs = [("random", 10, {}), ("prism", 20, {}), ("prism", 30, {"router.reverse": True})]
    folders = [
        folder_of(tmp_path, router=router, seed=seed, config=config, won=won)
        for router, won, config in runs
        for seed in (0, 1)
    ]
    comparison = gather(folders, WANTED)
    stream = io.StringIO()
    print_tables(comparison, tables_of(comparison), Console(file=stream, width=width))
    title, *lines = stream.getvalue().split("└")[0].splitlines()
    names = "".join(line.strip("│").split("│")[0].strip() for line in lines if line.startswith("│"))
    assert names == "".join(configuration.name for configuration in comparison.configurations)
    assert title.strip() == "Success on valid_seen, %; differences to random-split"
    assert ("42.5, 42.5" in " ".join(lines)) == (width == 200)
    assert all(len(line) <= width for line in lines)
