"""The base stage: pretraining of a model made from scratch.

On the first half of the expert's episodes every token is a target, as in pretraining: the model learns the language of
the environment. On the second half only the agent's tokens are: it learns to act.

A run that is interrupted resumes each half at its last checkpoint; after one of the second half, the few updates
between the last checkpoint of the first and its end are repeated.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

from annotated_types import Ge

from prism_bench import processes
from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.contract import TrainingContext
from prism_bench.algorithms.sft import SFT
from prism_bench.data.prompts import Prompt
from prism_bench.data.rendering import Renderer, render_demonstrations
from prism_bench.data.trajectory import Trajectory, load_trajectories
from prism_bench.models.policy import save_policy
from prism_bench.models.precision import to_device
from prism_bench.models.scratch import ScratchModel, create_policy
from prism_bench.rollouts.episodes import RolloutRunner
from prism_bench.rollouts.transformers_backend import TransformersEngine
from prism_bench.stage_cache.declaration import Inputs, stage
from prism_bench.stages.tools import Tools, in_all_processes
from prism_bench.stages.unfinished import UNFINISHED, UnfinishedPhase
from prism_bench.stages.workbench import POLICY_SETTINGS, Workbench


@dataclass(frozen=True)
class Pretraining:
    """Settings of the base stage.

    Attributes:
        episodes: how many of the expert's episodes, of tasks that no later stage sees.
        language: SFT on the first half, every token a target.
        sft: SFT on the second half, the agent's tokens being the targets.
    """

    episodes: Annotated[int, Ge(2)]
    language: SFT
    sft: SFT


@stage("base", settings=("seed", *POLICY_SETTINGS), parents=("trajectories", "words"), resumable=True)
def pretrain(inputs: Inputs, folder: Path, tools: Tools) -> None:
    """Write the checkpoint of a new model that was trained on the expert's episodes.

    Its tokenizer has the words of these and of the parent ``words``, which may be the same file. They are others where
    the model is taught less than it will meet: what is new to it should not be spelled in bytes, as it would not be for
    a pretrained model.
    """
    in_all_processes(_pretrain, inputs, folder, tools)


def _pretrain(inputs: Inputs, folder: Path, tools: Tools) -> None:
    bench = Workbench(inputs, tools)
    model = cast(ScratchModel, bench.model)
    taught, words = inputs.parents["trajectories"].path, inputs.parents["words"].path
    episodes = load_trajectories(taught)
    others = [] if words == taught else load_trajectories(words)
    with tools.ledger.phase("base") as meter:
        policy = create_policy(model, _texts([*episodes, *others], bench.prompt), bench.seed)
        to_device(policy.model, model.device, model.autocast)
        renderer = bench.renderer(policy)
        rendered = render_demonstrations(renderer, episodes, meter)
        middle = len(rendered) // 2
        language = [replace(episode, labels=[*episode.input_ids]) for episode in rendered[:middle]]
        halves = {"language": (model.base.language, language), "sft": (model.base.sft, rendered[middle:])}
        unfinished = {name: UnfinishedPhase(folder / UNFINISHED / name, tools.ledger, meter) for name in halves}
        for name, (algorithm, part) in halves.items():
            with tools.progress("base", None, "updates") as progress, tools.trainer_folder() as trainer_folder:
                context = _context(bench, renderer, meter, trainer_folder, progress.update, unfinished[name])
                algorithm.fit(policy, part, context)
        if processes.number() == 0:
            save_policy(policy, folder)
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)  # there is none if the stage was short


def _context(
    bench: Workbench, renderer: Renderer, meter: Meter, folder: Path, progress: Any, unfinished: UnfinishedPhase
) -> TrainingContext:
    return TrainingContext(
        phase="base",
        renderer=renderer,
        runner=RolloutRunner(_no_environment, renderer, 1),
        engine=TransformersEngine(),
        max_completion_tokens=bench.model.max_completion_tokens,
        meter=meter,
        seed=bench.seed,
        folder=folder,
        log=bench.tools.log,
        progress=progress,
        unfinished=unfinished,
    )


def _no_environment() -> NoReturn:
    raise AssertionError("the base stage has no environment to roll out in")


def _texts(episodes: Sequence[Trajectory], prompt: Prompt) -> Iterator[str]:
    """Yield the texts that a policy reads and writes, turn by turn."""
    for episode in episodes:
        previous = None
        for step in episode.steps:
            shown = step.observation, step.admissible_actions
            yield prompt.turn(*shown, previous)
            yield prompt.completion(step.action, *shown)
            previous = step.observation
