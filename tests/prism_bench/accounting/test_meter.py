import json
import threading
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_bench.accounting.meter import QUANTITIES, LedgerRow, Meter, load_rows, save_rows, total_rows
from prism_bench.errors import InputError

rows = st.builds(
    LedgerRow,
    phase=st.sampled_from(["eval", "route", "sft", "distill"]),
    prefill_tokens=st.integers(0, 10**9),
    generated_tokens=st.integers(0, 10**9),
    episodes=st.integers(0, 10**6),
    demonstrations_truncated=st.integers(0, 10**6),
    flops=st.integers(0, 10**22),
    seconds=st.floats(0, 1e6),
    peak_memory_bytes=st.integers(0, 2**50),
    cached=st.booleans(),
)


def test_threads_may_share_a_meter():
    meter = Meter("collect")
    threads = [threading.Thread(target=lambda: [meter.add(env_steps=1) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.spent.env_steps == 8000


def test_negative_costs_are_refused():
    with pytest.raises(ValueError, match="phase 'rl': flops cannot be -1"):
        Meter("rl").add(flops=-1)


def test_a_meter_takes_every_quantity_of_a_row_and_no_other():
    meter = Meter("rl")
    measured = {"device_seconds", "peak_memory_bytes"}  # by the ledger itself
    for number, name in enumerate(QUANTITIES):
        meter.add(**{name: number + 0.5})
    spent = {name: getattr(meter.spent, name) for name in QUANTITIES if name not in measured}
    assert spent == {n: i + 0.5 * (n == "seconds") for i, n in enumerate(QUANTITIES) if n not in measured}
    with pytest.raises(TypeError, match="flop"):
        meter.add(flop=1)


def test_phases_of_any_name_keep_the_order_in_which_they_appear():
    rows = [LedgerRow(phase) for phase in ("warm-up", "eval", "rejection 2", "warm-up", "a", "eval")]
    assert [row.phase for row in total_rows(rows)] == ["warm-up", "eval", "rejection 2", "a"]


def test_rows_of_different_phases_do_not_add():
    with pytest.raises(ValueError, match="'sft' to that of 'rl'"):
        LedgerRow("rl") + LedgerRow("sft")


@given(st.lists(rows, max_size=12))
def test_totals_keep_every_quantity(entries):
    totals = total_rows(entries)
    assert len({(row.phase, row.cached) for row in totals}) == len(totals)
    for name in QUANTITIES:
        together = max if name == "peak_memory_bytes" else sum
        expected = together([getattr(row, name) for row in entries] or [0])
        assert together([getattr(row, name) for row in totals] or [0]) == pytest.approx(expected)
    assert total_rows(totals) == totals


@given(entries=st.lists(rows, max_size=5))
def test_rows_survive_a_file(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("ledger") / "ledger.json"
    save_rows(entries, path)
    assert load_rows(path) == entries
    assert [file.name for file in path.parent.iterdir()] == ["ledger.json"]


def test_a_row_that_lacks_a_quantity_is_refused(tmp_path):
    path = tmp_path / "ledger.json"
    values = asdict(LedgerRow("eval", env_steps=3))
    del values["flops"], values["cached"]
    path.write_text(json.dumps([values]))
    with pytest.raises(InputError, match="row 0: flops, cached missing"):
        load_rows(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not a ledger: invalid JSON"),
        ("[", "not a ledger: invalid JSON"),
        ("{}", "not a ledger: input should be a valid array"),
        ("[3]", "row 0: .*, found 3"),
        ('[{"phase": "sft"}]', "row 0: prefill_tokens, generated_tokens, .* missing"),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, reason):
    path = tmp_path / "ledger.json"
    path.write_text(content)
    with pytest.raises(InputError, match=rf"ledger\.json: .*{reason}") as refusal:
        load_rows(path)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"ledger\.json: not readable as a ledger"):
        load_rows(tmp_path / "ledger.json")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("flops", "many", "row 1, flops: .*integer, found 'many'"),
        ("flops", 1.5, "row 1, flops: .*integer, found 1.5"),
        ("flops", -1, "row 1: phase 'sft': flops cannot be -1"),
        ("cached", 1, "row 1, cached: .*boolean, found 1"),
        ("phase", None, "row 1, phase: .*string, found None"),
        ("seconds", float("nan"), "row 1, seconds: .*finite number, found nan"),
        ("seconds", float("inf"), "row 1, seconds: .*finite number, found inf"),
        ("joules", 3, "row 1, joules: unexpected .*, found 3"),
    ],
)
def test_damaged_rows_are_refused(tmp_path, field, value, reason):
    path = tmp_path / "ledger.json"
    save_rows([LedgerRow("base"), LedgerRow("sft")], path)
    values = json.loads(path.read_text())
    values[1][field] = value
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=rf"ledger\.json: not a ledger: {reason}"):
        load_rows(path)
