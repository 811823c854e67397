"""Speed of rollouts, compared with the common way to roll out and with the limit.

    python benchmarks/episodes.py [--episodes 64] [--repeats 5]

The same ALFWorld episodes (same tasks, same random numbers) are rolled out in one process of one thread

(a) with a fresh full prompt at every turn: the whole conversation goes through ``model.generate`` of transformers,
    padded on the left, all episodes of the turn together; within the turn there is a cache as usual;
(b) by ``RolloutRunner`` and ``TransformersBackend``;
(c) as the forwards of (b) alone, prefill and decode, with the same tokens in the same rows of a new cache: the limit if
    environment, text and sampling cost nothing. Forwards for draws that are too close to call are left out.

The default model is first trained on expert episodes for half a minute, so that its completions end and its episodes
have usual lengths. The larger one has random weights and decodes greedily: its completions are noise, of four tokens
like the expert's on average, and its episodes end after some turns. Each row is the median of the repeats, in which the
ways take turns.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from prism_bench.accounting.meter import Meter
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import IGNORED, Renderer
from prism_bench.models.decoder import evaluation_mode
from prism_bench.models.policy import Policy
from prism_bench.models.scratch import ScratchModel, create_policy
from prism_bench.rollouts.backend import Backend, Completion, Sampling, Work
from prism_bench.rollouts.episodes import Episode, Limits, RolloutRunner
from prism_bench.rollouts.expert import run_expert
from prism_bench.rollouts.ragged_model import RaggedModel
from prism_bench.rollouts.sampling import draw
from prism_bench.rollouts.transformers_backend import TransformersBackend

ID = "envs.alfworld:prism_bench/ALFWorld-v0"
TINY = Path(__file__).parents[1] / "conf" / "model" / "tiny.yaml"
LARGER = {"hidden_size": 768, "intermediate_size": 2048, "layers": 16, "heads": 12, "key_value_heads": 4}
EXPERT_EPISODES, PASSES, ROWS, LEARNING_RATE = 2000, 3, 16, 2e-3


class Draws(LogitsProcessor):
    """Processor with which ``generate`` draws the tokens of our sampling, from the sessions' own random numbers."""

    def __init__(self, streams: Sequence[np.random.Generator], temperature: float, prompt: int, end: int) -> None:
        self.streams, self.temperature, self.prompt, self.end = streams, temperature, prompt, end

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        ended = (input_ids[:, self.prompt :] == self.end).any(dim=1).tolist()
        numbers = [0.0 if over else stream.random() for stream, over in zip(self.streams, ended, strict=True)]
        tokens, _, _ = draw(scores.float(), self.temperature, numbers, 0.0)
        return torch.full_like(scores, -torch.inf).scatter_(1, torch.tensor(tokens)[:, None], 0.0)


class FreshPrompts:
    """A :class:`Backend` that keeps conversations as tokens and nothing else."""

    def __init__(self, model: PreTrainedModel, end_token_id: int) -> None:
        self.model, self.end = model, end_token_id
        self.conversations: dict[int, list[int]] = {}
        self.streams: dict[int, np.random.Generator] = {}
        self.work = Work()

    @torch.inference_mode()
    def complete(self, new_tokens: Mapping[int, Sequence[int]], sampling: Sampling) -> dict[int, Completion]:
        for session, tokens in new_tokens.items():
            self.conversations.setdefault(session, []).extend(tokens)
            if session not in self.streams:
                self.streams[session] = np.random.Generator(np.random.Philox(key=[sampling.seed, session]))
        prompts = [self.conversations[session] for session in new_tokens]
        width = max(map(len, prompts))
        streams = [self.streams[session] for session in new_tokens]
        with evaluation_mode(self.model):
            output: Any = self.model.generate(  # type: ignore[operator]
                input_ids=torch.tensor([[self.end] * (width - len(ids)) + ids for ids in prompts]),
                attention_mask=torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]),
                max_new_tokens=sampling.max_completion_tokens,
                do_sample=False,
                eos_token_id=self.end,
                pad_token_id=self.end,
                logits_processor=LogitsProcessorList([Draws(streams, sampling.temperature, width, self.end)]),
            )
        completions = {}
        for session, written in zip(new_tokens, output[:, width:].tolist(), strict=True):
            ids = written[: written.index(self.end) + 1] if self.end in written else written
            completions[session] = Completion(ids, [0.0] * len(ids))
            self.conversations[session] += ids
        read, generated = sum(map(len, prompts)), sum(len(completion.ids) for completion in completions.values())
        self.work = Work(self.work.prefill_tokens + read, self.work.generated_tokens + generated)
        return completions

    def most_sessions(self, tokens: int) -> None:
        """Return None: any number."""

    def close(self, sessions: Sequence[int]) -> None:
        for session in sessions:
            del self.conversations[session], self.streams[session]

    def take_work(self) -> Work:
        work, self.work = self.work, Work()
        return work


