"""In ragged batches with a cache, a model must write the same as without batch and cache."""

import subprocess
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from prism_bench.accounting.flops import ModelShape, decode_flops, forward_flops
from prism_bench.errors import InputError
from prism_bench.rollouts.backend import Completion, Sampling
from prism_bench.rollouts.ragged_model import RaggedModel
from prism_bench.rollouts.sampling import LOGIT_NOISE
from prism_bench.rollouts.transformers_backend import TransformersBackend

END = 3
GREEDY = Sampling(temperature=0.0, max_completion_tokens=6)
SAMPLED = Sampling(temperature=0.8, max_completion_tokens=6, seed=11)


@dataclass
class Conversation:
    """All tokens of a session, and where and with which log-probability the policy wrote."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    completions: list[list[int]] = field(default_factory=list)

    def take(self, new: list[int], completion: Completion) -> None:
        self.ids += new
        self.positions += range(len(self.ids), len(self.ids) + len(completion.ids))
        self.ids += completion.ids
        self.logprobs += completion.logprobs
        self.completions.append(completion.ids)


def script(session: int, turns: int = 5) -> list[list[int]]:
    """Return the environment's tokens for a session, turn by turn: a prompt of 1 to 60 tokens, then 1 to 30."""
    rng = np.random.default_rng([99, session])
    longest = [60] + [30] * (turns - 1)
    return [rng.integers(0, 40, size=rng.integers(1, high + 1)).tolist() for high in longest]


def play(backend, sampling: Sampling, sessions: int, places: int, seed: int = 0) -> dict[int, Conversation]:
    """Run scripted sessions with at most ``places`` at once; some sit out a turn, some end early."""
    rng = np.random.default_rng(seed)
    scripts = {session: script(session) for session in range(sessions)}
    last_turn = {session: int(np.random.default_rng([7, session]).integers(1, 6)) for session in scripts}
    played = {session: Conversation() for session in scripts}
    waiting, active = list(scripts), []
    while waiting or active:
        while waiting and len(active) < places:
            active.append(waiting.pop(0))
        speaking = [session for session in active if rng.random() < 0.8] or active[:1]
        rng.shuffle(speaking)
        new = {session: scripts[session][len(played[session].completions)] for session in speaking}
        for session, completion in backend.complete(new, sampling).items():
            played[session].take(new[session], completion)
        over = [session for session in active if len(played[session].completions) == last_turn[session]]
        if over:
            backend.close(over)
        active = [session for session in active if session not in over]
    return played


def assert_agrees_with_full_forward(model, played: dict[int, Conversation], sampling: Sampling) -> None:
    model.eval()
    for conversation in played.values():
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([conversation.ids])).logits[0].float()
        scores = torch.log_softmax(logits / (sampling.temperature or 1.0), dim=-1)
        before = torch.tensor(conversation.positions) - 1
        written = torch.tensor([conversation.ids[position] for position in conversation.positions])
        torch.testing.assert_close(torch.tensor(conversation.logprobs), scores[before, written], atol=1e-4, rtol=0)
        if sampling.temperature == 0.0:
            assert scores[before].argmax(dim=-1).tolist() == written.tolist()


ARCHITECTURES = {
    "llama": {"tie_word_embeddings": True},
    "llama eager": {"architecture": "llama", "attn_implementation": "eager"},
    "qwen2": {},
    "qwen3": {},
    "mistral": {"sliding_window": None},
    "gemma": {},
    "gemma2": {"final_logit_softcapping": 5.0, "sliding_window": 256, "attn_implementation": "eager"},
    "phi3": {},
    "llama lora": {"architecture": "llama", "lora": ("q_proj", "v_proj", "down_proj")},
}


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_replies_agree_with_one_forward_over_the_whole_conversation(tiny_model, name, sampling):
    model = tiny_model(**{"architecture": name} | ARCHITECTURES[name])
    played = play(TransformersBackend(model, END), sampling, sessions=9, places=4)
    assert_agrees_with_full_forward(model, played, sampling)
    completions = [completion for conversation in played.values() for completion in conversation.completions]
    assert all(
        END not in completion[:-1] and len(completion) <= sampling.max_completion_tokens for completion in completions
    )
    if sampling is SAMPLED:
        assert any(completion[-1] == END for completion in completions)
    assert any(
        completion[-1] != END and len(completion) == sampling.max_completion_tokens for completion in completions
    )


