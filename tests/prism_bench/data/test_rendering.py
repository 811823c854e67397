"""The tokens of a rollout and the renderer's tokens of the finished episode must be the same."""

from dataclasses import replace

import gymnasium
import pytest

from prism_bench.accounting.meter import Meter
from prism_bench.data.prompts import ActionPrompt, ActPrompt, ReactPrompt
from prism_bench.data.rendering import IGNORED, Renderer, render_demonstrations
from prism_bench.data.trajectory import Step
from prism_bench.errors import InputError
from prism_bench.rollouts.backend import Completion, Sampling, Work
from prism_bench.rollouts.episodes import RolloutRunner, session_numbers

CHATS = ["qwen2_5", "qwen3", "qwen3_instruct_2507", "llama3", "llama3_1", "llama3_2"]
PROMPTS = [
    ActionPrompt(),
    ActPrompt(instruction="Answer with one of", commands="go east, go west"),
    ReactPrompt("Answer with one action."),
    ActionPrompt(list_admissible=True),
    ReactPrompt("Answer with one action.", list_admissible=True),
]
TASKS = ["1-4", "5-2", "6-1", "3-4", "2-6"]


class Scripted:
    """A backend with given completions, which keeps the tokens it has read and truncates long completions."""

    def __init__(self, renderer: Renderer, say) -> None:
        self.renderer, self.say = renderer, say
        self.read: dict[int, list[int]] = {}
        self.turns: dict[int, int] = {}
        self.closed: list[int] = []

    def complete(self, new_tokens, sampling):
        completions = {}
        for session, tokens in new_tokens.items():
            turn = self.turns.get(session, 0)
            self.turns[session] = turn + 1
            text = self.say(session, turn)
            ids = [*self.renderer.tokenizer.encode(text, add_special_tokens=False), self.renderer.end_token_id]
            ids = ids[: sampling.max_completion_tokens]
            self.read.setdefault(session, []).extend([*tokens, *ids])
            completions[session] = Completion(ids, [-0.5] * len(ids))
        return completions

    def most_sessions(self, tokens):
        return None

    def close(self, sessions):
        self.closed += sessions

    def take_work(self):
        return Work(prefill_tokens=7, generated_tokens=3, flops=11.0)


def chat_or_scratch(name, chat_tokenizer, corridor_policy):
    return corridor_policy().tokenizer if name == "scratch" else chat_tokenizer(name)


@pytest.mark.parametrize("prompt", PROMPTS, ids=["action", "act", "react", "action listed", "react listed"])
@pytest.mark.parametrize("longest", [1000, 5], ids=["whole", "cut"])
@pytest.mark.parametrize("name", ["scratch", *CHATS])
def test_an_episode_rendered_again_is_the_episode_played(
    name, prompt, longest, chat_tokenizer, corridor_policy, corridor
):
    renderer = Renderer(chat_or_scratch(name, chat_tokenizer, corridor_policy), prompt, max_length=20_000)
    sayings = [
        "Thought: the way is free.\nAction: go east",
        "go east",
        prompt.completion("go west", "", ()),
        " dance, ünglücklich ",
    ]
    backend = Scripted(renderer, lambda session, turn: sayings[(session + turn) % 4])
    episodes = RolloutRunner(corridor, renderer, batch_size=2).run(
        backend, TASKS, Sampling(max_completion_tokens=longest), "policy:scripted", Meter("eval")
    )
    assert any(step.truncated for episode in episodes for step in episode.trajectory.steps) == (longest == 5)
    for session, episode in zip(session_numbers(TASKS), episodes, strict=True):
        rendered = renderer.render(episode.trajectory)
        played = episode.prompt_ids + episode.completion_ids
        assert rendered.input_ids == played == backend.read[session]
        mask = [0] * len(episode.prompt_ids) + episode.agent_mask
        assert [label != IGNORED for label in rendered.labels] == [bool(flag) for flag in mask]
        assert [label for label in rendered.labels if label != IGNORED] == [
            token for token, flag in zip(played, mask, strict=True) if flag
        ]
        assert rendered.steps == len(episode.trajectory.steps)
        assert rendered.agent_tokens == episode.trajectory.agent_tokens
        assert len(played) == episode.trajectory.agent_tokens + episode.trajectory.context_tokens
        assert [logprob != 0 for logprob in episode.logprobs] == [bool(flag) for flag in episode.agent_mask]


