"""Settings that shrink the real configuration to seconds, for all tests that run the program."""

MODEL = (
    "model.hidden_size=32",
    "model.intermediate_size=48",
    "model.heads=2",
    "model.key_value_heads=1",
    "model.layers=2",
    "model.max_length=512",
    "model.base.episodes=16",
    "model.base.language.per_device_train_batch_size=8",
    "model.base.sft.per_device_train_batch_size=8",
)
SFT = ("sft.per_device_train_batch_size=1",)
RL = (
    "algorithm.max_steps=1",
    "algorithm.num_generations=2",
    "algorithm.per_device_train_batch_size=4",
    "algorithm.gradient_accumulation_steps=1",
    "rollout.max_turns=5",
)
SMALL = (*MODEL, *SFT, *RL)
ALWAYS = ("trajectories=8", "eval.tasks=8", "eval.curve_points=2", "eval.curve_tasks=4", "logger=none")
