"""The real ``run.py``, in a process of its own, on the real configuration shrunk to seconds."""

import itertools
import json
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import trl
from extras import skip_where_missing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shrunken import ALWAYS, MODEL, RL, SFT, SMALL
from transformers import PreTrainedModel
from wandb_file import read_offline_run

from prism_bench.accounting.meter import QUANTITIES
from prism_bench.commands.hydra_command import CONF
from prism_bench.commands.report import main as report
from prism_bench.data.trajectory import load_trajectories
from prism_bench.models.tokenizer import build_tokenizer
from prism_bench.results.result import phase_costs, read_result
from prism_bench.routing.allocation import load_routed

ROOT = Path(__file__).resolve().parents[1]
RUN = str(ROOT / "run.py")

PHASES = ["collect", "base", "route", "sft", "rl", "eval"]
ONLY_SFT = "strategy.phases=[{name:sft,algorithm:${sft},demonstrations:sft}]"
LEFT = {".hydra", ".lock", "metrics.jsonl", "report.html", "result.json", "run.log"}
TIMES = {"seconds", "device_seconds", "peak_memory_bytes"}

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [f"prism_bench.{name}" for name in ("experiment", "algorithms.grpo", "algorithms.sft", "comparison.page")]
)


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Use one thread, since matrices are so small that threads would wait for each other, and no network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("WANDB_MODE", "offline")
        yield


def arguments(folder: Path, cache: Path, *overrides: str) -> list[str]:
    return [RUN, *ALWAYS, f"hydra.run.dir={folder}", f"hydra.sweep.dir={folder}", f"cache={cache}", *overrides]


def be_the_program(folder: Path, argv: list[str]) -> None:
    """Run ``python run.py`` outside of the repository, with the output in files."""
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder.with_suffix(f".{name}"), os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder.parent)
    sys.argv = argv
    runpy.run_path(RUN, run_name="__main__")


def start(folder: Path, cache: Path, *overrides: str) -> ForkServerProcess:
    """Start the program in a process forked from one that has imported the large libraries already."""
    process = PROCESSES.Process(target=be_the_program, args=(folder, arguments(folder, cache, *overrides)))
    process.start()
    return process


def attempt(folder: Path, cache: Path, *overrides: str) -> tuple[int | None, str]:
    """Return exit status and standard error."""
    process = start(folder, cache, *overrides)
    process.join()
    return process.exitcode, folder.with_suffix(".err").read_text()


def run(folder: Path, cache: Path, *overrides: str) -> dict[str, Any]:
    assert attempt(folder, cache, *overrides) == (0, "")
    return read_result(folder / "result.json")


def cached(result: dict[str, Any], phase: str) -> set[bool]:
    return {row["cached"] for row in result["ledger"] if row["phase"] == phase}


def phases(result: dict[str, Any]) -> set[str]:
    return {row["phase"] for row in result["ledger"]}


def spent_on(result: dict[str, Any], phase: str) -> int:
    return sum(row["flops"] for row in result["ledger"] if row["phase"] == phase)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all runs that do not ask for another one."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, dict[str, Any]]:
    """Folder and result of a run started as a user starts it, with the default router and the default logger."""
    folder = tmp_path_factory.mktemp("first") / "run"
    command = [sys.executable, *arguments(folder, cache, *SMALL, "logger=wandb", "logger.group=routers")]
    finished = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")
    return folder, read_result(folder / "result.json")