class Recording(RaggedModel):
    """Model that records the operations on its cache, to repeat them, and counts the draws too close to call."""

    def __init__(self, original: RaggedModel) -> None:
        super().__init__(original.model, original.padding_id, original.tokens_per_forward)
        self.tape: list[Callable[[RaggedModel], object]] = []
        self.alone = 0

    def forward(
        self, ids: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor:
        size = len(self.lengths)

        def again(other: RaggedModel) -> None:
            other.lengths = [0] * size
            other.forward(ids, rows, positions, wanted)

        self.tape.append(again)
        return super().forward(ids, rows, positions, wanted)

    def keep(self, rows: Sequence[int]) -> None:
        self.tape.append(lambda other: other.keep(rows))
        super().keep(rows)

    def read_alone(self, ids: Sequence[int]) -> torch.Tensor:
        self.alone += 1
        return super().read_alone(ids)


@dataclass
class Contest:
    """One model and its tasks, with the seconds of each way to roll them out."""

    policy: Policy
    renderer: Renderer
    tasks: Sequence[str]
    sampling: Sampling
    max_turns: int | None
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"a": [], "b": [], "c": []})
    read: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runner = RolloutRunner(lambda: gymnasium.make(ID, split="valid_seen"), self.renderer, len(self.tasks))

    def play(self, backend: Backend, way: str | None = None) -> list[Episode]:
        meter = Meter("play")
        start = time.perf_counter()
        episodes = self.runner.run(backend, self.tasks, self.sampling, way or "", meter, limits=Limits(self.max_turns))
        if way is not None:
            self.seconds[way].append(time.perf_counter() - start)
            self.read[way] = meter.spent.prefill_tokens
        return episodes

    def replay(self, tape: Sequence[Callable[[RaggedModel], object]]) -> None:
        model = self.policy.model
        backend = self.ours()
        start = time.perf_counter()
        with torch.inference_mode(), evaluation_mode(model):
            for again in tape:
                again(backend.reader)
        self.seconds["c"].append(time.perf_counter() - start)

    def ours(self) -> TransformersBackend:
        return TransformersBackend(self.policy.model, self.renderer.end_token_id)

    def run(self, repeats: int, name: str, console: Console) -> None:
        recorder = self.ours()
        recorder.reader = recording = Recording(recorder.reader)
        episodes = self.play(recorder)  # also warms up environments and the cache of encoded text
        equal = 0
        for _ in track(range(repeats), description=name, console=console):
            fresh = self.play(FreshPrompts(self.policy.model, self.renderer.end_token_id), "a")
            self.play(self.ours(), "b")
            self.replay(recording.tape)
            equal = sum(x.completion_ids == y.completion_ids for x, y in zip(fresh, episodes, strict=True))
        self.print(episodes, recording, equal, name, console)

    def print(self, episodes: list[Episode], recording: Recording, equal: int, name: str, console: Console) -> None:
        median = {way: statistics.median(seconds) for way, seconds in self.seconds.items()}
        turns = sum(len(episode.trajectory.steps) for episode in episodes)
        written = sum(sum(episode.agent_mask) for episode in episodes)
        millions = sum(parameter.numel() for parameter in self.policy.model.parameters()) / 1e6
        title = f"{name}, {millions:.1f} M parameters"
        table = Table("", "seconds", "tokens read", "written/s", "x (a)", "x (c)", title=title)
        self.read["c"] = self.read["b"]
        labels = {"a": "(a) fresh full prompts", "b": "(b) one cache per episode", "c": "(c) forwards of (b) alone"}
        for column in table.columns[1:]:
            column.justify = "right"
        for way, label in labels.items():
            pace, by_a, by_c = (amount / median[way] for amount in (written, median["a"], median["c"]))
            table.add_row(
                label, f"{median[way]:.2f}", f"{self.read[way]:,}", f"{pace:,.0f}", f"{by_a:.2f}", f"{by_c:.2f}"
            )
        console.print(table)
        console.print(
            f"{len(episodes)} episodes, {turns:,} turns, {written:,} tokens written; {equal} episodes are the same in "
            f"(a) and (b); {recording.alone} draws were too close to call ({recording.alone / written:.2%})"
        )


