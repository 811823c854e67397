"""A phase that is interrupted and continued ends with the weights of one that never was, to the bit."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from phase import Phase
from transformers import TrainerControl, TrainerState

from baselines.algorithms.chord import CHORD
from baselines.algorithms.luffy import LUFFY
from baselines.algorithms.no_success import NoSuccess
from baselines.algorithms.rejection import RejectionSampling
from baselines.algorithms.srft import SRFT
from prism_bench.accounting.ledger import Ledger
from prism_bench.accounting.meter import Meter
from prism_bench.algorithms import checkpoints
from prism_bench.algorithms.gigpo import GiGPO
from prism_bench.algorithms.grpo import GRPO
from prism_bench.algorithms.sft import SFT
from prism_bench.models.policy import load_policy, save_policy, weights_digest, with_lora
from prism_bench.stages.unfinished import UnfinishedPhase

START: list[Path] = []
"""The checkpoint that all phases start from, made once; a reference policy is read from it."""

UPDATES = 9
STOP = 6
RL = {
    "max_steps": UPDATES,
    "num_generations": 4,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "learning_rate": 3e-3,
    "logging_steps": 1,
    "gradient_checkpointing": False,
}
TASKS = ["1-3", "2-4", "5-3", "6-2", "1-2"]
SFT_FIELDS = {
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-2,
    "logging_steps": 2,
    "gradient_checkpointing": False,
}
ALGORITHMS = {
    "sft": lambda: SFT(num_train_epochs=3, **SFT_FIELDS),
    "sft with parts": lambda: SFT(num_train_epochs=5, gradient_accumulation_steps=2, **SFT_FIELDS),
    "plateau": lambda: SFT(
        num_train_epochs=9,
        held_out=0.2,
        patience=4,
        eval_strategy="steps",
        eval_steps=2,
        eval_on_start=False,
        **SFT_FIELDS,
    ),
    "grpo": lambda: GRPO(**RL),
    "grpo, batches of several updates": lambda: GRPO(**RL | {"steps_per_generation": 2}),
    "grpo, passes with a reference": lambda: GRPO(**RL | {"beta": 0.1, "num_iterations": 2}),
    "gigpo": lambda: GiGPO(**RL),
    "luffy": lambda: LUFFY(**RL | {"loss_type": "grpo"}),
    "srft": lambda: SRFT(**RL | {"loss_type": "grpo"}),
    "chord": lambda: CHORD(demonstrations_per_update=3, mu_warmup=2, mu_decay=4, **RL),
    "hpt": lambda: NoSuccess(gate=1, **RL),
    "superrl": lambda: NoSuccess(solved=1e-6, **RL),
    "relift": lambda: NoSuccess(buffer=3, **RL),
}


class Interrupted(BaseException):
    """Ctrl-C."""


@pytest.fixture(autouse=True)
def after_every_update(monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))


@pytest.fixture
def train(undecided, corridor, corridor_episodes, tmp_path, tmp_path_factory):
    """Return a function that trains a phase, until an update at which it is interrupted, and returns its record."""

    def run(algorithm, folder: Path | None, stop: int | None = None, lora=()):
        if not START:
            START.append(tmp_path_factory.mktemp("start"))
            save_policy(undecided(seed=3), START[0])
        policy = load_policy(START[0])
        if lora:
            torch.manual_seed(0)
            policy = with_lora(policy, LoraConfig(r=4, target_modules=list(lora), init_lora_weights=False))
        ledger = Ledger()
        with ledger.phase("phase") as meter:
            unfinished = None if folder is None else UnfinishedPhase(folder, ledger, meter)

            def evaluate(policy, update):
                with ledger.phase("eval") as other:
                    other.add(env_steps=update, episodes=1)
                if unfinished is not None:
                    unfinished.curve.append({"update": update, "flops": meter.spent.flops})

            phase = Phase(policy, tmp_path / "trainer", corridor, evaluate=evaluate, points=3, unfinished=unfinished)
            object.__setattr__(phase.context, "meter", meter)

            def progress(done, planned):
                phase.progress.append((done, planned))
                if done == stop:
                    raise Interrupted

            object.__setattr__(phase.context, "progress", progress)
            try:
                phase.train(algorithm, corridor_episodes[:20], TASKS)
            except Interrupted:
                assert stop is not None
        return phase, weights_digest(policy.model), ledger, unfinished

    return run


def costs(ledger):
    rows = ledger.totals()
    return {row.phase: (row.flops, row.trained_tokens, row.env_steps, row.episodes, row.demonstrations) for row in rows}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "sft" else pytest.mark.slow) for name in ALGORITHMS]
)
def test_interrupted_and_continued_is_as_never_interrupted(train, tmp_path, name):
    whole, expected, bill, record = train(ALGORITHMS[name](), tmp_path / "whole")
    folder = tmp_path / "unfinished"
    _, half_way, *_ = train(ALGORITHMS[name](), folder, stop=STOP)
    assert half_way != expected
    (kept,) = folder.glob("checkpoint-*")
    assert kept.name in (f"checkpoint-{STOP - 1}", f"checkpoint-{STOP - 2}")  # the second between batches of two
    second, continued, other_bill, other_record = train(ALGORITHMS[name](), folder)
    assert second.progress[0][0] == int(kept.name.rpartition("-")[2]) + 1
    assert second.progress[-1] == whole.progress[-1] and whole.progress[-1][0] > STOP
    assert continued == expected
    assert costs(other_bill) == costs(bill)
    assert other_record.curve == record.curve and len(record.curve) == len({p["update"] for p in record.curve})


@pytest.mark.slow
def test_checkpoints_do_not_change_the_training(train, tmp_path):
    assert train(ALGORITHMS["grpo"](), None)[1] == train(ALGORITHMS["grpo"](), tmp_path / "unfinished")[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sft", "grpo", "grpo, passes with a reference"])
def test_an_adapter_continues(train, tmp_path, name):
    lora = ("q_proj", "v_proj")
    expected = train(ALGORITHMS[name](), tmp_path / "whole", lora=lora)[1]
    _, half_way, *_ = train(ALGORITHMS[name](), tmp_path / "unfinished", stop=STOP, lora=lora)
    second, continued, *_ = train(ALGORITHMS[name](), tmp_path / "unfinished", lora=lora)
    assert second.progress[0][0] >= STOP - 1
    assert continued == expected != half_way


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["weights", "state", "incomplete"])
def test_a_damaged_checkpoint_is_not_used(train, tmp_path, caplog, damage):
    folder = tmp_path / "unfinished"
    train(ALGORITHMS["sft"](), folder, stop=STOP)
    (kept,) = folder.glob("checkpoint-*")
    file = (
        kept / {"weights": "model.safetensors", "state": "prism_bench.json", "incomplete": "prism_bench.json"}[damage]
    )
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x80
    file.write_bytes(content)
    if damage == "incomplete":
        file.unlink()
    second, digest, *_ = train(ALGORITHMS["sft"](), folder)
    assert second.progress[0][0] == 1 and "is not used" in caplog.text
    assert digest == train(ALGORITHMS["sft"](), None)[1]


def test_the_rounds_of_rejection_start_again(train, tmp_path):
    algorithm = RejectionSampling(sft=SFT(**SFT_FIELDS), rounds=2, samples=2)
    train(algorithm, tmp_path / "unfinished", stop=2)
    assert not (tmp_path / "unfinished").exists()


def test_writing_takes_a_small_share_of_the_time(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "SHARE", 0.01)
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 30.0)
    clock = [1000.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: clock[0])
    waiting = checkpoints.Checkpoints(UnfinishedPhase(tmp_path, Ledger(), Meter("rl")), {})

    def due(after: float) -> bool:
        clock[0] = 1000.0 + after
        control = TrainerControl()
        waiting.on_step_end(None, TrainerState(global_step=1), control)
        return control.should_save

    assert not due(29) and due(31)
    clock[0] = 1000.0
    waiting.wait(2.0)
    assert not due(199) and due(201)
    assert json.dumps(waiting._parts["stage"].export_state())
