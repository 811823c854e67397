"""WebShop: importing this package registers ``prism_bench/WebShop-v0`` with Gymnasium."""

import gymnasium

gymnasium.register(
    id="prism_bench/WebShop-v0",
    entry_point="envs.webshop.environment:WebShopEnvironment",
    max_episode_steps=15,
)
