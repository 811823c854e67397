"""Finished runs become configurations, with names, baselines and everything that tables need."""

from pathlib import Path

import pytest
from folders import folder_of

from prism_bench.comparison.counterparts import Wanted
from prism_bench.comparison.gather import gather
from prism_bench.comparison.record import read_comparison, write_comparison
from prism_bench.results.outcomes import ResultError

WANTED = Wanted({"router": "random"}, {"strategy": "rl"}, 0.6)


def names(comparison) -> dict[str, tuple[str | None, str | None]]:
    return {each.name: (each.baseline, each.reference) for each in comparison.configurations}


def test_runs_that_differ_in_their_seed_are_one_configuration(tmp_path):
    folders = [folder_of(tmp_path, seed=seed, router=router) for router in ("prism", "random") for seed in (0, 1)]
    comparison = gather(folders, WANTED, root=tmp_path)
    assert names(comparison) == {"prism-split": ("random-split", None), "random-split": (None, None)}
    assert [(run.configuration, run.seed, run.folder) for run in comparison.runs][1] == (
        "prism-split",
        1,
        "prism-split-1",
    )
    assert comparison.of("random-split")[1].command == "python run.py seed=1"


def test_the_baseline_is_the_nearest_of_those_with_its_settings(tmp_path):
    folders = [
        folder_of(tmp_path, router=router, strategy=strategy)
        for router in ("prism", "random")
        for strategy in ("split", "half")
    ]
    folders += [
        folder_of(tmp_path, router=None, strategy=strategy, stages=("base", strategy)) for strategy in ("sft", "rl")
    ]
    assert names(gather(folders, WANTED)) == {
        "prism-split": ("random-split", "rl"),
        "prism-half": ("random-half", "rl"),
        "random-split": (None, "rl"),
        "random-half": (None, "rl"),
        "sft": ("random-split", "rl"),
        "rl": ("random-split", None),
    }


def test_without_the_wanted_baseline_it_is_the_first_configuration(tmp_path):
    folders = [folder_of(tmp_path, router=router) for router in ("loss", "prism")]
    assert names(gather(folders, WANTED)) == {"loss-split": (None, None), "prism-split": ("loss-split", None)}


def test_a_baseline_that_all_have_is_the_first(tmp_path):
    folders = [folder_of(tmp_path, router=router) for router in ("loss", "prism")]
    wanted = Wanted({"strategy": "split"}, {}, 0.6)
    assert names(gather(folders, wanted)) == {"loss-split": (None, None), "prism-split": ("loss-split", None)}


def test_other_settings_stand_in_the_name_where_they_differ(tmp_path):
    folders = [folder_of(tmp_path, config={"rl.max_steps": steps, "trajectories": 8}) for steps in (40, 80)]
    comparison = gather(folders, WANTED)
    assert list(names(comparison)) == ["prism-split-rl.max_steps=40", "prism-split-rl.max_steps=80"]
    assert comparison.configurations[1].settings == {"rl.max_steps": 80}


def test_a_run_that_is_there_twice_counts_once(tmp_path):
    first = folder_of(tmp_path / "a", seed=3)
    again = folder_of(tmp_path / "b", seed=3)
    assert [run.folder for run in gather([first, again], WANTED).runs] == [str(first)]


def test_the_decisions_of_a_router_are_kept(tmp_path):
    folder = folder_of(tmp_path, scores=[0.3, 0.1, 0.12345678, 0.9])
    comparison = gather([folder], WANTED)
    routing = comparison.runs[0].routing
    assert routing.to_rl == "0001" and routing.scores[2] == 0.123457 and routing.norms is None
    assert comparison.lists[routing.demonstrations].types == ["type 0", "type 1", "type 0", "type 1"]


def test_what_is_written_is_read_back(tmp_path):
    comparison = gather([folder_of(tmp_path, seed=seed) for seed in (0, 1)], WANTED, command="x")
    path = tmp_path / "comparison.json"
    write_comparison(path, comparison, {"rates": []})
    assert read_comparison(path) == (comparison, {"rates": []})
    assert path.stat().st_size < 0.5 * sum(file.stat().st_size for file in tmp_path.glob("*/result.json"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a comparison"),
        ("[1]", "not a comparison"),
        ('{"tables": {}}', "field required"),
        ("{}", "not a comparison"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text, reason):
    path = tmp_path / "comparison.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ResultError, match=reason):
        read_comparison(path)
    with pytest.raises(ResultError, match="not readable"):
        read_comparison(tmp_path / "none.json")