def test_lora_adapter_takes_part(tiny_model):
    model = tiny_model(lora=("q_proj", "v_proj", "down_proj"))
    with_adapter = play(TransformersBackend(model, END), GREEDY, sessions=2, places=2)
    with model.disable_adapter():
        without = play(TransformersBackend(model, END), GREEDY, sessions=2, places=2)
    assert with_adapter != without


@pytest.mark.parametrize("places", [2, 5, 9])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_the_same_session_and_seed_reply_alike_in_any_batch(tiny_model, sampling, places):
    model = tiny_model("qwen3")
    alone = play(TransformersBackend(model, END), sampling, sessions=9, places=1)
    batched = play(TransformersBackend(model, END), sampling, sessions=9, places=places, seed=places)
    assert {session: c.completions for session, c in alone.items()} == {s: c.completions for s, c in batched.items()}


@pytest.mark.parametrize("draft", [1, 3, 20])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_drafts_change_no_reply(tiny_model, sampling, draft):
    model = tiny_model("qwen3")
    expected = play(TransformersBackend(model, END), sampling, sessions=9, places=4)
    played = play(TransformersBackend(model, END, draft=draft), sampling, sessions=9, places=4)
    assert {session: c.completions for session, c in played.items()} == {s: c.completions for s, c in expected.items()}
    assert_agrees_with_full_forward(model, played, sampling)


def test_drafts_save_forwards_and_what_they_read_in_vain_is_billed(tiny_model, monkeypatch):
    model, widths = tiny_model("llama"), []
    step = RaggedModel.step

    def watched(self, new):
        widths.append(sum(map(len, new.values())))
        return step(self, new)

    monkeypatch.setattr(RaggedModel, "step", watched)
    sampling, shape = Sampling(0.0, 40), ModelShape.from_config(model.config)
    completions, passes, work, read = [], [], [], []
    for draft in (0, 4):
        backend = TransformersBackend(model, 400, draft=draft)
        widths.clear()
        completions.append(backend.complete({0: [5, 6, 7]}, sampling)[0].ids)
        passes.append(len(widths))
        read.append(sum(widths))
        work.append(backend.take_work())
    assert completions[0] == completions[1]
    assert passes[1] < passes[0] == 39
    assert work[0].generated_tokens == work[1].generated_tokens == 40
    per_token = forward_flops(shape, 1, 20, logits=1)
    assert work[1].flops - work[0].flops == pytest.approx((read[1] - 39) * per_token, rel=0.1)


@pytest.mark.parametrize("budget", [1, 7, 50])
def test_a_budget_of_tokens_bounds_prefills_and_changes_no_reply(tiny_model, monkeypatch, budget):
    model = tiny_model("qwen3")
    expected = play(TransformersBackend(model, END), SAMPLED, sessions=9, places=5)
    sizes = []
    forward = RaggedModel.forward

    def measured(self, ids, *rest):
        sizes.append(ids.shape)
        return forward(self, ids, *rest)

    monkeypatch.setattr(RaggedModel, "forward", measured)
    played = play(TransformersBackend(model, END, budget), SAMPLED, sessions=9, places=5)
    assert {session: c.completions for session, c in played.items()} == {s: c.completions for s, c in expected.items()}
    assert all(rows * width <= budget for rows, width in sizes if width > 1)
    assert_agrees_with_full_forward(model, played, SAMPLED)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_draw_too_close_to_call_does_not_depend_on_the_batch(tiny_model, monkeypatch, sampling):
    """Logits with errors up to the known bound, other ones in every batch, change no completion."""
    model = tiny_model()
    forward = RaggedModel.forward
    generator = torch.Generator().manual_seed(0)

    def rounded(self, *batch):
        logits = forward(self, *batch)
        errors = torch.rand(logits.shape, generator=generator) * 2 - 1
        return logits + 0.01 * logits.abs().amax(dim=-1, keepdim=True) * errors

    monkeypatch.setattr(RaggedModel, "forward", rounded)

    def completions(noise: float, places: int) -> list[list[list[int]]]:
        backend = TransformersBackend(model, END)
        backend.noise = noise
        return [c.completions for c in play(backend, sampling, sessions=40, places=places).values()]

    assert completions(0.02, 40) == completions(0.02, 7)
    assert completions(0.0, 40) != completions(0.0, 7)  # and without the mechanism they would