def teach(policy: Policy, renderer: Renderer, expert: Sequence[Any], console: Console) -> None:
    """Train on expert episodes: on every token in the first pass, on the agent's tokens in the others."""
    rendered = sorted((renderer.render(episode) for episode in expert), key=lambda episode: len(episode.input_ids))
    batches = [rendered[first : first + ROWS] for first in range(0, len(rendered), ROWS)]
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=LEARNING_RATE)
    order = np.concatenate([np.random.default_rng(seed).permutation(len(batches)) for seed in range(PASSES)])
    for number, place in enumerate(track(order, description="teaching", console=console)):
        batch = batches[place]
        width = max(len(episode.input_ids) for episode in batch)
        targets = [episode.input_ids if number < len(batches) else episode.labels for episode in batch]
        labels = torch.tensor([row + [IGNORED] * (width - len(row)) for row in targets])
        ids = torch.tensor([episode.input_ids + [0] * (width - len(episode.input_ids)) for episode in batch])
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, (number + 1) / 20)
        policy.model(input_ids=ids, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=64, help="episodes of the default model")
    parser.add_argument("--larger-episodes", type=int, default=8, help="episodes of the larger model; 0 for none")
    parser.add_argument("--larger-turns", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--larger-repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()

    settings: ScratchModel = instantiate(OmegaConf.load(TINY))
    train, valid = (gymnasium.make(ID, split=split).unwrapped for split in ("train", "valid_seen"))
    assert hasattr(train, "task_ids") and hasattr(valid, "task_ids")
    tasks = train.task_ids[:EXPERT_EPISODES]
    expert = run_expert(gymnasium.make(ID, split="train"), "search", tasks, Meter("collect"))
    texts = [text for episode in expert for step in episode.steps for text in (step.observation, step.action)]
    if options.episodes:
        policy = create_policy(settings, texts, 0)
        renderer = Renderer(policy.tokenizer, ActionPrompt(), settings.max_length)
        teach(policy, renderer, expert, console)
        sampling = Sampling(1.0, settings.max_completion_tokens, seed=0)
        contest = Contest(policy, renderer, valid.task_ids[: options.episodes], sampling, max_turns=None)
        contest.run(options.repeats, "the default model", console)
    if options.larger_episodes:
        policy = create_policy(replace(settings, **LARGER), texts, 0)
        renderer = Renderer(policy.tokenizer, ActionPrompt(), settings.max_length)
        sampling = Sampling(0.0, max_completion_tokens=4)
        contest = Contest(policy, renderer, valid.task_ids[: options.larger_episodes], sampling, options.larger_turns)
        contest.run(options.larger_repeats, "a larger model", console)


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    main()
