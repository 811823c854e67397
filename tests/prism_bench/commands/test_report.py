"""``prism-bench report`` in process: files and folders, one and several, and files that are no results."""

from dataclasses import asdict

import pytest
from example_runs import run

from prism_bench.commands.report import main
from prism_bench.comparison.counterparts import Wanted
from prism_bench.comparison.gather import gather
from prism_bench.comparison.record import write_comparison
from prism_bench.comparison.tables import tables_of
from prism_bench.results.result import write_result


def test_one_result_is_printed_whole(folders, capsys):
    main([str(folders[0])])
    text = capsys.readouterr().out
    assert "router prism" in text and "Cost per phase" in text
    assert f"scores: {folders[0]}/route/scores.json" in text


def test_several_results_stand_beside_each_other(folders, capsys):
    main([str(folders[0]), str(folders[1] / "result.json"), "--reach", "0.5"])
    text = capsys.readouterr().out
    assert "random-split" in text and "to 50 % on the learning curves" in text and "1.00 T" in text
    assert "One seed" in text


def test_several_results_have_a_page(folders, tmp_path, capsys):
    page = tmp_path / "page.html"
    main([*map(str, folders), "--baseline", "strategy=split", "--page", str(page)])
    assert f"page: {page}" in capsys.readouterr().out
    assert "random-split" in page.read_text(encoding="utf-8")


def test_the_file_of_a_comparison_is_printed_like_its_runs(folders, tmp_path, capsys):
    main([*map(str, folders)])
    printed = capsys.readouterr().out
    comparison = gather(folders, Wanted({"router": "random"}, {"strategy": "rl"}, 0.6))
    write_comparison(tmp_path / "any.json", comparison, asdict(tables_of(comparison)))
    main([str(tmp_path / "any.json")])
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("options", [["--reach", "0.4"], ["--baseline", "router=prism"]])
def test_a_saved_comparison_is_reported_against_something_else(folders, tmp_path, capsys, options):
    main([*map(str, folders), "--save", str(tmp_path / "any.json")])
    as_saved = capsys.readouterr().out.partition("data: ")[0]
    main([*map(str, folders), *options])
    expected = capsys.readouterr().out
    main([str(tmp_path / "any.json"), *options])
    assert capsys.readouterr().out == expected != as_saved


def test_a_baseline_that_no_configuration_has_is_refused(folders, capsys):
    with pytest.raises(SystemExit, match="1"):
        main([*map(str, folders), "--baseline", "router=loss"])
    said = " ".join(capsys.readouterr().err.split())
    assert "no configuration has the settings of the baseline, router=loss; choose those of one of prism-split" in said


def test_saved_comparisons_of_other_seeds_are_joined(folders, tmp_path, capsys):
    whole, parts = [], []
    for seed in (0, 1):
        named = [tmp_path / f"{router}-{seed}" for router in ("prism", "random")]
        for folder in named:
            write_result(folder / "result.json", run(seed=seed, router=folder.name.partition("-")[0]))
        parts.append(tmp_path / f"seed {seed}" / "comparison.json")
        main([*map(str, named), "--save", str(parts[-1])])
        whole += named
    capsys.readouterr()
    main([*map(str, whole)])
    printed = capsys.readouterr().out
    main([*map(str, parts), "--save", str(tmp_path / "joined.json")])
    assert capsys.readouterr().out == f"{printed}data: {tmp_path}/joined.json\n"
    main([str(tmp_path / "joined.json")])
    assert capsys.readouterr().out == printed


def test_unfinished_runs_are_left_out_by_name(folders, tmp_path, capsys):
    (tmp_path / "three").mkdir()
    main([str(folder) for folder in sorted(tmp_path.iterdir())])
    text = capsys.readouterr().out
    assert text.startswith(f"left out: {tmp_path}/three has no result, it failed or has not finished\n")
    assert "random" in text
    main([str(folders[0]), str(tmp_path / "three")])
    assert "Cost per phase" in capsys.readouterr().out


def test_where_no_run_has_finished_there_is_nothing_to_report(tmp_path, capsys):
    for name in "ab":
        (tmp_path / name).mkdir()
    with pytest.raises(SystemExit):
        main([str(tmp_path / "a"), str(tmp_path / "b")])
    assert "none of these runs has finished" in capsys.readouterr().err


def test_other_files_are_refused_in_one_sentence(capsys):
    with pytest.raises(SystemExit) as refusal:
        main([__file__])
    assert refusal.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert printed.err.startswith(f"error: {__file__} is no result: name folders of runs, or only files of comparisons")


@pytest.mark.parametrize("reach", ["1.5", "-1", "nan", "most"])
def test_a_success_that_cannot_be_is_refused(folders, capsys, reach):
    with pytest.raises(SystemExit) as refusal:
        main([*map(str, folders), f"--reach={reach}"])
    assert refusal.value.code == 1
    assert f"reach={reach}".lower() in capsys.readouterr().err.lower()
