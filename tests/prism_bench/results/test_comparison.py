"""The tables of several runs: one row per run, one row per configuration with several seeds."""

import re

from example_runs import PROTOCOL, cells, point, printed, run

from prism_bench.results.comparison import print_comparison

CURVES = [point("sft", 1, 10**12, 0.5), point("rl", 1, 7 * 10**12, 0.625)]


def parsed(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?[\d.]+", cell)]


def test_one_row_per_run_with_its_first_and_last_stage():
    one_loop = run(stages=("base", "one_loop"), strategy="one_loop", router=None, curves=[point("one_loop", 1, 1, 0.5)])
    evaluated = run(stages=("base",), strategy="none", router=None)
    text = printed(print_comparison, {"runs/[a]": run(curves=CURVES), "runs/b": one_loop, "runs/c": evaluated})
    assert cells(text, "run")[:7] == ["run", "strategy", "router", "seed", "base", "final", "FLOPs"]
    assert cells(text, "runs/[a]") == [
        "runs/[a]",
        "split",
        "prism",
        "7",
        "25.0 [14.2, 40.2]",
        "62.5 [47.0, 75.8]",
        "8.00 T",
        "7.00 T",
        "25.0 %",
        "4 min 10 s",
        "20.0 %",
    ]
    assert cells(text, "runs/b")[1:4] == ["one_loop", "-", "7"]
    assert cells(text, "runs/b")[5:8] == ["62.5 [47.0, 75.8]", "8.00 T", "never"]
    assert cells(text, "runs/c")[7] == ""  # it has no learning curve
    assert "Not comparable" not in text and "seeds" not in text


def test_the_success_to_reach_can_be_chosen():
    text = printed(print_comparison, {"a": run(curves=CURVES), "b": run()}, reach=0.5)
    assert "FLOPs to 50 %" in text and cells(text, "a")[7] == "1.00 T"


def test_partial_scores_have_tables_of_their_own():
    text = printed(print_comparison, {"a": run(), "b": run(score=0.5)})
    assert "Score on valid_seen" in text and "Success on valid_seen" in text


def test_configurations_with_several_seeds_have_a_row_each():
    # At the end a run solves the first so many of 40 tasks, and every fourth of the others.
    finals = {"prism": {0: 20, 1: 28}, "random": {1: 36, 0: 20}}
    runs = {
        f"runs/{router}-{seed}": run(router=router, seed=seed, won=won)
        for router, by_seed in finals.items()
        for seed, won in by_seed.items()
    }
    once = {"runs/once": run(router="loss"), "runs/longer": run(seed=0, config={"rl": 1})}
    once["runs/none"] = run(stages=("base", "sft"), strategy="sft", router=None, seed=0)
    text = printed(print_comparison, runs | once)
    table = text[text.index("means over seeds") :]
    assert cells(table, "runs/prism-0")[:4] == ["runs/prism-0", "split", "prism", "0, 1"]
    base, final, difference = (parsed(cell) for cell in cells(table, "runs/prism-0")[4:])
    assert base == [25.0, 14.2, 40.2]  # the seeds agree, and the tasks are left: the interval of one run
    t = 12.706204736  # Student's t with one degree of freedom, 97.5 %; two values a, b have the interval t |a - b| / 2
    assert final[0] == 70.0 and final[1] < 70 - t * 15 / 2 and difference == []
    base, final, difference = (parsed(cell) for cell in cells(table, "runs/random-1")[4:])
    assert final[0] == 77.5 and final[1] < 77.5 - t * 30 / 2
    assert difference[0] == 7.5 and difference[1] < 7.5 - t * 15 / 2 and difference[2] > 7.5 + t * 15 / 2
    assert not any(name in table for name in once)


def test_different_protocols_are_named():
    text = printed(print_comparison, {"a": run(), "b": run(protocol=PROTOCOL | {"steps": 30})})
    assert "Not comparable as they are: the protocols differ in steps." in text
