"""Objects of a stage that loads a policy: the policy, its renderer, engine and runner."""

from prism_bench.data.prompts import Prompt
from prism_bench.data.rendering import Renderer
from prism_bench.models.policy import ModelSettings, Policy
from prism_bench.rollouts.backend import Engine
from prism_bench.rollouts.episodes import RolloutRunner
from prism_bench.settings.making import make
from prism_bench.stage_cache.declaration import Inputs
from prism_bench.stages.tools import Tools, environment_maker

POLICY_SETTINGS = ("model", "prompt")
"""The parts of the configuration from which a policy and its renderer are made."""


class Workbench:
    """Objects of a stage that loads a policy, made of :data:`POLICY_SETTINGS` and its other inputs."""

    def __init__(self, inputs: Inputs, tools: Tools) -> None:
        self.inputs = inputs
        self.tools = tools
        self.model: ModelSettings = make(inputs.settings["model"], "model", ModelSettings)
        self.prompt: Prompt = make(inputs.settings["prompt"], "prompt", Prompt)

    @property
    def seed(self) -> int:
        """The seed of the run, for stages that are declared with it."""
        seed: int = self.inputs.settings["seed"]
        return seed

    def load(self, parent: str = "policy") -> Policy:
        """Return the policy whose checkpoint is a parent of the stage."""
        return self.model.load(self.inputs.parents[parent].path)

    def renderer(self, policy: Policy) -> Renderer:
        """Return the renderer of trajectories for a policy."""
        return Renderer(policy.tokenizer, self.prompt, self.model.max_length)

    def engine(self) -> Engine:
        """Return the engine that generates completions."""
        engine: Engine = make(self.inputs.settings["generation"], "generation", Engine)
        return engine

    def runner(self, split: str, renderer: Renderer) -> RolloutRunner:
        """Return a runner of the tasks of a split."""
        make_environment = environment_maker(self.inputs.settings["env.make"], split)
        return RolloutRunner(make_environment, renderer, self.model.batch_size, self.tools.workers, self.tools.rules)
