"""Settings that shrink the real configuration to seconds, for all tests that run the program."""

MODEL = (
    "model.hidden_size=32",
    "model.intermediate_size=48",
    "model.heads=2",
    "model.key_value_heads=1",
    "model.layers=2",
    "model.max_length=512",
    "model.base.episodes=16",
    "model.base.language.batch_size=8",
    "model.base.sft.batch_size=8",
)
SFT = ("sft.batch_size=1",)
RL = ("rl.steps=1", "rl.tasks_per_step=2", "rl.group_size=2", "rl.gradient_accumulation=1", "rl.max_turns=5")
SMALL = (*MODEL, *SFT, *RL)
ALWAYS = ("trajectories=8", "eval.tasks=8", "logger=none")