@pytest.mark.parametrize("turns", [1, 2])
@pytest.mark.parametrize("longest", [1000, 5], ids=["whole", "cut"])
@pytest.mark.parametrize("name", ["scratch", "qwen2_5", "llama3_1"])
def test_with_last_turns_the_contexts_of_a_rollout_are_those_of_the_rendered_episode(
    name, longest, turns, chat_tokenizer, corridor_policy, corridor
):
    prompt = ActPrompt(instruction="Answer with one of", commands="go east, go west", last_turns=turns)
    renderer = Renderer(chat_or_scratch(name, chat_tokenizer, corridor_policy), prompt, max_length=20_000)
    backend = Scripted(renderer, lambda session, turn: ["go east", "dance around and around"][session % 2])
    episodes = RolloutRunner(corridor, renderer, batch_size=2).run(
        backend, TASKS, Sampling(max_completion_tokens=longest), "policy:scripted", Meter("eval")
    )
    contexts = []
    for episode in episodes:
        rendered = renderer.render(episode.trajectory)
        assert rendered.input_ids == episode.prompt_ids + episode.completion_ids
        mask = [0] * len(episode.prompt_ids) + episode.agent_mask
        assert [label != IGNORED for label in rendered.labels] == [bool(flag) for flag in mask]
        assert len(rendered.contexts) == max(1, len(episode.trajectory.steps) - turns)
        for _, labels in rendered.contexts[1:]:  # one completion, at the end
            first = next(place for place, label in enumerate(labels) if label != IGNORED)
            assert IGNORED not in labels[first:]
        contexts += [ids for ids, _ in rendered.contexts]
    assert max(len(episode.trajectory.steps) for episode in episodes) == 8
    assert sorted(backend.read.values()) == sorted(contexts)
    assert sorted(backend.closed) == sorted(backend.read)


def test_a_later_context_has_the_first_observation_and_the_last_turns(chat_tokenizer, corridor_episodes):
    renderer = Renderer(chat_tokenizer("qwen2_5"), ActionPrompt(last_turns=2), max_length=1000)
    rendered = renderer.render(corridor_episodes[4])
    chat = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>".format
    first = "You are in room 1. Your task is to: go to room 6."
    texts = [renderer.tokenizer.decode(ids) for ids, _ in rendered.contexts]
    assert len(texts) == 3 and texts[0].endswith(chat("You are in room 3.", "go east"))
    assert texts[2].endswith(
        chat(f"{first}\n...\nYou are in room 3.", "go east")
        + "".join("\n" + chat(f"You are in room {room}.", "go east") for room in (4, 5))
    )
    assert rendered.positions == [place for ids, _ in rendered.contexts for place in range(len(ids))]
    longest = max(len(ids) for ids, _ in rendered.contexts)
    assert Renderer(renderer.tokenizer, renderer.prompt, longest).render(corridor_episodes[4]) == rendered


@pytest.mark.parametrize("name", ["scratch", *CHATS])
def test_pieces_put_together_are_the_text_of_the_chat_template(
    name, chat_tokenizer, corridor_policy, corridor_episodes
):
    tokenizer = chat_or_scratch(name, chat_tokenizer, corridor_policy)
    renderer = Renderer(tokenizer, ReactPrompt("Answer with one action."), max_length=20_000)
    episode = corridor_episodes[4]
    messages = renderer.prompt.messages(episode.steps[0].observation, ())
    for step, after in zip(episode.steps, [*episode.steps[1:], None], strict=True):
        messages.append({"role": "assistant", "content": f"Action: {step.action}"})
        if after is not None:
            messages.append({"role": "user", "content": f"Observation: {after.observation}"})
    whole = tokenizer.apply_chat_template(
        messages,
        chat_template=renderer._template,
        tokenize=False,
        enable_thinking=False,
        date_string="26 Jul 2024",
    )
    text = tokenizer.decode(renderer.render(episode).input_ids, skip_special_tokens=False)
    assert len(episode.steps) > 3
    assert whole.startswith(text) and whole[len(text) :].strip() == ""


