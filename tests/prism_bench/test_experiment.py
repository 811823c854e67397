"""Every setting is part of the key of exactly the stages that read it, whatever the environment and the strategy."""

import copy
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from corridor import Corridor
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict
from rich.console import Console

from prism_bench.accounting.ledger import Ledger
from prism_bench.commands.hydra_command import CONF
from prism_bench.data.trajectory import save_trajectories
from prism_bench.digests import content_digest, digest, folder_manifest
from prism_bench.environments.contract import Expert
from prism_bench.errors import InputError
from prism_bench.experiment import STAGES, Experiment
from prism_bench.models.policy import save_policy
from prism_bench.routing.allocation import save_allocation
from prism_bench.routing.router import split
from prism_bench.stage_cache import code_digest
from prism_bench.stage_cache.cache import Stage, StageCache
from prism_bench.stage_cache.declaration import Inputs, StageFunction
from prism_bench.stage_cache.key import part_of, parts_of_key

OTHER_VALUES: dict[str, Any] = {  # of settings that take only certain values
    "env.data": "elsewhere",
    "env.make.data": "elsewhere",
    "env.products": 10,
    "env.make.products": 10,
    "env.test_splits": [],
    "env.taught": {"seed": 1},
    "env.on_error": "lose",
    "eval.tasks": 20,
    "model.device": "meta",
    "model.dtype": "bfloat16",
    "model.autocast": "bfloat16",
    "model.projections": ["q_proj"],
    "budget.flops": 1e12,
    "budget.hours_per_phase": 2.0,
    "algorithm.reward": "success",
    "lr_scheduler_type": "linear",
    "loss_type": "dapo",
    "scale_rewards": "batch",
    "model.hidden_size": 256,
    "model.heads": 2,
    "model.key_value_heads": 1,
    "algorithm.num_generations": 4,
    "algorithm.per_device_train_batch_size": 32,
    "router.ties": "paper",
    "router.concentration": "cv",
    "router.quantile": 0.25,
    "force": ["eval"],
}
AFTER_BASE = {"measure", "train sft", "train rl", "eval"}
NOT_TRIED = ("strategy.name", "strategy.phases", "demonstrations")  # no settings, or tried below
NO_SETTING = ("_target_", "_partial_")
SPEED_ONLY = {"model.batch_size"}  # settings that change no file, so they are in no key


@pytest.fixture
def store(tmp_path: Path, corridor_episodes) -> Path:
    """Files such as every stage makes, by the name of the stage."""
    for name in ("collect", "import", "base", "measure", "route", "train/checkpoint", "eval"):
        (tmp_path / name).mkdir(parents=True)
    save_trajectories(corridor_episodes, tmp_path / "collect" / "trajectories.parquet")
    save_trajectories(corridor_episodes, tmp_path / "import" / "trajectories.parquet")
    save_trajectories(corridor_episodes, tmp_path / "eval" / "episodes.parquet")
    save_allocation(tmp_path / "route" / "allocation.json", split(range(30)), corridor_episodes)
    record = {"updates": 1, "flops": 1, "ended": "completed", "curve": []}
    (tmp_path / "train" / "phase.json").write_text(json.dumps(record))
    for name in ("base", "measure", "train/checkpoint"):
        (tmp_path / name / "weights").write_text("weights")
    return tmp_path


class Anybody(Corridor):
    """The corridor, with an expert of every name."""

    def expert(self, name: str) -> Expert:
        return super().expert("straight")


class Plan(StageCache):
    """A cache that makes nothing: it notes the key of every stage, and has the same files for all of one name."""

    def __init__(self, store: Path) -> None:
        super().__init__(store, Ledger())
        self.store = store
        self.keys: dict[str, str] = {}
        self.functions: dict[str, StageFunction] = {}

    def get(self, function: StageFunction, tools, *, config, parents=None, values=None) -> Stage:
        settings = {path: part_of(config, path) for path in function.settings}
        inputs = Inputs(settings, parents or {}, values or {})
        assert set(inputs.parents) == set(function.parents) and set(inputs.values) == set(function.values)
        label = function.name
        if label == "train":
            label += f" {inputs.values['phase']}"
        elif label == "eval":
            label += f" {inputs.parents['policy'].path.name} on {inputs.values['split']}"
        elif label == "collect":
            label += " for base" if "collect for base" not in self.keys else " to learn from"
        self.keys[label] = digest(parts_of_key(function, inputs, self._contents))
        self.functions[label] = function
        path = self.store / function.name
        return Stage(path, cached=True, key="", manifest=folder_manifest(path))


