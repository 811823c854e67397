"""Every mistake is one sentence that names the setting, before a stage begins."""

import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from prism_bench.commands.hydra_command import CONF
from prism_bench.errors import InputError
from prism_bench.experiment import Experiment

REFUSED = [
    ("algorithm.num_generations=1", "algorithm.num_generations=1 is not possible; it should be 2 or more"),
    ("algorithm.loss_type=foo", "algorithm.loss_type=foo is not possible; it should be 'grpo', "),
    ("algorithm.learning_rate=nan", "algorithm.learning_rate=NaN is not possible; it should be a finite number"),
    ("sft.learning_rate=-1", "sft.learning_rate=-1 is not possible; it should be more than 0"),
    ("model.base.language.learning_rate=nan", "model.base.language.learning_rate=NaN is not possible"),
    ("algorithm.max_steps=0", "algorithm.max_steps=0 is not possible; it should be 1 or more"),
    ("sft.per_device_train_batch_size=0", "sft.per_device_train_batch_size=0 is not possible; it should be 1 or more"),
    ("model.batch_size=0", "model.batch_size=0 is not possible; it should be 1 or more"),
    ("model.hidden_size=33", "model: hidden_size=33 is not possible with heads=4"),
    ("model.key_value_heads=3", "model: key_value_heads=3 is not possible"),
    ("model.max_completion_tokens=0", "model.max_completion_tokens=0 is not possible; it should be 1 or more"),
    ("model.device=foo", "model.device='foo' is no device on which PyTorch can compute here; use model.device=cpu"),
    ("model.device=meta", "model.device='meta' is no device on which PyTorch can compute here"),
    (
        "algorithm.lr_scheduler_type=cosine_with_min_lr",
        "algorithm: lr_scheduler_type=cosine_with_min_lr is not possible: One of min_lr or min_lr_rate should be set",
    ),
    (
        "sft.lr_scheduler_type=polynomial +sft.lr_scheduler_kwargs={lr_end:1.0}",
        "sft: lr_scheduler_type=polynomial is not possible: lr_end (1.0) must be smaller than initial lr",
    ),
    ("+sft.optim=adamw_8bit", "sft: optim=adamw_8bit is not possible: "),
    ("+algorithm.optim=lomo", "algorithm: optim=lomo is not possible: "),
    ("+model.base.sft.optim=galore_adamw", "model.base.sft: optim=galore_adamw is not possible: "),
    (
        "logger=wandb logger.mode=onlin",
        "logger.mode=onlin is not possible; it should be 'online' or 'offline'",
    ),
    ("eval.tasks=-3", "eval.tasks=-3 is not possible; it should be 1 or more, or null"),
    ("eval.tasks=1.5", "eval.tasks=1.5 is not possible; it should be a whole number, or null"),
    ("eval.temperature=-1", "eval.temperature=-1 is not possible; it should be 0 or more"),
    ("env.validation_split=null", "env.validation_split=null is not possible; it should be a text"),
    ("~env.validation_split", "env.validation_split has no value; give it one with env.validation_split=VALUE"),
    ("env.validation_split=''", 'env.validation_split="" is not possible; it should be a text that is not empty'),
    ("env.test_splits=valid_seen", "env.test_splits=valid_seen is not possible; it should be a list"),
    ("rollout.max_turns=-1", "rollout.max_turns=-1 is not possible; it should be 1 or more, or null"),
    ("rollout.temperature=0", "rollout.temperature=0 is not possible; it should be more than 0"),
    ("rollout.temperature=-1", "rollout.temperature=-1 is not possible; it should be more than 0"),
    ("env.seed=abc", "env.seed=abc is not possible; it should be a whole number"),
    (
        "env.preset=tiny env.source=official env.data=x",
        "env.preset=tiny is not possible; it should be 'full'",
    ),
    ("env.preset=full env.source=official env.data=x", "preset=full has no effect on official games; leave it out"),
    ("+env.products=5", "env.products has no effect: nothing reads it"),
    ("env=webshop env.goals=foo", "env.goals=foo is not possible; it should be 'synthetic' or 'human'"),
    ("cache=null", "cache=null is not possible; it should be a text"),
    ("~cache", "cache has no value; give it one with cache=VALUE"),
    ("seed=true", "seed=true is not possible; it should be a whole number"),
    ("+sed=1", "the configuration has no setting 'sed'; the nearest are seed, "),
    ("+algorithm.epsilon_hig=0.2", "algorithm has no setting 'epsilon_hig'; the nearest are epsilon_high, "),
    ("model=checkpoint", "model.path has no value; give it one with model.path=VALUE"),
    ("model=qwen3-8b model.device=cpu +model.lora.bias=x", "model.lora.bias=x is not possible; it should be 'none', "),
    ("model=qwen3-8b model.device=cpu +model.lora.rank=x", "model.lora has no setting 'rank'; the nearest are "),
    ("env.expert=null", "env.expert=null: the environment has no expert, whose episodes teach a model from scratch"),
    ("env.expert=null model=checkpoint model.path=x", "env.expert=null: the environment has no expert for demons"),
    ("env=agentgym env.url=http://127.0.0.1:9", "no server of alfworld answers at http://127.0.0.1:9 (GET http://127."),
    ("env=agentgym env.url=gopher://x", "url='gopher://x' is not possible; it should be http://HOST:PORT"),
    ("env=agentgym env.games.alfworld.protocol.task=null", "env.make.game.task=null is not possible; it should be a"),
    ("router._target_=os.system", "router._target_ names os.system, and a setting may name what is in prism_bench"),
    ("router._target_=prism_bench.models.scratch.ScratchModel", "router has no setting 'quantile'"),
]


@pytest.mark.parametrize(("overrides", "sentence"), REFUSED, ids=[overrides for overrides, _ in REFUSED])
def test_mistakes_are_found_at_the_start(overrides: str, sentence: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=["folder=run", "strategy.name=tried", "logger=none", *overrides.split()])
    with pytest.raises(InputError) as refusal:
        Experiment(config, Console(quiet=True)).check()
    assert str(refusal.value).startswith(sentence) and "\n" not in str(refusal.value)