def test_a_policy_that_is_cut_gets_its_end_from_the_environment(corridor_policy, corridor):
    renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(), max_length=500)
    end = renderer.end_token_id
    backend = Scripted(renderer, lambda session, turn: "dance around")
    (episode,) = RolloutRunner(corridor, renderer, 1).run(
        backend, ["2-3"], Sampling(max_completion_tokens=2), "policy:scripted", Meter("eval")
    )
    first = episode.completion_ids[:2]
    assert end not in first and episode.completion_ids[2] == end
    assert episode.agent_mask[:3] == [1, 1, 0]
    rendered = renderer.render(episode.trajectory)
    start = len(episode.prompt_ids)
    assert rendered.input_ids == episode.prompt_ids + episode.completion_ids
    assert rendered.labels[start : start + 3] == [*first, IGNORED]
    assert rendered.input_ids[-2:] == rendered.labels[-2:] == first  # no end was read after the last completion
    assert end not in rendered.labels


def test_episodes_end_before_the_context_does(corridor_policy, corridor):
    renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(), max_length=60)
    backend = Scripted(renderer, lambda session, turn: "dance")
    meter = Meter("eval")
    (episode,) = RolloutRunner(lambda: corridor(1000), renderer, 1).run(
        backend, ["1-6"], Sampling(max_completion_tokens=8), "policy:scripted", meter
    )
    used = len(episode.prompt_ids) + len(episode.completion_ids)
    assert 60 - 20 < used <= 60
    assert episode.agent_mask[-1] == 1 and not episode.trajectory.success
    assert renderer.render(episode.trajectory).steps == len(episode.trajectory.steps) == meter.spent.env_steps
    assert (meter.spent.prefill_tokens, meter.spent.generated_tokens, meter.spent.flops) == (7, 3, 11)


def test_an_opening_without_room_for_a_reply_is_refused(corridor_policy, corridor, corridor_episodes):
    renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(), max_length=10)
    runner = RolloutRunner(corridor, renderer, 1)
    with pytest.raises(InputError, match=r"task 1-6: the prompt of \d+ tokens and a completion of 8 exceed.*of 10"):
        runner.run(Scripted(renderer, None), ["1-6"], Sampling(max_completion_tokens=8), "policy:x", Meter("eval"))
    narrow = Renderer(renderer.tokenizer, ActionPrompt(), max_length=3)
    with pytest.raises(InputError, match=r"task 1-2: the prompt and the first completion exceed the context of 3"):
        narrow.render(corridor_episodes[0])


def test_long_trajectories_are_truncated_after_a_whole_step(corridor_policy, corridor_episodes):
    tokenizer = corridor_policy().tokenizer
    episode = corridor_episodes[4]
    whole = Renderer(tokenizer, ActionPrompt(), max_length=1000).render(episode)
    assert whole.steps == len(episode.steps) == 5
    ends = [number + 1 for number, token in enumerate(whole.input_ids) if token == tokenizer.eos_token_id]
    for max_length in range(ends[0], len(whole.input_ids) + 1):
        short = Renderer(tokenizer, ActionPrompt(), max_length).render(episode)
        fitting = [end for end in ends if end <= max_length]
        assert short.steps == len(fitting)
        assert short.input_ids == whole.input_ids[: fitting[-1]] and short.labels == whole.labels[: fitting[-1]]


def test_demonstrations_that_lose_steps_are_counted(corridor_policy, corridor_episodes):
    tokenizer = corridor_policy().tokenizer
    lengths = [len(Renderer(tokenizer, ActionPrompt(), 1000).render(one).input_ids) for one in corridor_episodes]
    renderer = Renderer(tokenizer, ActionPrompt(), max_length=sorted(lengths)[15])
    meter = Meter("sft")
    rendered = render_demonstrations(renderer, corridor_episodes, meter)
    assert rendered == [renderer.render(episode) for episode in corridor_episodes]
    lost = sum(length > renderer.max_length for length in lengths)
    assert 0 < lost < 30
    assert (meter.spent.demonstrations, meter.spent.demonstrations_truncated) == (30, lost)