@pytest.fixture
def planned(store, monkeypatch) -> Callable[[Any], Plan]:
    """Return a function from a configuration to the plan of its run, which rolls out in the corridor."""
    monkeypatch.setattr("prism_bench.run_parts.environment_maker", lambda make, split, where: Anybody)
    monkeypatch.setattr("prism_bench.run_parts.check_device", lambda device, dtype: None)  # here is only one

    def plan(config: Any) -> Plan:
        experiment = Experiment(config, Console(quiet=True))
        experiment.cache = made = Plan(store)
        experiment.run()
        return made

    return plan


def configured(tmp_path: Path, *overrides: str) -> Any:
    fixed = [f"folder={tmp_path / 'run'}", "strategy.name=tried", "logger=none", "trajectories=20", "eval.tasks=25"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=[*fixed, "eval.curve_tasks=10", *overrides])
    return config


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            if key not in NO_SETTING:
                yield from leaves(item, f"{path}.{key}".lstrip("."))
    else:
        yield path, value


def other(path: str, value: Any) -> Any:
    """Return a value that the setting may have as well."""
    last = path.rpartition(".")[2]
    if path in OTHER_VALUES or last in OTHER_VALUES:
        return OTHER_VALUES.get(path, OTHER_VALUES.get(last))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 or 0.5
    if value is None:
        return 1
    return [*value, "more"] if isinstance(value, list) else f"{value}x"


def followers(path: str, raw: dict[str, Any]) -> list[str]:
    """Return the settings that take their value from another one, itself included."""
    direct = [name for name, value in raw.items() if isinstance(value, str) and f"${{{path}}}" in value]
    return [path, *(name for follower in direct for name in followers(follower, raw))]


def declared(path: str, functions: dict[str, StageFunction]) -> set[str]:
    """Return the stages that were declared with a part of the configuration in which a setting lies."""
    if path in SPEED_ONLY:
        return set()
    return {
        label
        for label, function in functions.items()
        if any(path == part or path.startswith(f"{part}.") for part in function.settings)
    }


def computed(path: str, labels: set[str]) -> set[str]:
    """Return the stages that get a setting by way of a value that the run computes: a selection, an algorithm."""
    groups = {
        kind: {label for label in labels if label.startswith(f"{kind} ")} for kind in ("collect", "train", "eval")
    }
    imitating = groups["train"] & {"train sft", "train rejection"}
    values = {
        "trajectories": groups["collect"],
        "model.base.episodes": {"collect for base"},
        "env.taught": {"collect for base"},
        "prompt.list_admissible": groups["collect"],
        "eval.tasks": groups["eval"],
        "eval.curve_tasks": groups["train"],
        "budget.flops": groups["train"],
        "env.validation_split": {label for label in groups["eval"] if label.endswith((" on valid_seen", " on valid"))},
        "env.test_splits": {label for label in groups["eval"] if label.endswith((" on valid_unseen", " on test"))},
    }
    split = {"router.quantile", "router.ties", "router.reverse", "router.concentration"}
    if path.startswith("router.") and path not in split:
        return {"measure"}
    algorithms = {"sft": imitating, "algorithm": groups["train"] - imitating, "strategy": {"train rejection"}}
    return values.get(path, algorithms.get(path.partition(".")[0], set()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "strategy"), [("alfworld", "split"), ("webshop", "sft_then_rl"), ("alfworld", "rejection")]
)
def test_a_setting_changes_the_keys_of_the_stages_that_read_it(planned, tmp_path, environment, strategy):
    choices = (f"env={environment}", f"strategy={strategy}")
    base = configured(tmp_path, *choices, "model.base.episodes=5")
    plan = planned(base)
    raw = dict(leaves(OmegaConf.to_container(base, resolve=False)))
    read = 0
    for path, value in raw.items():
        if (isinstance(value, str) and "${" in value) or path in NOT_TRIED:
            continue  # follows another setting, or is no setting
        if path == "prompt.last_turns" and strategy != "rejection":
            continue  # GRPO refuses any other value; rejection tries it
        config = copy.deepcopy(base)
        with open_dict(config):
            OmegaConf.update(config, path, other(path, value), force_add=True)
        keys = planned(config).keys
        changed = {label for label, key in plan.keys.items() if keys.get(label) != key}
        expected = {
            label
            for name in followers(path, raw)
            for label in declared(name, plan.functions) | computed(name, set(plan.keys))
            if label in plan.keys
        }
        assert changed == expected, path
        read += bool(changed)
    assert read > 30


