"""``prism-bench collect``: its episodes are those of a run, and it prints what it wrote."""

import io
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
from extras import skip_where_missing
from hydra import compose, initialize_config_dir
from rich.console import Console

from prism_bench.accounting.meter import Meter
from prism_bench.commands.collect import main
from prism_bench.commands.collect_job import collect
from prism_bench.commands.hydra_command import CONF
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import Trajectory, load_trajectories
from prism_bench.errors import InputError
from prism_bench.models.policy import (
    load_policy,
    save_policy,
    weights_digest,
)
from prism_bench.models.scratch import ScratchModel, create_policy
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.episodes import RolloutRunner
from prism_bench.rollouts.expert import run_expert
from prism_bench.rollouts.transformers_backend import TransformersBackend

ID = "envs.alfworld:prism_bench/ALFWorld-v0"
SHORT = ("model.max_length=300", "model.batch_size=3", "model.max_completion_tokens=4")


def command(*overrides: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # From another folder, which must stay clean, and without the hub.
    settings = {"HF_HUB_OFFLINE": "1", "COLUMNS": "100", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CONF.parent)}
    return subprocess.run(
        [sys.executable, "-m", "prism_bench", "collect", *overrides],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=600,
    )


def collected(*overrides: str) -> tuple[list[Trajectory], str]:
    """Return the episodes that the real configuration with ``overrides`` writes, and what is shown."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("collect", overrides=[*overrides])
    console = Console(file=io.StringIO(), width=100)
    episodes = collect(config, console)
    return episodes, console.file.getvalue()  # type: ignore[attr-defined]


def played(name: str, tasks: int, split: str = "train", steps: int = 50) -> list[Trajectory]:
    environment = gymnasium.make(ID, split=split, max_episode_steps=steps)
    return run_expert(environment, name, environment.unwrapped.task_ids[:tasks], Meter("collect"))


WITH_EXPERT = sorted(file.stem for file in (CONF / "env").glob("*.yaml") if "expert: null" not in file.read_text())


@pytest.mark.parametrize("env", WITH_EXPERT)
def test_it_collects_in_every_environment_with_an_expert(env, tmp_path):
    skip_where_missing(env)
    episodes, _ = collected(f"env={env}", "tasks=3", f"out={tmp_path / 'episodes.parquet'}")
    assert episodes and all(episode.success for episode in episodes)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that knows the words and nothing else."""
    shape = {"hidden_size": 64, "intermediate_size": 16, "layers": 1, "heads": 2, "key_value_heads": 1, "base": None}
    settings = ScratchModel(max_length=512, max_completion_tokens=4, batch_size=3, **shape)
    texts = [
        text for episode in played("search", 20) for step in episode.steps for text in (step.observation, step.action)
    ]
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    save_policy(create_policy(settings, texts, seed=0), folder)
    return folder


def test_the_command_writes_what_the_expert_plays(end, tmp_path: Path) -> None:
    status, shown, error = end(main, "policy=oracle", "split=valid_seen", "tasks=8", "out=new/episodes.parquet")
    assert (status, error) == (0, "")
    episodes = load_trajectories(tmp_path / "new" / "episodes.parquet")
    assert episodes == played("oracle", 8, "valid_seen")
    assert {episode.source for episode in episodes} == {"expert:oracle"}
    assert "oracle on valid_seen, % with 95 % interval" in shown
    assert "100.0 [67.6, 100.0]" in shown  # Wilson's interval of 8 out of 8
    for task_type in {str(episode.task_type) for episode in episodes}:
        assert task_type in shown
    assert f"8 episodes written to {tmp_path}/new/episodes.parquet" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_environments_in_processes_of_their_own_play_the_same(tmp_path: Path, checkpoint: Path) -> None:
    options = (*SHORT, f"policy={checkpoint}", "tasks=4", "only_successes=false", f"out={tmp_path}/episodes.parquet")
    episodes = [collected(*options, f"env.workers={workers}")[0] for workers in ("false", "true")]
    assert episodes[0] == episodes[1] and len(episodes[0]) == 4
    with pytest.raises(ValueError, match=r"env\.workers=2 is not possible; it should be true or false"):
        collected(*options, "env.workers=2")


def test_the_command_writes_what_a_checkpoint_plays(tmp_path: Path, checkpoint: Path) -> None:
    options = (f"policy={checkpoint}", "split=valid_seen", "tasks=3", "episodes=2", "temperature=0.8", "seed=5")
    episodes, shown = collected(*options, *SHORT, f"out={tmp_path / 'episodes.parquet'}")
    assert "0.0 [0.0, 39.0]" in shown  # Wilson's interval of 0 out of 6
    assert "6 episodes written" in shown
    assert "left out" not in shown

    policy = load_policy(checkpoint)
    renderer = Renderer(policy.tokenizer, ActionPrompt(), max_length=300)
    runner = RolloutRunner(lambda: gymnasium.make(ID, split="valid_seen"), renderer, batch_size=3)
    backend = TransformersBackend(policy.model, renderer.end_token_id)
    tasks = [task for task in gymnasium.make(ID, split="valid_seen").unwrapped.task_ids[:3] for _ in range(2)]
    source = f"policy:{weights_digest(policy.model)}"
    expected = runner.run(backend, tasks, Sampling(0.8, 4, seed=5), source, Meter("collect"))
    assert episodes == load_trajectories(tmp_path / "episodes.parquet")
    assert episodes == [episode.trajectory for episode in expected]
    assert episodes[0].steps != episodes[1].steps  # two episodes of one task