def test_returned_lists_belong_to_the_caller(corridor_policy):
    renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(), max_length=100)
    for piece in (renderer.prompt_ids, renderer.observation):
        first = piece("You are in room 1.")
        first.append(-1)
        assert -1 not in piece("You are in room 1.")


def test_qwen3_answers_after_an_empty_thought(chat_tokenizer):
    renderer = Renderer(chat_tokenizer("qwen3"), ActionPrompt(), max_length=1000)
    for ids in (renderer.prompt_ids("Hello."), renderer.observation("Hello.")):
        assert renderer.tokenizer.decode(ids).endswith(
            "Hello.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        )
    assert renderer.tokenizer.convert_ids_to_tokens(renderer.end_token_id) == "<|im_end|>"


def test_llama_does_not_ask_for_the_date(chat_tokenizer):
    prompt = Renderer(chat_tokenizer("llama3_2"), ActionPrompt(), max_length=1000).prompt_ids("Hello.")
    assert "Today Date: 26 Jul 2024" in chat_tokenizer("llama3_2").decode(prompt)


def test_the_instruction_is_a_system_message_where_the_template_has_one(chat_tokenizer):
    tokenizer = chat_tokenizer("qwen2_5")
    prompt = ActPrompt(instruction="Answer with one of", commands="go east, go west")

    def text():
        return tokenizer.decode(Renderer(tokenizer, prompt, max_length=1000).prompt_ids("You see a shelf."))

    asked = "<|im_start|>user\nYou see a shelf.<|im_end|>\n<|im_start|>assistant\n"
    assert text() == f"<|im_start|>system\nAnswer with one of go east, go west<|im_end|>\n{asked}"
    turns = "{% for message in messages %}{% if message.role != 'system' %}" + (
        "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + turns
    for tokenizer.chat_template in (turns, refusing):
        assert text() == asked.replace("You", "Answer with one of go east, go west\n\nYou", 1)


def test_templates_that_cannot_grow_are_refused(chat_tokenizer):
    tokenizer = chat_tokenizer("qwen2_5")
    forgetful = (
        "{% for message in messages[-2:] %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    endless = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}" + (
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    edited_qwen3 = chat_tokenizer("qwen3").chat_template + "{# a line that TRL does not know #}"
    for template, message in (
        (forgetful, "the chat template is not prefix-preserving"),
        (edited_qwen3, "the chat template is not prefix-preserving"),
        (endless, r"does not end a completion with a special token \(it goes on with .*\)"),
        (None, "the tokenizer has no chat template; use an instruct checkpoint"),
    ):
        tokenizer.chat_template = template
        with pytest.raises(InputError, match=f"^this tokenizer: .*{message}"):
            Renderer(tokenizer, ActionPrompt(), max_length=100)


def test_admissible_actions_are_kept_where_the_prompt_lists_them(corridor_policy, corridor):
    for listed in (False, True):
        renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(listed), max_length=5000)
        runner = RolloutRunner(corridor, renderer, 4)
        backend = Scripted(renderer, lambda session, turn: "go east")
        (episode,) = runner.run(backend, ["1-2"], Sampling(), "policy:scripted", Meter("eval"))
        kept = ("go east", "go west") if listed else ()
        assert episode.trajectory.steps == (
            Step("You are in room 1. Your task is to: go to room 2.", "go east", 1.0, None, kept),
        )
        assert replace(episode.trajectory, steps=()).success


def test_environments_are_kept_from_call_to_call(corridor_policy, corridor):
    made: list[gymnasium.Env] = []

    def make():
        made.append(corridor())
        return made[-1]

    renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(), max_length=500)
    runner = RolloutRunner(make, renderer, batch_size=3)
    counted: list[int] = []
    for _ in range(2):
        backend = Scripted(renderer, lambda session, turn: "go east")
        episodes = runner.run(backend, TASKS, Sampling(), "policy:scripted", Meter("eval"), counted.append)
        assert [episode.trajectory.task_id for episode in episodes] == TASKS
    assert len(made) == 3
    assert counted[-1] == 5 and sorted(counted[: len(counted) // 2]) == counted[: len(counted) // 2]