def test_a_run_leaves_a_complete_result(first, capsys):
    folder, result = first
    assert result["config"]["seed"] == 0 and result["seeds"] == {"seed": 0, "env.seed": 0}
    assert result["config"]["router"]["_target_"] == "prism_bench.routing.prism.PrismRouter"
    assert {"source", "steps", "decoding", "checkpoint", "eval tasks", "prompt"} <= result["protocol"].keys()
    assert result["protocol"]["eval tasks"] == "8 of 500 of valid_seen, 8 of 500 of valid_unseen"
    assert {name: drawn["tasks"] for name, drawn in result["selections"].items()} == {
        "eval valid_seen": 8,
        "eval valid_unseen": 8,
        "demonstrations": 8,
        "pretraining": 16,
        "learning curves": 4,
    }
    for drawn in result["selections"].values():
        assert sum(drawn["types"].values()) == drawn["tasks"] and len(drawn["types"]) == 2
    assert {"python", "torch", "transformers", "trl"} <= result["versions"].keys()
    assert (result["strategy"], result["router"]) == ("split", "PrismRouter")
    assert result["allocation"] == {"sft": 4, "rl": 4}
    for table in ("success", "score"):
        assert list(result[table]) == ["base", "sft", "rl"]
        for stage in result[table].values():
            assert list(stage) == ["valid_seen", "valid_unseen"]
            for groups in stage.values():
                assert groups["all"].keys() == {"mean", "low", "high", "n"} and groups["all"]["n"] == 8
                assert sum(estimate["n"] for name, estimate in groups.items() if name != "all") == 8
    sft, rl = result["phases"]
    assert (sft["name"], sft["algorithm"], sft["demonstrations"], sft["tasks"]) == ("sft", "SFT", 4, 0)
    assert (rl["name"], rl["algorithm"], rl["demonstrations"], rl["tasks"]) == ("rl", "GRPO", 0, 4)
    assert [phase["ended"] for phase in result["phases"]] == ["completed", "completed"]
    curve = [(point["phase"], point["update"]) for point in result["curves"]]
    assert curve == [("sft", sft["updates"] // 2), ("sft", sft["updates"]), ("rl", 1)]
    flops = [point["flops"] for point in result["curves"]]
    assert flops == sorted(flops) and flops[-1] == sum(spent_on(result, phase) for phase in ("route", "sft", "rl"))
    assert [row["phase"] for row in result["ledger"]] == PHASES
    for row in result["ledger"]:
        assert row.keys() == {"phase", "cached", *QUANTITIES} and not row["cached"]
    spent = {row["phase"]: {name for name in QUANTITIES if row[name]} for row in result["ledger"]}
    assert spent["collect"] == TIMES | {"env_steps", "episodes"}
    assert TIMES | {"trained_tokens", "flops"} <= spent["base"] and "generated_tokens" not in spent["sft"]
    assert TIMES | {"prefill_tokens", "flops"} <= spent["route"]
    assert {"prefill_tokens", "generated_tokens", "flops", "env_steps"} <= spent["rl"] & spent["eval"]
    assert "trained_tokens" not in spent["eval"] and "worker_deaths" not in spent["rl"]
    assert all((folder / path).exists() for path in result["files"].values())
    demonstrations = load_trajectories(Path(result["files"]["demonstrations"]))
    assert [episode.task_id for episode in demonstrations] == load_routed(folder / "allocation.json")[0]
    for stage, split in itertools.product(("base", "sft", "rl"), ("valid_seen", "valid_unseen")):
        episodes = load_trajectories(Path(result["files"][f"episodes {stage} {split}"]))
        evaluated = [
            outcome for outcome in result["outcomes"] if (outcome["stage"], outcome["split"]) == (stage, split)
        ]
        assert [episode.task_id for episode in episodes] == [outcome["task_id"] for outcome in evaluated]
    left = {path.name for path in folder.iterdir()}
    probe = {"norms.parquet", "gradients.png"}
    assert left == {*LEFT, "allocation.json", "wandb", *probe}
    assert len({row["score"] for row in decisions(folder)["trajectories"]}) == 8
    report([str(folder)])
    assert "Cost per phase" in capsys.readouterr().out


@pytest.mark.slow
def test_the_protocol_is_printed_once_with_the_result_and_restrictions_at_the_start(first, cache, tmp_path):
    result = run(tmp_path / "run", cache, *SMALL)
    assert cached(result, "rl") == {True}
    printed = (tmp_path / "run.out").read_text()
    assert printed.startswith(f"Restricted {result['protocol']['restricted'][:40]}")
    for name in ("decoding:", "checkpoint:", "floor_plans:"):
        assert printed.count(name) == 1
        assert printed.index("router PrismRouter") < printed.index(name) < printed.index("Success on valid_seen")


def test_the_default_logger_gets_the_same_numbers(first):
    folder, result = first
    summary = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()][-1]["summary"]
    assert summary["success/rl/valid_seen"] == result["success"]["rl"]["valid_seen"]["all"]["mean"]
    assert summary["ledger/route/flops"] == next(row["flops"] for row in result["ledger"] if row["phase"] == "route")


def test_the_offline_wandb_run_holds_the_whole_run(first):
    folder, result = first
    read = read_offline_run(folder)
    assert (read.run.display_name, read.run.run_group, read.run.job_type) == ("prism-split-s0", "routers", "sft+rl")
    assert list(read.run.tags) == ["ALFWorld-v0", "split", "prism", "sft", "grpo"]
    assert read.config["seed"] == 0 and read.exit_code == 0

    sft, rl = result["phases"]
    assert read.column("rl/step")[-1] == rl["updates"] and read.metrics["rl/*"].step_metric == "rl/step"
    points = result["curves"]
    updates = [point["update"] + (sft["updates"] if point["phase"] == "rl" else 0) for point in points]
    assert read.column("flops") == [point["flops"] for point in points] and read.column("updates") == updates
    for axis in ("flops", "updates"):
        success = [point["success"] for point in points]
        assert read.column(f"curve_over_{axis}/success") == success
        assert read.metrics[f"curve_over_{axis}/*"].step_metric == axis
        assert read.summary[f"curve_over_{axis}/success"] == {"max": max(success)}
    assert read.summary["success/final/valid_seen"] == result["success"]["rl"]["valid_seen"]["all"]["mean"]
    assert read.metrics["success/*"].summary.max and read.metrics["ledger/*"].summary.min

    shared = ("stage", "split", "success", "score", "steps")
    episodes = read.table("tables/episodes")
    assert [[row[key] for key in shared] for row in episodes] == [
        [outcome[key] for key in shared] for outcome in result["outcomes"]
    ]
    assert all(row["text"].count("\n> ") >= row["steps"] for row in episodes)
    assert read.table("tables/allocation") == decisions(folder)["trajectories"]
    assert (read.files / read.column("plots/gradients/path")[0]).is_file()
    assert read.artifacts["result"] == {"result.json": folder / "result.json"}
    assert read.artifacts["allocation"] == {"allocation.json": folder / "allocation.json"}
    assert read.artifacts["model"]["model.safetensors"].parent == Path(result["files"]["checkpoint rl"])


@pytest.mark.slow
def test_another_router_reuses_expert_episodes_and_base_model(first, cache, tmp_path):
    result = run(tmp_path / "run", cache, *SMALL, "router=difficulty", "router.episodes=2")
    original = {row["phase"]: row for row in first[1]["ledger"]}
    reused = [row for row in result["ledger"] if row["phase"] in ("collect", "base")]
    assert reused == [original[phase] | {"cached": True} for phase in ("collect", "base")]
    assert cached(result, "route") == {False}
    assert next(row for row in result["ledger"] if row["phase"] == "route")["env_steps"] > 0
    assert cached(result, "eval") == {False, True}  # the base model was evaluated before, the others were not
    assert result["success"]["base"] == first[1]["success"]["base"]


@pytest.mark.slow
def test_another_split_of_the_same_norms_probes_nothing(first, cache, tmp_path):
    split = ("router.quantile=0.75", "router.concentration=cv", "router.reverse=true")
    result = run(tmp_path / "run", cache, *SMALL, *split)
    assert result["allocation"] == {"sft": 6, "rl": 2}
    probed, divided = sorted(
        (row for row in result["ledger"] if row["phase"] == "route"), key=lambda row: -row["flops"]
    )
    assert probed["cached"] and probed["flops"] == spent_on(first[1], "route")
    assert not divided["cached"] and divided["flops"] == 0


@pytest.mark.slow
def test_own_demonstrations_do_what_the_same_ones_of_the_expert_do(first, cache, tmp_path):
    """Content counts, and not where it comes from: with the expert's episodes in a file nothing is made again."""
    files = list(cache.glob("collect/*/files/trajectories.parquet"))
    (episodes,) = (file for file in files if len(load_trajectories(file)) == 8)
    shutil.copy(episodes, tmp_path / "own.parquet")
    own = (f"demonstrations={tmp_path / 'own.parquet'}", "trajectories=null")
    result = run(tmp_path / "run", cache, *SMALL, *own)
    assert cached(result, "sft") == cached(result, "route") == cached(result, "rl") == {True}
    assert result["success"] == first[1]["success"]
    assert result["protocol"]["demonstrations"].startswith("own.parquet (")
    (tmp_path / "no").mkdir()
    refused(tmp_path / "no", cache, "is of the task", *SMALL, own[0], "env.seed=1")


@pytest.mark.slow
def test_a_killed_run_continues_and_ends_as_if_it_had_not_been_killed(first, tmp_path):
    """A cache of its own also shows that the same seed gives the same result, to the bit."""
    killed = start(tmp_path / "killed", tmp_path / "cache", *SMALL)
    while not list((tmp_path / "cache").glob("base/[!.]*")):
        assert killed.exitcode is None, (tmp_path / "killed.err").read_text()
        time.sleep(0.01)
    killed.kill()
    killed.join()
    assert not (tmp_path / "killed" / "result.json").exists()

    result = run(tmp_path / "run", tmp_path / "cache", *SMALL)
    assert cached(result, "base") == {True} and False in cached(result, "eval")
    folder, uninterrupted = first
    assert repeatable(result) == repeatable(uninterrupted)
    assert decisions(tmp_path / "run") == decisions(folder)
    assert weights(result) == weights(uninterrupted)
    assert len(set(weights(result).values())) > 1  # training changed something


def repeatable(result: dict[str, Any]) -> dict[str, Any]:
    """Leave out where a run was made and how long it took."""
    content = {name: result[name] for name in result if name not in ("ledger", "files", "config")}
    config = {name: result["config"][name] for name in result["config"] if name not in ("cache", "folder", "logger")}
    costs = [{name: getattr(row, name) for name in QUANTITIES if name not in TIMES} for row in phase_costs(result)]
    return content | {"config": config, "costs": costs}


def decisions(folder: Path) -> dict[str, Any]:
    allocation = json.loads((folder / "allocation.json").read_text())
    return {name: value for name, value in allocation.items() if name != "cost"}


def weights(result: dict[str, Any]) -> dict[str, bytes]:
    stages = ("base", "sft", "rl")
    return {stage: Path(result["files"][f"checkpoint {stage}"], "model.safetensors").read_bytes() for stage in stages}


@pytest.mark.slow
def test_a_strategy_without_a_router_bills_none(first, cache, tmp_path):
    result = run(tmp_path / "run", cache, *SMALL, "strategy=sft_then_rl")
    assert list(result["success"]) == ["base", "sft", "rl"]
    assert result["router"] is None and result["allocation"] is None
    assert phases(result) == set(PHASES) - {"route"}
    assert [(phase["demonstrations"], phase["tasks"]) for phase in result["phases"]] == [(8, 0), (0, 8)]
    assert {path.name for path in (tmp_path / "run").iterdir()} == LEFT
    alone = run(tmp_path / "sft", cache, *SMALL, "strategy=sft")
    assert {row["cached"] for row in alone["ledger"]} == {True}  # it is the first phase of the other
    assert alone["success"]["sft"] == result["success"]["sft"] and list(alone["success"]) == ["base", "sft"]


def test_without_training_the_model_is_evaluated(first, cache, tmp_path):
    result = run(tmp_path / "run", cache, *MODEL, "strategy=none")
    assert list(result["success"]) == ["base"] and result["success"]["base"] == first[1]["success"]["base"]
    assert result["phases"] == result["curves"] == [] and phases(result) == {"collect", "base", "eval"}


@pytest.mark.slow
def test_a_phase_ends_at_the_first_update_past_the_budget(first, cache, tmp_path):
    budget = spent_on(first[1], "route") + 1
    result = run(tmp_path / "run", cache, *SMALL, f"budget.flops={budget}")
    assert [(phase["name"], phase["updates"], phase["ended"]) for phase in result["phases"]] == [("sft", 1, "budget")]
    assert list(result["success"]) == ["base", "sft"] and "rl is left out" in (tmp_path / "run.out").read_text()


@pytest.mark.slow
def test_every_phase_ends_at_the_first_update_past_its_time(cache, tmp_path):
    result = run(tmp_path / "run", cache, *SMALL, "algorithm.max_steps=2", "budget.hours_per_phase=1e-9")
    assert [(phase["updates"], phase["ended"]) for phase in result["phases"]] == [(1, "budget")] * 2


@pytest.mark.slow
def test_two_runs_and_two_sweeps_at_the_same_time_have_folders_of_their_own(cache, tmp_path):
    argv = [RUN, *ALWAYS, *SMALL, f"cache={cache}", "strategy=none", "seed=0"]
    programs = {"a": argv, "b": argv, "c": [*argv, "-m"], "d": [*argv, "-m"]}
    processes = [PROCESSES.Process(target=be_the_program, args=(tmp_path / name, programs[name])) for name in programs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    results = [path.relative_to(tmp_path).parts[1] for path in tmp_path.rglob("result.json")]
    assert len(set(results)) == 4 and sum("sweep" in name for name in results) == 2


@pytest.mark.slow
def test_a_sweep_leaves_one_folder_per_run(first, cache, tmp_path):
    assert attempt(tmp_path / "sweep", cache, *SMALL, "router=random,loss", "--multirun") == (0, "")
    results = {path.parent.name: read_result(path) for path in (tmp_path / "sweep").glob("*/result.json")}
    routers = {name: result["router"] for name, result in results.items()}
    assert routers == {"0-alfworld-split-random": "RandomRouter", "1-alfworld-split-loss": "LossRouter"}
    assert all(cached(result, "base") == {True} for result in results.values())


def swept(folder: Path, cache: Path, *overrides: str) -> dict[str, dict[str, Any]]:
    """Return the results of a sweep, by the names of their folders."""
    assert attempt(folder, cache, *SMALL, "model.max_length=1024", *overrides, "--multirun") == (0, "")
    return {path.parent.name.partition("-")[2]: read_result(path) for path in folder.glob("*/result.json")}


@pytest.mark.slow
def test_every_strategy_runs(cache, tmp_path):
    strategies = {file.stem for file in (CONF / "strategy").glob("*.yaml")} - {"rejection", "one_loop"}  # below
    results = swept(tmp_path / "sweep", cache, "router=random", f"strategy={','.join(sorted(strategies))}")
    assert set(results) == {f"alfworld-{strategy}-random" for strategy in strategies}
    routed = {result["strategy"] for result in results.values() if result["router"]}
    assert routed == {"split", "split_sft"}
    for result in results.values():
        assert list(result["success"]) == ["base", *(phase["name"] for phase in result["phases"])]


@pytest.mark.slow
@pytest.mark.parametrize("env", ["alfworld", "webshop"])
def test_rejection_sampling_runs(cache, tmp_path, env):
    settings = [f"env={env}", "strategy=rejection", "strategy.rejection.rounds=2", "strategy.rejection.samples=2"]
    (result,) = swept(tmp_path / "sweep", cache, *settings, "strategy.rejection.threshold=0.01").values()
    (phase,) = result["phases"]
    assert (phase["algorithm"], phase["demonstrations"], phase["tasks"]) == ("RejectionSampling", 0, 8)
    assert next(row for row in result["ledger"] if row["phase"] == "rejection")["episodes"] == 2 * 2 * 8


@pytest.mark.slow
def test_every_algorithm_of_one_loop_runs(cache, tmp_path):
    algorithms = {file.stem for file in (CONF / "algorithm").glob("*.yaml")} - {"sft", "grpo", "gigpo", "rejection"}
    folder = tmp_path / "sweep"
    subdir = "hydra.sweep.subdir=${hydra.job.num}-${hydra:runtime.choices.algorithm}"
    batch = "algorithm.per_device_train_batch_size=32"  # CHORD takes as many demonstrations
    choices = ["strategy=one_loop", f"algorithm={','.join(sorted(algorithms))}"]
    results = swept(folder, cache, "env=webshop", batch, *choices, subdir)
    assert set(results) == algorithms and len(algorithms) >= 6
    for result in results.values():
        (phase,) = result["phases"]
        assert (phase["demonstrations"], phase["tasks"], phase["updates"]) == (8, 8, 1)


SOME_SETTINGS = {
    "seed": (0, 1),
    "env.expert": ("search", "oracle"),
    "trajectories": (8, 10),
    "router": ("random", "loss", "prism"),
    "strategy": ("split", "sft_then_rl", "sft"),
    "algorithm": ("grpo", "gigpo"),
    "sft.learning_rate": (1e-3, 1e-2),
    "rollout.temperature": (1.0, 0.5),
    "eval.tasks": (8, 6),
}
CHOSEN = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in SOME_SETTINGS.items()})


