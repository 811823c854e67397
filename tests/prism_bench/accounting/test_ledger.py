import json
import threading
import time

import numpy as np
import pytest
import torch

from prism_bench.accounting.ledger import Ledger
from prism_bench.accounting.meter import LedgerRow

MEBIBYTE = 2**20


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