def test_a_strategy_without_a_router_asks_for_none(planned, tmp_path):
    assert "route" in planned(configured(tmp_path, "strategy=split")).keys
    for strategy in ("sft", "rl", "none"):
        assert "route" not in planned(configured(tmp_path, f"strategy={strategy}")).keys


def test_phases_of_two_strategies_that_are_the_same_are_shared(planned, tmp_path):
    alone, first = (planned(configured(tmp_path, f"strategy={name}")).keys for name in ("sft", "sft_then_rl"))
    assert alone["train sft"] == first["train sft"] and "train rl" not in alone


@pytest.mark.parametrize(
    ("choices", "setting", "stages"),  # the names of stages without what they are of
    [
        ((), "env.expert=oracle", {"collect for base", "collect to learn from"}),
        (("router=difficulty",), "rollout.temperature=0.3", {"measure", "train rl"}),
        (("router=prism",), "+model.projections=[q_proj]", AFTER_BASE | {"base"}),
        (
            ("model=checkpoint", "prompt=act"),
            "model.max_completion_tokens=9",
            AFTER_BASE,
        ),
        (("model=qwen3-8b", "model.device=cpu"), "model.lora.r=32", AFTER_BASE),
    ],
)
def test_settings_that_a_cache_once_forgot(planned, tmp_path, corridor_policy, choices, setting, stages):
    if any(choice.startswith("model=") for choice in choices):
        save_policy(corridor_policy(), tmp_path / "checkpoint")
        choices = (*choices, f"model.path={tmp_path / 'checkpoint'}")
    before, after = (planned(configured(tmp_path, *choices, *more)).keys for more in ((), (setting,)))
    changed = {label for label in before if before[label] != after[label]}
    assert {label.partition(" ")[0] if label.startswith("eval") else label for label in changed} == stages


ROLLOUTS = ("rollout.max_turns=9", "generation.cache_gib=0.5", "env.seed=9", "env.on_error=lose")


@pytest.mark.parametrize(("router", "changed"), [("prism", set()), ("random", set()), ("difficulty", {*ROLLOUTS})])
def test_only_a_measurement_with_rollouts_depends_on_their_settings(planned, tmp_path, router, changed):
    keys = {
        setting: planned(configured(tmp_path, f"router={router}", "strategy=split_sft", *setting.split())).keys
        for setting in ("", *ROLLOUTS)
    }
    assert {setting for setting in ROLLOUTS if keys[setting]["measure"] != keys[""]["measure"]} == changed


@pytest.mark.parametrize(("temperature", "shared"), [(0.0, True), (0.7, False)])
def test_seeds_share_the_evaluation_of_a_checkpoint_where_nothing_is_drawn(planned, tmp_path, temperature, shared):
    first, second = (
        planned(configured(tmp_path, f"eval.temperature={temperature}", f"seed={seed}")).keys for seed in (0, 1)
    )
    evaluations = [label for label in first if label.startswith("eval")]
    assert evaluations and all((first[label] == second[label]) is shared for label in evaluations)
    assert first["train rl"] != second["train rl"]


@pytest.mark.parametrize(("router", "shared"), [("prism", True), ("random", False)])
def test_seeds_share_the_measurement_of_a_checkpoint_where_nothing_is_drawn(
    planned, tmp_path, corridor_policy, router, shared
):
    save_policy(corridor_policy(), tmp_path / "checkpoint")
    model = ("model=checkpoint", f"model.path={tmp_path / 'checkpoint'}")
    first, second = (planned(configured(tmp_path, *model, f"router={router}", f"seed={seed}")).keys for seed in (0, 1))
    assert (first["measure"] == second["measure"]) is shared
    assert first["route"] != second["route"]


