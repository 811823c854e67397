"""Files of one comparison: what comes together, and what is refused."""

import re
from dataclasses import asdict

import pytest
from folders import WANTED_OF, folder_of

from prism_bench.comparison.counterparts import Wanted
from prism_bench.comparison.gather import gather
from prism_bench.comparison.join import read_joined
from prism_bench.comparison.record import FailedRun, write_comparison
from prism_bench.comparison.tables import tables_of
from prism_bench.errors import InputError
from prism_bench.results.outcomes import ResultError


def written(root, *seeds, routers=("prism", "random"), reach=0.6, failed=(), **changes):
    """Write the comparison of some seeds, beside the folders of its runs."""
    folders = [folder_of(root, seed=seed, router=router, **changes) for seed in seeds for router in routers]
    wanted = Wanted(WANTED_OF, {"strategy": "rl"}, reach)
    comparison = gather(folders, wanted, command=f"of {root.name}", failed=failed, root=root)
    file = root / "comparison.json"
    write_comparison(file, comparison, asdict(tables_of(comparison)))
    return file


def test_runs_are_joined_and_found_in_their_folders(tmp_path):
    failed = [FailedRun("prism-split", seed, "killed") for seed in (2, 9)]
    first = written(tmp_path / "one", 0, 1, failed=failed)
    joined = read_joined([first, written(tmp_path / "two", 2, 4)])
    assert list(joined.of("prism-split")) == list(joined.of("random-split")) == [0, 1, 2, 4]
    assert [(run.seed, run.reason) for run in joined.failed] == [(9, "killed")]
    assert joined.command == "of one && of two"
    assert all((first.parent / run.folder / "result.json").is_file() for run in joined.runs)
    assert {outcome.tasks for run in joined.runs for by in run.outcomes.values() for outcome in by.values()} <= set(
        joined.lists
    )


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"seeds": [1]}, r"seed 1 of prism-split is in .*one.* and in .*two.*; leave one out"),
        ({"routers": ["prism", "loss"]}, r".*two.* differ in the configuration "),
        ({"config": {"rl.max_steps": 80}}, r".*two.* give prism-split other settings, rl.max_steps=80; only runs "),
        ({"reach": 0.5}, r".*two.* differ in the success that is to be reached"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path, other, sentence):
    files = [written(tmp_path / "one", 0, 1), written(tmp_path / "two", *other.pop("seeds", [2]), **other)]
    with pytest.raises(InputError, match=sentence):
        read_joined(files)


def test_a_file_whose_tables_were_changed_is_refused(tmp_path):
    file = written(tmp_path / "one", 0)
    text = file.read_text(encoding="utf-8")
    file.write_text(re.sub(r'"success": "([01])', lambda found: f'"success": "{1 - int(found[1])}', text, count=1))
    with pytest.raises(ResultError, match="does not follow from the runs"):
        read_joined([file])