@pytest.mark.slow
@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHOSEN, CHOSEN)
def test_a_warm_cache_gives_the_result_of_an_empty_one(tmp_path_factory, one, other):
    folder = tmp_path_factory.mktemp("pair")
    first, second = ([f"{name}={value}" for name, value in chosen.items()] for chosen in (one, other))
    run(folder / "before", folder / "warm", *SMALL, *first)
    warm = run(folder / "warm run", folder / "warm", *SMALL, *second)
    cold = run(folder / "cold run", folder / "cold", *SMALL, *second)
    assert {row["cached"] for row in cold["ledger"]} == {False}
    assert repeatable(warm) == repeatable(cold)


@pytest.mark.slow
def test_official_games_do_the_same_job(cache, tmp_path, official_data):
    data = ["env.source=official", f"env.data={official_data('v2.1.2')}", "env.train_split=valid_seen"]
    result = run(tmp_path / "run", cache, *SMALL, "model.max_length=1024", "env.test_splits=[]", *data)
    assert result["protocol"]["source"] == "official" and phases(result) == set(PHASES)
    assert result["success"]["rl"]["valid_seen"]["all"]["n"] == 8


PRETRAINED = (
    "model.device=cpu",
    "model.dtype=float32",
    "model.max_length=2048",
    "model.max_completion_tokens=8",
    "eval.tasks=2",
)
INSTRUCT_MODELS = {  # the architecture of each, its chat template in TRL's collection, and the tokens that it needs
    "qwen2.5-1.5b-instruct": ("qwen2", "qwen2_5", ["<|im_start|>", "<|im_end|>"]),
    "qwen3-8b": ("qwen3", "qwen3", ["<|im_start|>", "<|im_end|>"]),
    "llama3.1-8b": (
        "llama",
        "llama3_1",
        ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    ),
}


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_model: Callable[..., PreTrainedModel]) -> Callable[[str], Path]:
    """Return a maker of random checkpoints with the architecture and the chat template of a model."""

    def make(model: str) -> Path:
        architecture, template, tokens = INSTRUCT_MODELS[model]
        tokenizer = build_tokenizer([(ROOT / "conf" / "prompt" / "act.yaml").read_text()])
        tokenizer.add_special_tokens({"additional_special_tokens": tokens[:-1], "eos_token": tokens[-1]})
        templates = Path(trl.__file__).with_name("chat_templates")
        tokenizer.chat_template = (templates / f"{template}.jinja").read_text()
        tiny_model(architecture, vocab_size=len(tokenizer), max_position_embeddings=2048).save_pretrained(
            tmp_path / model
        )
        tokenizer.save_pretrained(tmp_path / model)
        return tmp_path / model

    return make