def test_a_checkpoint_enters_by_its_content(planned, tmp_path, corridor_policy):
    """Neither its place nor its time counts; one changed weight does."""
    save_policy(corridor_policy(), tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)
    save_policy(corridor_policy(seed=1), tmp_path / "other")
    keys = [
        planned(configured(tmp_path, "model=checkpoint", f"model.path={tmp_path / name}")).keys
        for name in ("one", "two", "other")
    ]
    named = {label for label in keys[0] if label.startswith("eval")}
    assert named and list(keys[0].values()) == list(keys[1].values())
    assert keys[0]["measure"] != keys[2]["measure"]


def test_a_checkpoint_that_is_only_touched_or_moved_makes_nothing_again(planned, tmp_path, corridor_policy):
    place = tmp_path / "here"
    save_policy(corridor_policy(), place)
    before = planned(configured(tmp_path, "model=checkpoint", f"model.path={place}")).keys.values()
    for file in place.iterdir():
        os.utime(file, (0, 0))
    moved = place.rename(tmp_path / "elsewhere")
    after = planned(configured(tmp_path, "model=checkpoint", f"model.path={moved}")).keys.values()
    assert list(after) == list(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        (["model.device=cpu:0"], set()),
        (["model.batch_size=7"], set()),
        (["model.dtype=bfloat16", "model.batch_size=7"], {"measure", "train sft", "train rl", "eval", "base"}),
        (["router.concentration=cv", "router.quantile=0.25", "router.reverse=true"], {"route"}),
        (["router.tokens_per_batch=9"], {"measure", "route"}),
        (["env.workers=true"], set()),
    ],
)
def test_a_setting_redoes_only_what_it_can_change(planned, tmp_path, settings, changed):
    common = [setting for setting in settings if "dtype" in setting]
    before, after = (planned(configured(tmp_path, *chosen)).keys for chosen in (common, settings))
    differ = {label.partition(" on ")[0] for label in before if before[label] != after[label]}
    assert {"eval" if label.startswith("eval") else label for label in differ} == changed


OWN = ("trajectories=null", "env.test_splits=[]", "model.base.episodes=99")


def test_own_demonstrations_take_the_place_of_the_expert_s(planned, tmp_path, corridor_episodes, monkeypatch):
    """They enter by content; the base model learns from other tasks; the environment of evaluation has none of them."""
    first, second = (tmp_path / name for name in ("one.parquet", "two.parquet"))
    save_trajectories(corridor_episodes[:20], first)
    shutil.copy(first, second)
    monkeypatch.setattr("prism_bench.run_tasks.RunTasks.eval_splits", [])
    expert = planned(configured(tmp_path)).keys
    one, two = (planned(configured(tmp_path, *OWN, f"demonstrations={file}")).keys for file in (first, second))
    assert "import" in one and one == two and "collect to learn from" not in one
    assert {label for label in expert if label.startswith("train")} < one.keys()
    save_trajectories(corridor_episodes[:19], second)
    other = planned(configured(tmp_path, *OWN, f"demonstrations={second}")).keys
    assert other["import"] != one["import"] and other["collect for base"] != one["collect for base"]


def test_own_demonstrations_without_tasks_serve_sft_only(planned, tmp_path, corridor_episodes, monkeypatch):
    file = tmp_path / "own.parquet"
    save_trajectories([replace(episode, task_id=None) for episode in corridor_episodes], file)
    monkeypatch.setattr("prism_bench.run_tasks.RunTasks.eval_splits", [])
    assert "train sft" in planned(configured(tmp_path, *OWN, f"demonstrations={file}", "strategy=sft")).keys
    routed = "strategy.phases=[{name:sft,algorithm:${sft},demonstrations:sft}]"
    assert "measure" in planned(configured(tmp_path, *OWN, f"demonstrations={file}", routed)).keys
    for strategy, needs in (("strategy=sft_then_rl", "phase 'rl'"), (routed, "router DifficultyRouter")):
        with pytest.raises(InputError, match=f"30 of 30 episodes have no task id, and {needs} needs their tasks"):
            planned(configured(tmp_path, *OWN, f"demonstrations={file}", strategy, "router=difficulty"))