@pytest.mark.vllm
def test_the_command_plays_with_vllm_in_processes_of_its_own(tmp_path: Path, checkpoint: Path) -> None:
    options = (f"policy={checkpoint}", "split=valid_seen", "tasks=3", "temperature=0", *SHORT)
    engine = ("generation=vllm", "generation.gpu_memory_utilization=0.2")
    finished = command(*options, *engine, "out=vllm.parquet", folder=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "3 episodes written" in finished.stdout
    expected, _ = collected(*options, f"out={tmp_path / 'transformers.parquet'}")
    assert load_trajectories(tmp_path / "vllm.parquet") == expected


def test_all_tasks_are_played_unless_told_otherwise(tmp_path: Path) -> None:
    out = tmp_path / "episodes.parquet"
    episodes, shown = collected("split=valid_seen", f"out={out}")
    assert len(episodes) == 500
    assert "500 episodes written" in " ".join(shown.split())
    assert load_trajectories(out) == episodes


def test_admissible_actions_are_kept_where_the_prompt_lists_them(tmp_path: Path) -> None:
    episodes, _ = collected("tasks=1", "prompt.list_admissible=true", f"out={tmp_path / 'a'}")
    assert all("look" in step.admissible_actions for episode in episodes for step in episode.steps)


def test_failures_are_left_out_of_expert_episodes(tmp_path: Path) -> None:
    short = ("policy=search", "tasks=40", "+env.make.max_episode_steps=7")
    every = played("search", 40, steps=7)
    assert 0 < sum(episode.success for episode in every) < 40
    episodes, shown = collected(*short, f"out={tmp_path / 'a'}")
    assert episodes == [episode for episode in every if episode.success]
    assert f"{40 - len(episodes)} failures left out" in " ".join(shown.split())
    everything, _ = collected(*short, "only_successes=false", f"out={tmp_path / 'b'}")
    assert everything == every


def test_without_an_expert_a_checkpoint_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^env.expert=null: the environment has no expert; name a checkpoint with"):
        collected("env.expert=null", f"out={tmp_path / 'episodes.parquet'}")


def test_nothing_to_write_is_an_error(tmp_path: Path, checkpoint: Path) -> None:
    out = tmp_path / "episodes.parquet"
    with pytest.raises(InputError, match="none of 2 episodes succeeded, so nothing was written"):
        collected(f"policy={checkpoint}", "tasks=2", *SHORT, "only_successes=true", f"out={out}")
    assert not out.exists()


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["out=null"], "say where to write the episodes: out=FILE.parquet"),
        (["out=."], "out=. is a folder"),
        (["tasks=0"], "tasks=0 is not possible; it should be 1 or more, or null"),
        (["tasks=few"], "tasks=few is not possible"),
        (["episodes=-1"], "episodes=-1 is not possible"),
        (["temperature=-0.5"], "temperature=-0.5 is not possible; it should be 0 or more"),
        (["split=test"], "there is no split 'test'"),
        (["policy=serach"], "serach: there is no such folder.*no expert 'serach'; choose search or oracle"),
        (["policy=."], "not a checkpoint"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_mistakes_are_named_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("prism_bench.models.checkpoints.HfApi", Unreachable)
    with pytest.raises(ValueError, match=complaint):
        collected("tasks=2", "out=episodes.parquet", *overrides)
    assert list(tmp_path.iterdir()) == []


class Unreachable:
    def model_info(self, name: str, timeout: float) -> None:
        raise OSError("no network in tests")


def test_a_mistake_ends_the_command_with_one_sentence(end) -> None:
    ended = end(main, "policy=search", "env.preset=huge", "out=episodes.parquet")
    assert ended == (1, "", "error: env.preset=huge is not possible; it should be 'full' or 'small'\n")


@pytest.mark.parametrize("setting", ["sft.learning_rate=1", "++rl.max_steps=3", "rollout.temperature=0.5"])
def test_settings_of_runs_which_environments_may_choose_are_refused_of_the_user(end, setting) -> None:
    status, _, message = end(main, "env=webshop", "policy=search", "tasks=1", setting, "out=episodes.parquet")
    assert status == 1 and message.startswith(f"error: {setting} is a setting of runs")


def test_help_explains_every_setting(tmp_path: Path) -> None:
    shown = command("--help", folder=tmp_path).stdout
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = [name for name in compose("collect") if name not in ("env", "model", "prompt", "generation")]
    assert len(settings) == 9
    for name in settings:
        assert any(line.startswith(f"  {name}  ") for line in shown.splitlines()), name