def test_a_draw_made_alone_is_billed(tiny_model):
    model = tiny_model("qwen2")
    bills = []
    for noise in (0.0, 1e9):  # no draw is close, all are
        backend = TransformersBackend(model, END)
        backend.noise = noise
        completion = backend.complete({0: [5] * 17}, SAMPLED)[0].ids
        bills.append((completion, backend.take_work()))
    (completion, plain), (same_reply, alone) = bills
    assert completion == same_reply
    shape = ModelShape.from_config(model.config)
    lengths = 17 + np.arange(len(completion))
    assert alone.flops == plain.flops + forward_flops(shape, lengths, logits=1)


def test_only_float32_weights_promise_the_same_replies(tiny_model):
    assert TransformersBackend(tiny_model(), END).noise > 0
    assert TransformersBackend(tiny_model().to(torch.bfloat16), END).noise == 0


def test_the_noise_of_batches_is_far_below_what_is_allowed_for(tiny_model):
    sizes = {"vocab_size": 480, "hidden_size": 128, "intermediate_size": 384, "head_dim": 32}
    model = tiny_model(initializer_range=0.1, **sizes).eval()
    reader = RaggedModel(model, END, 16_384)
    rng = np.random.default_rng(0)
    sequences = {reader.add_row(): rng.integers(0, 480, rng.integers(20, 200)).tolist() for _ in range(32)}
    with torch.inference_mode():
        reader.read({row: ids[:-1] for row, ids in sequences.items()})
        batched = reader.step({row: ids[-1:] for row, ids in sequences.items()})[:, 0]
        alone = torch.cat([reader.read_alone(ids) for ids in sequences.values()])
    change = (batched - alone).abs().amax(dim=-1) / alone.abs().amax(dim=-1)
    assert 0 < float(change.max()) < LOGIT_NOISE / 3


def test_seeds_and_sessions_have_streams_of_their_own(tiny_model):
    backend = TransformersBackend(tiny_model(), END)
    sampling = Sampling(max_completion_tokens=20, seed=0)
    same_opening = backend.complete({session: [5, 6] for session in range(6)}, sampling)
    assert len({tuple(completion.ids) for completion in same_opening.values()}) > 3
    backend.close(range(6))
    again = backend.complete({session: [5, 6] for session in range(6)}, sampling)
    assert again == same_opening
    backend.close(range(6))
    other = backend.complete({session: [5, 6] for session in range(6)}, Sampling(max_completion_tokens=20, seed=1))
    assert {session: completion.ids for session, completion in other.items()} != {
        s: completion.ids for s, completion in again.items()
    }


def test_a_later_turn_draws_new_random_numbers(tiny_model):
    model = tiny_model()
    model.lm_head.weight.data.zero_()  # every token is as likely as any other, whatever was said
    backend = TransformersBackend(model, END)
    first, second = (backend.complete({0: [5]}, Sampling(max_completion_tokens=8, seed=2))[0].ids for _ in range(2))
    assert first[: len(second)] != second[: len(first)]


def test_samples_follow_the_distribution(tiny_model):
    model = tiny_model()
    backend = TransformersBackend(model, END)
    draws = 4000
    completions = backend.complete(
        {session: [5, 6] for session in range(draws)}, Sampling(1.3, max_completion_tokens=1, seed=4)
    )
    counts = np.bincount([completion.ids[0] for completion in completions.values()], minlength=40)
    with torch.no_grad():
        expected = torch.softmax(model(input_ids=torch.tensor([[5, 6]])).logits[0, -1] / 1.3, dim=-1).numpy() * draws
    standard = np.sqrt(expected * (1 - expected / draws)).clip(min=1)
    assert (np.abs(counts - expected) < 4.5 * standard).all()


