"""ALFWorld: importing this package registers ``prism_bench/ALFWorld-v0`` with Gymnasium."""

import gymnasium

gymnasium.register(
    id="prism_bench/ALFWorld-v0",
    entry_point="envs.alfworld.environment:ALFWorldEnvironment",
    max_episode_steps=50,
)
