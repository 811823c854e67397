"""AgentGym: any of its environments, played by a server of its own over HTTP."""

import gymnasium

gymnasium.register(
    id="prism_bench/AgentGym-v0",
    entry_point="envs.agentgym.environment:AgentGymEnvironment",
    max_episode_steps=30,
)
