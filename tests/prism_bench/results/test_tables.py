"""The tables of one run, read as a person reads them: by the cells of their rows."""

from example_runs import LEDGER, cells, phase, point, printed, run

from prism_bench.accounting.meter import LedgerRow
from prism_bench.results.tables import print_result


def test_tables_of_one_result(tmp_path):
    text = printed(print_result, run(), tmp_path)
    assert "Strategy split, router prism: 1,500 trajectories to SFT, 1,501 to RL" in text
    assert "decoding: greedy; steps: 50" in text
    assert cells(text, "task type") == ["task type", "tasks", "base", "sft", "rl"]
    assert cells(text, "all") == ["all", "40", "25.0 [14.2, 40.2]", "25.0 [14.2, 40.2]", "62.5 [47.0, 75.8]"]
    assert cells(text, "type 1") == ["type 1", "20", "0.0 [0.0, 16.1]", "0.0 [0.0, 16.1]", "50.0 [29.9, 70.1]"]
    assert cells(text, "rl - base")[1].startswith("+37.5 [+2")
    assert cells(text, "rl - sft")[1] == cells(text, "rl - base")[1]
    assert "Score" not in text and "score on" not in text
    assert cells(text, "base (cached)") == ["base (cached)", "0", "0", "1.20 M", "6.00 T", "0", "3 min 20 s", "0 MiB"]
    assert cells(text, "total") == ["total", "30.0 k", "0", "1.20 M", "8.00 T", "700", "4 min 10 s", "1.50 GiB"]
    assert "Routing took 25.0 % of the FLOPs and 20.0 % of the time." in text
    assert f"scores: {tmp_path}/route/scores.json" in text
    assert "Learning curve" not in text


def test_a_strategy_without_a_router_says_so():
    text = printed(print_result, run(router=None, strategy="[rl]"))
    assert "Strategy [rl], no router\n" in text


def test_phases_are_described():
    phases = [
        phase("warm-up"),
        phase("rl", algorithm="GRPO", demonstrations=0, tasks=1501, updates=1200, ended="budget"),
        phase("[mixed]", algorithm="CHORD", tasks=8, ended="plateau"),
    ]
    text = printed(print_result, run(stages=("base",), phases=phases))
    assert "warm-up: SFT on 1,500 demonstrations, 24 updates\n" in text
    assert "rl: GRPO on 1,501 tasks, 1,200 updates, ended at the budget\n" in text
    assert "[mixed]: CHORD on 1,500 demonstrations and 8 tasks, 24 updates, ended at a plateau\n" in text


def test_of_many_stages_differences_to_the_first_and_of_the_last_are_shown():
    text = printed(print_result, run(stages=("base", "a", "b", "c")))
    differences = text[text.index("Differences") : text.index("Cost per phase")]
    shown = [line.split("│")[1].strip() for line in differences.splitlines() if line.startswith("│")]
    assert shown == ["a - base", "b - base", "c - base", "c - a", "c - b"]


def test_a_learning_curve_has_a_table_for_each_phase():
    curves = [point("sft", 0, 10**9, 0.125), point("sft", 2400, 2 * 10**12, 0.5), point("rl", 7, 3 * 10**12, 0.75)]
    text = printed(print_result, run(curves=curves))
    first, second = text.index("Learning curve of sft on valid_seen"), text.index("Learning curve of rl on")
    assert first < second
    assert cells(text[first:second], "update") == ["update", "0", "2,400"]
    assert cells(text[first:second], "FLOPs") == ["FLOPs", "1.00 G", "2.00 T"]
    assert cells(text[first:second], "success") == ["success", "12.5", "50.0"]
    assert cells(text[second : text.index("Cost per phase")], "success") == ["success", "75.0"]
    assert "│ score" not in text


def test_a_long_learning_curve_is_thinned_out_and_keeps_its_ends():
    curves = [point("sft", number, number, number / 100) for number in range(101)]
    for width, columns in ((80, 7), (120, 12)):
        updates = cells(printed(print_result, run(curves=curves), width=width), "update")[1:]
        assert updates == [str(round(number * 100 / (columns - 1))) for number in range(columns)]


def test_partial_scores_have_tables_of_their_own():
    text = printed(print_result, run(score=0.5, curves=[point("sft", 1, 1, 0.25, score=0.375)]))
    assert "Score on valid_seen" in text and "Differences of score" in text
    assert cells(text, "score") == ["score", "37.5"]


def test_truncation_is_a_warning_above_one_per_cent():
    rows = [
        LedgerRow("rl", episodes=200, context_full=3, out_of_turns=2),
        LedgerRow("sft", demonstrations=1000, demonstrations_truncated=123),
    ]
    text = printed(print_result, run(ledger=rows))
    assert "1.5 % of the rollouts in rl ended because the context was full; raise model.max_length.\n" in text
    assert "12.3 % of the demonstrations in sft lost steps at the end of the context; raise model.max_length.\n" in text
    rows = [LedgerRow("route", episodes=200, context_full=2, out_of_turns=200)]
    text = printed(print_result, run(ledger=rows))
    assert "of the rollouts" not in text  # exactly one per cent; and the limit of turns is a setting, in the protocol
    assert "%" not in printed(print_result, run(ledger=LEDGER)).partition("time.\n")[2]


def test_failures_of_environments_are_shown_where_there_were_any():
    assert "Environments failed" not in printed(print_result, run())
    rows = [LedgerRow("rl", episodes=900, lost_episodes=3, hangs=2, errors=1), LedgerRow("eval", worker_deaths=1)]
    text = printed(print_result, run(ledger=[*LEDGER, *rows]))
    lost = "(2 calls without an answer in time, 1 exceptions): 3 episodes lost, which count as failures."
    assert f"Environments failed in rl {lost}" in text
    assert "Environments failed in eval (1 processes or servers that were gone): none lost." in text


def test_device_time_is_shown_where_it_differs():
    assert "device time" not in printed(print_result, run())
    text = printed(print_result, run(ledger=[LedgerRow("rl", seconds=60, device_seconds=480)]))
    costs = text[text.index("Cost per phase") :]
    assert cells(costs, "rl")[-3:] == ["1 min 00 s", "8 min 00 s", "0 MiB"]
    assert "Routing took" not in text


def test_a_result_without_evaluation_is_printed():
    assert "Cost per phase" in printed(print_result, run(outcomes=[]))