def test_sessions_that_left_free_their_rows(tiny_model):
    backend = TransformersBackend(tiny_model(), END)
    backend.complete({session: [4] * 20 for session in range(8)}, GREEDY)
    backend.close(range(2, 8))
    assert backend.reader.cache.capacity[0] == 2
    backend.complete({8: [4, 5]}, GREEDY)
    backend.close([0, 1, 8])
    assert backend.reader.cache.capacity[0] == 0
    assert not backend.sessions and not backend.free_rows


def test_work_counts_every_token_once(tiny_model):
    model = tiny_model("qwen2")
    backend = TransformersBackend(model, END)
    shape = ModelShape.from_config(model.config)
    first = len(backend.complete({0: [5] * 17}, SAMPLED)[0].ids)
    work = backend.take_work()
    assert (work.prefill_tokens, work.generated_tokens) == (17, first)
    assert work.flops == forward_flops(shape, 17, logits=1) + decode_flops(shape, first - 1, 17)
    second = len(backend.complete({0: [6] * 4}, SAMPLED)[0].ids)
    work = backend.take_work()
    assert (work.prefill_tokens, work.generated_tokens) == (4, second)
    cached = 17 + first - 1  # the last token of the first completion is read now
    assert work.flops == forward_flops(shape, 5, cached, logits=1) + decode_flops(shape, second - 1, cached + 5)


@pytest.mark.parametrize("draft", [0, 4])
def test_neither_the_batch_nor_idle_rows_change_the_bill(tiny_model, draft):
    model = tiny_model()
    costs = []
    for places in (1, 6):
        backend = TransformersBackend(model, END, draft=draft)
        play(backend, SAMPLED, sessions=6, places=places)
        costs.append(backend.take_work())
    assert costs[0] == costs[1]


def test_the_mode_of_every_module_is_restored(tiny_model):
    model = tiny_model().train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    TransformersBackend(model, END).complete({0: [4, 5]}, GREEDY)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [("cohere", {}), ("granite", {"logits_scaling": 8.0})],
)
def test_models_that_transform_their_logits_are_refused(tiny_model, architecture, changes):
    model = tiny_model(architecture, tie_word_embeddings=True, **changes)
    with pytest.raises(InputError, match=r"changes its logits after the LM head \(\w+=[\d.]+\)"):
        TransformersBackend(model, END)


def test_a_granite_that_leaves_its_logits_alone_is_welcome(tiny_model):
    model = tiny_model("granite", logits_scaling=1.0)
    assert_agrees_with_full_forward(model, play(TransformersBackend(model, END), SAMPLED, 2, 2), SAMPLED)


def test_a_sliding_window_is_fine_until_an_episode_outgrows_it(tiny_model):
    model = tiny_model("mistral", sliding_window=20)
    backend = TransformersBackend(model, END)
    backend.complete({0: [4] * 20}, Sampling(0.0, max_completion_tokens=1))
    with pytest.raises(InputError, match=r"last 20 tokens only.*grown to 22.*model\.max_length"):
        backend.complete({0: [4]}, Sampling(0.0, max_completion_tokens=1))


SHRINK = """
import resource, torch
from prism_bench.rollouts.ragged_cache import RaggedCache

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

cache, layers = RaggedCache(16), 16
cache.select(torch.arange(64), torch.zeros(64, 1, dtype=torch.long) + 511, 64)
new = torch.ones(64, 4, 1, 64)
for layer in range(layers):
    cache.update(new, new, layer)
    for buffer in cache.buffers[layer]:
        buffer.fill_(1.0)  # so that the memory is really there
full = sum(buffer.nbytes for pair in cache.buffers for buffer in pair)
before = peak()
cache.keep(torch.arange(60))
cache.select(torch.arange(60), torch.zeros(60, 1, dtype=torch.long) + 600, 60)
print(full, peak() - before)
"""


@pytest.mark.slow
def test_a_cache_that_shrinks_or_grows_is_never_there_twice():
    finished = subprocess.run([sys.executable, "-c", SHRINK], capture_output=True, text=True, check=True)
    full, added = map(int, finished.stdout.split())
    assert full == 2 * 16 * 64 * 4 * 512 * 64 * 4
    assert added < 0.45 * full  # a quarter more slots, and one layer's old buffers
