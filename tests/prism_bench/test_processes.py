"""Several processes do what one does, in every algorithm: the same episodes, losses, weights and bills."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from in_processes import COSTS, DEMONSTRATIONS, JOBS, POLICY, main
from omegaconf import OmegaConf
from safetensors.torch import load_file
from shrunken import ALWAYS, SMALL

from prism_bench.commands.hydra_command import CONF
from prism_bench.data.trajectory import save_trajectories
from prism_bench.models.policy import load_policy, save_policy
from prism_bench.results.result import read_result

ALGORITHMS = sorted(file.stem for file in (CONF / "algorithm").glob("*.yaml"))
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
PROGRAM = Path(main.__code__.co_filename)
PATHS = os.pathsep.join(map(str, (PROGRAM.parent, CONF.parent)))
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}
SHRUNKEN = (
    "folder=run",
    "strategy.name=tried",
    "+sft.optim=sgd",  # Adam would make a step of the full size out of what floats are rounded by
    "sft.learning_rate=0.5",
    "sft.per_device_train_batch_size=8",
    "sft.tokens_per_forward=64",
    "rl.learning_rate=0.5",
    "rl.max_steps=3",
    "rollout.max_turns=4",
)
ROLLOUTS = (
    "+algorithm.optim=sgd",
    "algorithm.num_generations=4",
    "algorithm.per_device_train_batch_size=8",
    "algorithm.gradient_accumulation_steps=2",
)
OF_ALGORITHM = {
    "sft": (
        "+algorithm.optim=sgd",
        "algorithm.learning_rate=0.5",
        "algorithm.per_device_train_batch_size=4",
        "algorithm.tokens_per_forward=64",
    ),
    "rejection": (),
    "chord": (*ROLLOUTS, "algorithm.demonstrations_per_update=5"),
}
VARIANTS = {
    "sft held out": ("+algorithm.held_out=0.3", "+algorithm.eval_strategy=epoch"),
    "sft interrupted": (),
    "grpo passes with a reference": ("algorithm.num_iterations=2", "algorithm.beta=0.1"),
    "grpo per token": ("algorithm.loss_type=bnpo", "algorithm.resample=2"),
    "grpo lora": (),
    "relift interrupted": ("algorithm.buffer=3",),
}


def jobs() -> dict[str, dict]:
    """Return every algorithm of the project and some variants, shrunk."""
    found = {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for name, more in {**dict.fromkeys(ALGORITHMS, ()), **VARIANTS}.items():
            choice = name.split()[0]
            settings = [f"algorithm={choice}", *SHRUNKEN, *OF_ALGORITHM.get(choice, ROLLOUTS), *more]
            found[name] = {
                "algorithm": OmegaConf.to_container(compose("config", settings).algorithm, resolve=True),
                "lora": {"r": 4, "target_modules": "all-linear"} if "lora" in name else None,
                "stop": 2 if "interrupted" in name else None,
            }
    return found


JOB = jobs()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, undecided, corridor_episodes) -> dict[int, Path]:
    """Return the folders of what one process has trained, and two."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / JOBS).write_text(json.dumps(JOB))
    save_policy(undecided(), folder / POLICY)
    save_trajectories(corridor_episodes[::3], folder / DEMONSTRATIONS)
    outs = {count: folder / str(count) for count in (1, 2)}
    for out in outs.values():
        out.mkdir()
    command = [*TORCHRUN, str(PROGRAM), str(folder), str(outs[2])]
    finished = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert finished.returncode == 0, finished.stderr
    main(folder, outs[1])
    return outs


@pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")
@pytest.mark.parametrize("name", sorted(JOB))
def test_two_processes_train_as_one_does(trained, name):
    one, two = (json.loads((out / f"{name}.json").read_text()) for out in trained.values())
    assert (one.pop("processes"), two.pop("processes")) == (1, 2)
    np.testing.assert_allclose(one.pop("loss"), two.pop("loss"), atol=1e-5)
    assert one == two
    before = dict(load_policy(trained[1].parent / POLICY).model.named_parameters())
    after, shared = (torch.load(out / f"{name}.pt") for out in trained.values())
    assert after.keys() == shared.keys()
    for weight in after:
        torch.testing.assert_close(after[weight], shared[weight], rtol=1e-4, atol=1e-5)
    assert max((after[key] - before.get(key, 0)).abs().max() for key in after if "lora_A" not in key) > 1e-3


RUN = (str(CONF.parent / "run.py"), *SMALL, *ALWAYS, "router=prism", "sft.per_device_train_batch_size=4")


def start(folder: Path, program: tuple[str, ...], *overrides: str) -> subprocess.CompletedProcess:
    command = [*program, *RUN, f"hydra.run.dir={folder}/run", f"cache={folder}/cache", *overrides]
    return subprocess.run(command, env=ENVIRONMENT, cwd=folder, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_a_run_of_two_processes_is_that_of_one(tmp_path):
    results = []
    for name, program in {"one": (sys.executable,), "two": TORCHRUN}.items():
        folder = tmp_path / name
        folder.mkdir()
        finished = start(folder, program)
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.count("result: ") == 1
        results.append(read_result(folder / "run" / "result.json"))
    one, two = results
    assert one["outcomes"] == two["outcomes"] and one["allocation"] == two["allocation"]
    assert [point["score"] for point in one["curves"]] == [point["score"] for point in two["curves"]]
    for alone, shared in zip(one["ledger"], two["ledger"], strict=True):
        assert [alone[key] for key in ("phase", *COSTS)] == [shared[key] for key in ("phase", *COSTS)]
        assert (alone["device_seconds"], shared["device_seconds"]) == (alone["seconds"], 2 * shared["seconds"])
    for phase in ("base", "sft", "rl"):
        alone, shared = (load_file(Path(r["files"][f"checkpoint {phase}"]) / "model.safetensors") for r in results)
        for weight in alone:
            torch.testing.assert_close(alone[weight], shared[weight], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_bad_input_ends_all_processes(tmp_path):
    finished = start(tmp_path, TORCHRUN, "sft.learning_rate=1e30", "sft.num_train_epochs=4")
    assert finished.returncode != 0
    assert "error: sft: " in finished.stderr and "so the policy is lost" in finished.stderr
    assert "prism_bench/" not in finished.stderr  # the only traceback is torchrun's
    assert not (tmp_path / "run" / "result.json").exists()