@pytest.mark.slow
@pytest.mark.parametrize("model", INSTRUCT_MODELS)
def test_a_pretrained_checkpoint_is_adapted_with_lora(cache, tmp_path, checkpoint, model):
    folder = checkpoint(model)
    result = run(tmp_path / "run", cache, f"model={model}", *PRETRAINED, *SFT, *RL, f"model.path={folder}")
    assert list(result["success"]) == ["base", "sft", "rl"]
    assert phases(result) == set(PHASES) - {"base"}
    assert result["files"]["checkpoint base"] == str(folder)
    for stage in ("sft", "rl"):
        files = {path.name for path in Path(result["files"][f"checkpoint {stage}"]).iterdir()}
        assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= files
        assert "model.safetensors" not in files


def refused(tmp_path: Path, cache: Path, reason: str, *overrides: str) -> None:
    """Check that a run ends with one sentence, and leaves nothing half-made and no result."""
    status, errors = attempt(tmp_path / "run", cache, *overrides)
    assert status == 1
    assert errors.startswith("error: ") and errors.count("\n") == 1 and reason in errors
    assert not (tmp_path / "run" / "result.json").exists()
    assert not list(cache.rglob("*.making"))


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["env.source=official"], "source=official needs data=DIR"),
        (["env.source=official", "env.data=/no/such/folder"], "/no/such/folder holds no folder json_2.1.1"),
        (["env.test_splits=[nope]"], "there is no split 'nope'; choose from train, valid_seen, valid_unseen"),
        (["env.expert=foo"], "no expert 'foo'; choose search or oracle"),
        (["eval.tasks=0"], "eval.tasks=0 is not possible"),
        (["trajectories=20000"], "trajectories=20000 takes all train tasks"),
        (["trajectories=few"], "trajectories=few is not possible; it should be a whole number"),
        (["~seed"], "seed has no value; give it one with seed=VALUE"),
        (["router.quantile=1"], "router.quantile=1 is not possible; it should be less than 1"),
        (["strategy=sft_then_rl", "sft.learning_rat=1"], "sft has no setting 'learning_rat'"),
        (["strategy=one_loop"], "phase 'one_loop' of the strategy: GRPO has no use for demonstrations"),
        (["prompt=react"], "the episodes of the expert 'search' have no thoughts, and the prompt asks for them"),
        (["prompt.last_turns=3"], "prompt.last_turns has to be null for GRPO and its variants"),
        (["+algorithm.no_such_field=1"], "no_such_field"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_mistakes_are_one_sentence_before_any_work(first, cache, tmp_path, overrides, reason):
    before = set(cache.glob("*/[!.]*"))
    refused(tmp_path, cache, reason, *SMALL, *overrides)
    assert set(cache.glob("*/[!.]*")) == before


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "occupied").write_text("a file")
    refused(tmp_path, tmp_path / "occupied", f"cannot be written under {tmp_path / 'occupied'}", *SMALL)


