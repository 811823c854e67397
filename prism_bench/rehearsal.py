"""A rehearsal: everything about a run that can be checked in seconds, and the plan of the run (``check=true``).

The environment of every split is loaded, and one episode of the expert, if there is one, is rolled out and rendered. Of
the model its configuration and its tokenizer are read, but no weights. No file is written and no stage is made.
"""

from collections.abc import Iterator

from rich.console import Console

from prism_bench.accounting.meter import Meter
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import Trajectory
from prism_bench.experiment import Experiment
from prism_bench.models.scratch import ScratchModel
from prism_bench.outline import Outline
from prism_bench.results.units import count
from prism_bench.rollouts.expert import run_expert


def rehearse(experiment: Experiment, console: Console) -> None:
    """Check a run and print its plan.

    Raises:
        InputError: the run could not be finished.
    """
    found = experiment.check()
    env = experiment.settings.env
    episode = None
    if env.expert is not None:
        environment, tasks = experiment.tasks.wrapped(env.train_split), experiment.tasks.demonstrations[:1]
        admissible = experiment.parts.prompt.needs_admissible
        (episode,) = run_expert(environment, env.expert, tasks, Meter("check"), admissible)
    for name, text in plan(experiment, found, episode):
        console.print(f"{name:<12} {text}", highlight=False, markup=False, soft_wrap=True)
    console.print("Nothing was found that would stop this run.", style="bold", highlight=False)


def plan(experiment: Experiment, found: Outline, episode: Trajectory | None) -> Iterator[tuple[str, str]]:
    """Yield the lines of the plan: a name, and what was found; ``episode`` is the expert's, if there is one."""
    env, tasks = experiment.settings.env, len(experiment.tasks.demonstrations)
    train = len(experiment.tasks.environment(env.train_split).task_ids)
    yield "environment", f"{env.make.get('id', env.make['_target_'])}: {train:,} tasks in {env.train_split}"
    if episode is None:
        yield "expert", "none"
    else:
        solved = "solved" if episode.success else "did not solve"
        tokens = _rendered(experiment, found, episode)
        yield "expert", f"{env.expert} {solved} {episode.task_id} in {len(episode.steps)} steps; {tokens}"
    yield "model", f"{_model(experiment, found)}; context of {experiment.parts.model.max_length:,} tokens"
    if found.probed:
        yield "probe", f"{found.probed} matrices in each of {found.shape.layers} layers"
    yield "engine", experiment.parts.engine.name
    if isinstance(experiment.parts.model, ScratchModel):
        yield "base", f"{experiment.parts.model.base.episodes:,} episodes of the expert at most"
    if experiment.parts.router is not None:
        yield "router", f"{type(experiment.parts.router).__name__} divides the demonstrations of {tasks:,} tasks"
    for phase, algorithm in zip(experiment.parts.phases, experiment.parts.algorithms, strict=True):
        parts = [
            f"{tasks:,} {kind} at most" if part == "all" else f"the {kind} that the router sends to {part}"
            for kind, part in (("demonstrations", phase.demonstrations), ("tasks", phase.tasks))
            if part is not None
        ]
        yield phase.name, f"{type(algorithm).__name__} on {' and '.join(parts)}"
    evaluated = ", ".join(
        f"{len(experiment.tasks.evaluated(split)):,} of {split}" for split in experiment.tasks.eval_splits
    )
    yield "evaluation", f"{evaluated}, after each of {1 + len(experiment.parts.phases)} stages"


def _model(experiment: Experiment, found: Outline) -> str:
    name = getattr(experiment.parts.model, "path", "a model from scratch")
    if found.tokenizer is None:
        return f"{name}, {count(found.parameters)} parameters and the embeddings of its vocabulary"
    trained = "" if found.trained == found.parameters else f", of which {count(found.trained)} are trained"
    return f"{name}, {count(found.parameters)} parameters{trained}"


def _rendered(experiment: Experiment, found: Outline, episode: Trajectory) -> str:
    if found.tokenizer is None:
        return "the tokenizer is made in the base stage"
    rendered = Renderer(found.tokenizer, experiment.parts.prompt, experiment.parts.model.max_length).render(episode)
    fits = "" if rendered.steps == len(episode.steps) else f", where {rendered.steps} of its steps fit into the context"
    return f"{len(rendered.input_ids):,} tokens{fits}"