def test_the_protocol_says_whose_demonstrations_were_used(planned, tmp_path, corridor_episodes, monkeypatch):
    file = tmp_path / "own.parquet"
    save_trajectories(corridor_episodes, file)
    expert, own = (
        Experiment(configured(tmp_path, *given), Console(quiet=True)) for given in ((), (f"demonstrations={file}",))
    )
    assert expert.protocol["demonstrations"] == "expert search"
    assert own.protocol["demonstrations"] == f"own.parquet ({content_digest(file)[:12]})"


def test_unknown_stages_cannot_be_forced(tmp_path):
    for force in ("force=rout", "force=[rl,rout]"):
        with pytest.raises(InputError, match=r"force=rout is no stage of this run; choose from .*, sft, rl$") as raised:
            Experiment(configured(tmp_path, force), Console(quiet=True))
        named = str(raised.value).partition("choose from ")[2].split(", ")
        assert set(named) == {function.name for function in STAGES} | {"sft", "rl"}


def test_a_game_that_was_changed_in_its_place_counts(planned, tmp_path):
    game = tmp_path / "games" / "json_2.1.1" / "train" / "pick" / "game.tw-pddl"
    game.parent.mkdir(parents=True)
    choices = ("env.source=official", f"env.data={tmp_path / 'games'}")
    keys = []
    for content in ("apple 1 on shelf 1", "apple 1 on shelf 2", "apple 1 on shelf 1"):
        game.write_text(content)
        os.utime(game, (0, 0))
        keys.append(planned(configured(tmp_path, *choices)).keys)
    first, changed, again = keys
    kept = {"base", "measure", "route"}  # which read no game
    assert {label for label in first if first[label] != changed[label]} == {*first} - kept and first == again


OWN_PARTS = {
    "router.py": "from lab.scores import Base\n\nclass Own(Base):\n    pass\n",
    "scores.py": "from baselines.routers.random import RandomRouter\n\nclass Base(RandomRouter):\n    shift = 0\n",
    "prompt.py": "from prism_bench.data.prompts import ActionPrompt\n\nclass Own(ActionPrompt):\n    sign = '>'\n",
    "shop.py": "from lab.prices import price\n",
    "prices.py": "price = 3\n",
}


@pytest.mark.parametrize(
    ("file", "old", "new", "stages"),
    [
        ("scores.py", "shift = 0", "shift = 1", {"measure", "route"}),
        ("prompt.py", "'>'", "'$'", AFTER_BASE | {"base"}),
        ("prices.py", "3", "4", AFTER_BASE - {"measure"} | {"collect for base", "collect to learn from"}),
    ],
    ids=["base class of a router", "prompt", "helper of an environment"],
)
def test_own_code_counts_for_the_stages_that_run_it(planned, tmp_path, monkeypatch, file, old, new, stages):
    for name, text in {"__init__.py": "", **OWN_PARTS}.items():
        (tmp_path / "lab").mkdir(exist_ok=True)
        (tmp_path / "lab" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for remembered in (code_digest._spec, code_digest.is_own):  # of an earlier test's package of that name
        remembered.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "lab"]:
        monkeypatch.delitem(sys.modules, name)
    own = (
        "router=random",
        "modules=[lab]",
        "router._target_=lab.router.Own",
        "prompt._target_=lab.prompt.Own",
        "env.make.id=lab.shop:Shop-v0",
    )
    before = planned(configured(tmp_path, *own)).keys
    text = (tmp_path / "lab" / file).read_text()
    (tmp_path / "lab" / file).write_text(text.replace(old, new))
    os.utime(tmp_path / "lab" / file, ns=(1, 1))
    after = planned(configured(tmp_path, *own)).keys
    changed = {label for label in before if before[label] != after[label]}
    assert {label.partition(" ")[0] if label.startswith("eval") else label for label in changed} == stages


def test_versions_of_packages_are_part_of_every_key(planned, tmp_path, monkeypatch):
    before = planned(configured(tmp_path)).keys
    monkeypatch.setattr("prism_bench.stage_cache.code_digest._version", lambda name: "0.0")
    after = planned(configured(tmp_path)).keys
    assert all(before[label] != after[label] for label in before)
