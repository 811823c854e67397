import json
import threading
import time
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prism_bench.accounting.ledger import QUANTITIES, Ledger, LedgerRow, load_rows, save_rows, total_rows
from prism_bench.errors import InputError

MEBIBYTE = 2**20
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


def sampling_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "memory-peak"]


def test_a_phase_records_what_it_was_charged_with():
    ledger, started = Ledger(), time.perf_counter()
    with ledger.phase("route") as meter:
        meter.add(prefill_tokens=10, flops=100)
        meter.add(prefill_tokens=np.int64(5), generated_tokens=3, trained_tokens=2, env_steps=1)
        assert meter.spent.prefill_tokens == 15
        time.sleep(0.02)
    (row,) = ledger.rows
    assert (row.phase, row.prefill_tokens, row.generated_tokens, row.trained_tokens, row.flops, row.env_steps) == (
        "route",
        15,
        3,
        2,
        100,
        1,
    )
    assert 0.02 <= row.seconds <= time.perf_counter() - started
    assert row.device_seconds == row.seconds
    assert row.peak_memory_bytes > 10 * MEBIBYTE
    assert not row.cached
    json.dumps(row.prefill_tokens)  # NumPy's integers would not be written


def test_device_seconds_count_every_device():
    for ledger in (Ledger(devices=["cpu"] * 4), Ledger(devices=["cpu"], device_count=4)):
        with ledger.phase("rl") as meter:
            time.sleep(0.01)
            meter.add(seconds=2.0)  # of an earlier process
        assert ledger.rows[0].device_seconds == pytest.approx(4 * ledger.rows[0].seconds)
        assert ledger.rows[0].seconds > 2


def test_an_inner_phase_has_its_own_bill():
    ledger = Ledger()
    started = time.perf_counter()
    with ledger.phase("sft") as outer:
        outer.add(trained_tokens=1)
        time.sleep(0.02)
        with ledger.phase("eval") as inner:
            inner.add(generated_tokens=2)
            time.sleep(0.1)
        outer.add(trained_tokens=1)
    elapsed = time.perf_counter() - started
    evaluation, training = ledger.rows
    assert (evaluation.phase, evaluation.generated_tokens, evaluation.trained_tokens) == ("eval", 2, 0)
    assert (training.phase, training.generated_tokens, training.trained_tokens) == ("sft", 0, 2)
    assert evaluation.seconds >= 0.1 and training.seconds >= 0.02
    assert evaluation.seconds + training.seconds <= elapsed  # nothing is billed twice


def test_memory_of_a_phase_is_its_own_peak():
    ledger = Ledger()

    def hold(mebibytes: int, seconds: float = 0.2) -> None:
        block = np.ones(mebibytes * MEBIBYTE, dtype=np.uint8)
        time.sleep(seconds)
        del block

    with ledger.phase("sft"):
        hold(1)
        with ledger.phase("eval"):
            hold(200)
    with ledger.phase("rl"):
        hold(1)
    evaluation, training, later = (row.peak_memory_bytes for row in ledger.rows)
    assert evaluation > training + 150 * MEBIBYTE
    assert evaluation > later + 150 * MEBIBYTE


def test_an_aborted_phase_is_recorded_and_its_thread_ends():
    ledger = Ledger()
    with pytest.raises(RuntimeError, match="out of luck"), ledger.phase("sft"), ledger.phase("eval") as meter:
        assert sampling_threads() == ["memory-peak"]
        meter.add(env_steps=7)
        raise RuntimeError("out of luck")
    assert [(row.phase, row.env_steps) for row in ledger.rows] == [("eval", 7), ("sft", 0)]
    assert sampling_threads() == []
    with ledger.phase("sft"):
        assert sampling_threads() == ["memory-peak"]
    assert sampling_threads() == []


def test_threads_may_share_a_meter():
    ledger = Ledger()
    with ledger.phase("collect") as meter:
        threads = [threading.Thread(target=lambda: [meter.add(env_steps=1) for _ in range(2000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert ledger.rows[0].env_steps == 8000


def test_negative_costs_are_refused():
    with pytest.raises(ValueError, match="phase 'rl': flops cannot be -1"), Ledger().phase("rl") as meter:
        meter.add(flops=-1)


def test_a_meter_takes_every_quantity_of_a_row_and_no_other():
    measured = {"device_seconds", "peak_memory_bytes"}  # by the ledger itself
    with Ledger().phase("rl") as meter:
        for number, name in enumerate(QUANTITIES):
            meter.add(**{name: number + 0.5})
        spent = {name: getattr(meter.spent, name) for name in QUANTITIES if name not in measured}
        assert spent == {n: i + 0.5 * (n == "seconds") for i, n in enumerate(QUANTITIES) if n not in measured}
        with pytest.raises(TypeError, match="flop"):
            meter.add(flop=1)


def test_cached_rows_stay_apart_from_fresh_ones():
    ledger = Ledger()
    with ledger.phase("eval") as meter:
        meter.add(env_steps=1)
    ledger.add_cached([LedgerRow("eval", env_steps=10, seconds=3.0), LedgerRow("base", flops=5)])
    assert [(row.phase, row.cached, row.env_steps) for row in ledger.totals()] == [
        ("eval", True, 10),
        ("eval", False, 1),
        ("base", True, 0),
    ]


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_memory_of_a_phase_is_its_own_peak():
    ledger = Ledger(devices=["cuda"])
    with ledger.phase("sft"):
        torch.empty(MEBIBYTE, dtype=torch.uint8, device="cuda")
        with ledger.phase("eval"):
            torch.empty(64 * MEBIBYTE, dtype=torch.uint8, device="cuda")
    evaluation, training = (row.peak_memory_bytes for row in ledger.rows)
    assert 64 * MEBIBYTE <= evaluation < 66 * MEBIBYTE
    assert MEBIBYTE <= training < 3 * MEBIBYTE