def test_a_checkpoint_without_tokenizer_is_refused(cache, tmp_path, checkpoint):
    folder = checkpoint("qwen3-8b")
    (folder / "tokenizer.json").unlink()
    refused(tmp_path, cache, "the checkpoint has no tokenizer", "model=qwen3-8b", *PRETRAINED, f"model.path={folder}")


def test_a_misspelt_choice_lists_the_choices(cache, tmp_path):
    refused(tmp_path, cache, "there is no router 'prsm'; choose from prism, ", "router=prsm")
    assert not (tmp_path / "run").exists()


@pytest.mark.vllm
def test_vllm_measures_what_transformers_measures(cache, tmp_path):
    """Evaluation after every stage, and the pass rates of the router."""
    settings = ("model.hidden_size=64", *MODEL[1:], *SFT, ONLY_SFT, "router=difficulty", "router.episodes=2")
    expected = run(tmp_path / "transformers", cache, *settings)
    engine = ("generation=vllm", "generation.gpu_memory_utilization=0.2", "+generation.options.enforce_eager=true")
    finished = subprocess.run(
        [sys.executable, *arguments(tmp_path / "vllm", cache, *settings, *engine)],
        cwd=tmp_path,
        env=os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCHDYNAMO_DISABLE": "1"},  # both for speed
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    result = read_result(tmp_path / "vllm" / "result.json")
    assert result["protocol"]["generation"].startswith("vLLM 0.")
    assert cached(result, "base") == {True} and cached(result, "route") == {False}
    assert cached(result, "eval") == {False, True}  # the policy after SFT is also the final one
    assert result["outcomes"] == expected["outcomes"]


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_vllm_that_is_not_installed_is_missed_before_any_work(cache, tmp_path):
    refused(tmp_path, cache, "generation=vllm needs vLLM", *SMALL, "generation=vllm")


def test_webshop_does_the_same_job(cache, tmp_path):
    result = run(tmp_path / "run", cache, *SMALL, "model.max_length=1024", "env=webshop", "router=loss")
    assert phases(result) == set(PHASES) and result["allocation"] == {"sft": 4, "rl": 4}
    assert result["protocol"]["prompt"].startswith("IndexedPrompt(") and "tagger" in result["protocol"]
    assert set(result["score"]["rl"]["valid"]) > {"all"}


@pytest.mark.slow
def test_babyai_does_the_same_job(cache, tmp_path):
    skip_where_missing("babyai")
    result = run(tmp_path / "run", cache, *SMALL, "model.max_length=1024", "env=babyai", "router=loss")
    assert phases(result) == set(PHASES) and result["allocation"] == {"sft": 4, "rl": 4}
    assert result["protocol"]["package"].startswith("minigrid ") and "GoToObj" in result["score"]["rl"]["test"]


@pytest.mark.slow
def test_a_prompt_chosen_by_hand_comes_before_that_of_the_environment(cache, tmp_path):
    result = run(
        tmp_path / "run", cache, *MODEL, "model.max_length=2048", "env=webshop", "prompt=action", "strategy=none"
    )
    assert result["protocol"]["prompt"].startswith("ActionPrompt(")


@pytest.mark.slow
def test_environments_in_processes_of_their_own_play_the_same(first, cache, tmp_path):
    settings = ("env.workers=true", "router=difficulty", "router.episodes=2")
    local = run(tmp_path / "local", cache, *SMALL, *settings[1:])
    remote = run(tmp_path / "remote", tmp_path / "cache", *SMALL, *settings)
    assert cached(remote, "route") == cached(remote, "eval") == {False}
    assert decisions(tmp_path / "remote") == decisions(tmp_path / "local")
    before = [[row for row in result["outcomes"] if row["stage"] != "rl"] for result in (local, remote)]
    assert before[0] == before[1]  # RL learns from numbers that are rounded
    assert len(remote["outcomes"]) == 48 and {row["worker_deaths"] for row in remote["ledger"]} == {0}
    again = run(tmp_path / "again", cache, *SMALL, *settings)
    assert {row["cached"] for row in again["ledger"]} == {True}  # env.workers is in no key
