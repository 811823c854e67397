"""Episodes of a server are those of the environment that it plays, and a server that fails costs episodes."""

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from agentgym_server import Server, serve
from corridor import Corridor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from saying import Saying
from shrunken import RL, SFT

from envs.agentgym.environment import AgentGymEnvironment
from envs.agentgym.game import Game
from prism_bench.accounting.meter import LedgerRow, Meter
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import save_trajectories
from prism_bench.environments.check import check_environment
from prism_bench.environments.contract import ANY_ACTION, INFO_KEYS, InvalidAnswerError
from prism_bench.environments.json_answer import JsonAnswer
from prism_bench.errors import InputError
from prism_bench.models.policy import Policy, save_policy
from prism_bench.models.tokenizer import build_tokenizer
from prism_bench.results.result import read_result
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.episodes import RolloutRunner
from prism_bench.rollouts.expert import run_expert
from prism_bench.rollouts.faults import FaultRules

ALFWORLD = partial(gymnasium.make, "envs.alfworld:prism_bench/ALFWorld-v0")
GAME = Game(
    name="alfworld",
    splits={"train": "0-9", "valid": "20-24"},
    task="game",
    reset={"world_type": "Text"},
    actions={"{}": "available_actions"},
    task_type="task_type",
    task_type_pattern="[^-/]+",
)
CORRIDOR = replace(GAME, name="corridor", splits={"train": "0-29"})
EAST = [f"corridor_{number}" for number, task in enumerate(Corridor.task_ids) if task in ("1-4", "2-5", "3-6")]
SOLVED = [(task, 3, 1.0, True) for task in EAST]
LOSE = FaultRules(on_error="lose")


@pytest.fixture
def corridor_server() -> Iterator[Server]:
    with serve(Corridor) as server:
        yield server


def maker(url: str, game: Game = CORRIDOR, steps: int = 8, **changes: Any) -> Callable[[], Any]:
    """Return what makes an environment; other processes need not import this module for it."""
    options = {"answer_seconds": 10.0, "restart_seconds": 0.0} | changes
    name = "envs.agentgym:prism_bench/AgentGym-v0"
    return partial(gymnasium.make, name, url=url, game=game, max_episode_steps=steps, **options)


def made(*arguments: Any, **changes: Any) -> Any:
    return maker(*arguments, **changes)()


@pytest.fixture
def east(corridor_policy, corridor_server):
    """Return a function that rolls out three tasks with a policy that goes east, and returns outlines and costs."""
    renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(), max_length=500)

    def play(rules=LOSE, workers=False, tasks=EAST, at_once=2, **changes) -> tuple[list[Any], LedgerRow]:
        meter = Meter("eval")
        make = maker(corridor_server.url, **changes)
        with RolloutRunner(make, renderer, at_once, workers, rules) as runner:
            episodes = runner.run(Saying(renderer), tasks, Sampling(0.0, 4), "policy:east", meter)
        trajectories = [episode.trajectory for episode in episodes]
        return [(t.task_id, len(t.steps), t.score, t.success) for t in trajectories], meter.spent

    return play


class TestTheSameEpisodes:
    """Transitions are those of the environment in this process."""

    def play(self, env: Any, task: str, actions: list[str]) -> list[Any]:
        kept = [key for key in INFO_KEYS if key != "task_id"]
        observation, info = env.reset(options={"task_id": task})
        seen: list[Any] = [(observation, {key: info[key] for key in kept})]
        for action in actions:
            *answer, info = env.step(action)
            seen.append((*answer, {key: info[key] for key in kept}))
            if answer[2] or answer[3]:
                break
        return seen

    def actions(self, env: Any, task: str, seed: int | None) -> list[str]:
        """Return the expert's actions; with a seed random ones, every tenth no action at all."""
        rng = random.Random(seed)
        expert = env.unwrapped.expert("search")
        observation, info = env.reset(options={"task_id": task})
        expert.reset(observation, info)
        actions: list[str] = []
        over = False
        while not over:
            admissible = [*info["admissible_actions"], "dance", "\0\ud800 {} 测试"]
            actions.append(expert.act(observation, info) if seed is None else rng.choice(admissible))
            observation, _, terminated, truncated, info = env.step(actions[-1])
            over = terminated or truncated
        return actions

    def test_as_in_this_process(self):
        with serve(lambda: ALFWORLD().unwrapped) as server, contextlib.closing(ALFWORLD()) as here:
            with contextlib.closing(made(server.url, GAME, steps=50)) as there:
                assert there.unwrapped.task_ids == tuple(f"alfworld_{number}" for number in range(10))
                for number in range(4):
                    task = here.unwrapped.task_ids[number]
                    for seed in (None, number):
                        actions = self.actions(here, task, seed)
                        expected = self.play(here, task, actions)
                        assert self.play(there, f"alfworld_{number}", actions) == expected
                        assert expected[-1][-1]["success"] == (seed is None)
                assert len(server.connections) == 1  # kept from call to call
            assert server.closed == [1] and not server.environments

    def test_it_keeps_the_contract(self, corridor_server):
        check_environment(maker(corridor_server.url))
        assert not corridor_server.environments

    def test_a_batch_of_episodes(self, east, corridor_server):
        assert east(tasks=EAST * 4, at_once=5)[0] == SOLVED * 4
        assert corridor_server.created == len(corridor_server.closed) == 5

    def test_a_process_for_each(self, east, corridor_server):
        assert east(workers=True)[0] == SOLVED
        assert corridor_server.created == len(corridor_server.closed) == 2


class TestFailures:
    """A server that fails costs an episode; what it holds is given back, as far as it answers."""

    def after(self, server: Server, path: str, number: int, instead: Any) -> None:
        server.trouble = lambda asked, count: instead if (asked, count) == (path, number) else ...

    def test_a_connection_that_breaks(self, east, corridor_server, caplog):
        self.after(corridor_server, "/step", 2, None)
        outline, spent = east(FaultRules(), at_once=1)
        assert outline == [(EAST[0], 2, 0.0, False), *SOLVED[1:]]
        assert (spent.worker_deaths, spent.lost_episodes) == (1, 1)
        assert "step 2: the environment is not to be reached: POST http://127.0.0.1" in caplog.text
        assert corridor_server.created == len(corridor_server.closed) == 2

    def test_a_server_that_hangs(self, east, corridor_server, caplog):
        self.after(corridor_server, "/step", 2, "hang")
        began = time.monotonic()
        outline, spent = east(FaultRules(), at_once=1, answer_seconds=0.3)
        assert time.monotonic() - began < 20
        assert outline == [(EAST[0], 2, 0.0, False), *SOLVED[1:]]
        assert (spent.hangs, spent.lost_episodes) == (1, 1)
        assert "/step took more than 0.3 seconds" in caplog.text

    def test_a_limit_of_the_run_interrupts_it_too(self, east, corridor_server):
        self.after(corridor_server, "/step", 2, "hang")
        outline, spent = east(FaultRules(step_seconds=0.5), at_once=1)
        assert outline == [(EAST[0], 2, 0.0, False), *SOLVED[1:]] and spent.hangs == 1

    @pytest.mark.parametrize(
        ("instead", "said"),
        [
            (b"<html><h1>Oops</h1>", "with no JSON: '<html><h1>Oops</h1>'"),
            (b"[" * 100_000, "with no JSON: '[[["),
            (b'{"observation": "", "reward": NaN, "done": false}', "with no JSON: "),
            (500, "with 500 Internal Server Error: '500'"),
            (307, "with a redirect to http://127.0.0.1:1/login; name the final address"),
            (b'{"error": "no such action"}', "with the error 'no such action'"),
            (b'{"reward": 1}', "without 'observation': {'reward': 1}"),
            (b'{"observation": "\\ud83d"}', "with '\\ud83d' at 'observation', expected a text in valid Unicode"),
            (b'{"observation": "", "reward": 1' + b"0" * 400 + b"}", "expected a finite number"),
            (b'{"observation": "", "reward": 1, "done": 1}', "with 1 at 'done', expected true or false"),
        ],
    )
    def test_answers_that_nobody_can_use(self, east, corridor_server, caplog, instead, said):
        self.after(corridor_server, "/step", 2, instead)
        outline, spent = east(LOSE, at_once=1)
        assert outline == [(EAST[0], 2, 0.0, False), *SOLVED[1:]]
        assert (spent.invalid_answers, spent.lost_episodes) == (1, 1)
        (record,) = caplog.records
        assert said in record.getMessage() and "Traceback" not in record.getMessage()
        corridor_server.calls["/step"] = 0
        with pytest.raises(InputError, match=r"step 2: the environment answered POST http.*/step with"):
            east(FaultRules(), at_once=1)
        assert corridor_server.created == len(corridor_server.closed) == 3

    @pytest.mark.parametrize("instead", [None, b"no JSON"])
    def test_processes_give_back_what_failed(self, east, corridor_server, instead):
        self.after(corridor_server, "/step", 2, instead)
        outline, spent = east(LOSE, workers=True, at_once=1)
        assert outline == [(EAST[0], 2, 0.0, False), *SOLVED[1:]] and spent.lost_episodes == 1
        assert corridor_server.created == len(corridor_server.closed) == 2

    def test_an_endless_answer(self, east, corridor_server, monkeypatch):
        monkeypatch.setattr("prism_bench.environments.json_client.MOST_BYTES", 2000)
        self.after(corridor_server, "/step", 2, b" " * 3000)
        assert east(LOSE, at_once=1)[1].invalid_answers == 1

    def test_a_server_that_is_started_again(self, corridor_server):
        """It has forgotten every environment, so that the next episode has a new one there."""
        with contextlib.closing(made(corridor_server.url)) as env:
            env.reset(options={"task_id": EAST[0]})
            corridor_server.environments.clear()
            with pytest.raises(InvalidAnswerError, match=r"with the error 'The id 1 is not valid.'"):
                env.step("go east")
            env.reset(options={"task_id": EAST[1]})
            assert [env.step("go east")[2] for _ in range(3)] == [False, False, True]
            assert corridor_server.created == 2

    def test_a_reset_waits_for_a_server_that_comes_back(self):
        with serve(Corridor) as server:
            env = made(server.url, restart_seconds=20.0)
            env.reset(options={"task_id": EAST[0]})
        with pytest.raises(ConnectionError):
            env.step("go east")
        began = time.monotonic()
        with pytest.raises(ConnectionError, match="refused"):
            made(server.url, restart_seconds=0.5).reset()
        assert 0.4 < time.monotonic() - began < 15
        with serve(Corridor, int(server.url.rpartition(":")[2])):
            assert env.reset(options={"task_id": EAST[0]})[1]["task_id"] == EAST[0]
            env.close()

    def test_it_is_asked_before_anything_is_spent(self, corridor_server):
        ready = made(corridor_server.url).unwrapped
        ready.check_ready()
        corridor_server.trouble = lambda path, count: 404
        ready.check_ready()  # whatever it says
        assert corridor_server.created == 0
        with pytest.raises(InputError, match=r"^no server of corridor answers at http://127.0.0.1:9 .*refused"):
            made("http://127.0.0.1:9").unwrapped.check_ready()

    def test_a_run_that_fails_gives_everything_back(self, east, corridor_server):
        self.after(corridor_server, "/step", 7, b'{"error": "late"}')
        with pytest.raises(InputError, match="with the error 'late'"):
            east(FaultRules(), tasks=EAST * 4, at_once=4)
        assert corridor_server.created == len(corridor_server.closed) == 4


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
NEARLY = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("observation", "reward", "done", "available_actions", "error", "id"), JSON)
)


class TestAnyAnswer:
    @pytest.fixture(scope="class")
    def environment(self) -> Iterator[tuple[Server, Any]]:
        with serve(Corridor) as server, contextlib.closing(made(server.url)) as env:
            yield server, env.unwrapped

    @settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(answer=JSON | NEARLY, path=st.sampled_from(["/create", "/reset", "/step", "/close"]))
    def test_it_can_be_used_or_is_refused_in_a_sentence(self, environment, answer, path):
        server, env = environment
        server.trouble = lambda asked, count: json.dumps(answer).encode() if asked == path else ...
        env._id = None
        try:
            observation, info = env.reset(options={"task_id": EAST[0]})
            observation, reward, terminated, _, info = env.step("go east")
        except InvalidAnswerError as refusal:
            assert str(refusal).startswith("answered ") and "\n" not in str(refusal) and len(str(refusal)) < 400
            return
        finally:
            server.trouble = lambda path, count: ...
        assert isinstance(observation, str) and 0 <= info["score"] <= 1 and isinstance(terminated, bool)
        assert abs(reward) < float("inf") and all(isinstance(action, str) for action in info["admissible_actions"])


class TestGames:
    """What differs between the servers is said by settings."""

    def answers(self, env: AgentGymEnvironment, *answers: Any) -> list[Any]:
        """Give ``env`` these answers in turn; return the list of what it asks for."""
        asked: list[Any] = []
        waiting = iter(answers)

        class Client:
            url = "http://there"

            def post(self, path: str, payload: Any) -> JsonAnswer:
                asked.append((path, dict(payload)))
                return JsonAnswer(next(waiting), path)

            def get(self, path: str, **query: Any) -> JsonAnswer:
                asked.append((path, query))
                return JsonAnswer(next(waiting), path)

        env._client = Client()  # type: ignore[assignment]
        return asked

    def test_webshop(self):
        game = Game(
            name="webshop",
            splits={"train": "6"},
            id="env_idx",
            id_at="",
            task="session_id",
            opening=[],
            observation="state",
            actions={"search[<keywords>]": "has_search_bar", "click[{}]": "clickables"},
            ask_actions=True,
        )
        env = AgentGymEnvironment("http://there", game)
        page = {"has_search_bar": True, "clickables": ["search"]}
        last = {"state": "Thank you", "reward": 0.5, "done": True, "info": None}
        asked = self.answers(env, 48, ["ignored", None], "WebShop [SEP] Find me", page, last)
        observation, info = env.reset()
        assert (observation, info["task_id"]) == ("WebShop [SEP] Find me", "webshop_6")
        assert info["admissible_actions"] == ["click[search]", "search[<keywords>]"]
        *_, info = env.step("click[Buy Now]")
        assert (info["score"], info["success"], info["admissible_actions"]) == (0.5, False, [])
        assert asked == [
            ("/create", {}),
            ("/reset", {"env_idx": 48, "session_id": 6}),
            ("/observation", {"env_idx": 48}),
            ("/available_actions", {"env_idx": 48}),
            ("/step", {"env_idx": 48, "action": "click[Buy Now]"}),
        ]

    def test_scales_and_openings(self):
        """As ScienceWorld's server, whose score falls to -100 where a task is spoilt."""
        game = Game(
            name="sciworld",
            splits={"train": "0-9"},
            task="data_idx",
            opening=["task_description", "observation"],
            score="score",
            scale=(0, 100),
            task_type="task_name",
        )
        env = AgentGymEnvironment("http://there", game)
        opening = {"task_description": "Boil water.", "observation": "A kitchen.", "task_name": "boil"}
        steps = [
            {"observation": "Hot.", "reward": 25, "score": 25, "done": False},
            {"observation": "Spoilt.", "reward": -125, "score": -100, "done": True},
        ]
        self.answers(env, {"id": 0}, opening, *steps)
        observation, info = env.reset()
        assert (observation, info["task_type"], info["admissible_actions"]) == (
            "Boil water.\nA kitchen.",
            "boil",
            [ANY_ACTION],
        )
        assert [env.step("heat water")[4]["score"] for _ in steps] == [0.25, 0.0]
        assert env.step("after the end")[:4] == ("Spoilt.", 0.0, True, False)

    def test_actions_that_the_server_unpacks(self):
        game = Game(name="movie", splits={"train": "0"}, task="id", id_at="", opening=[""], action="Action: {}")
        env = AgentGymEnvironment("http://there", game)
        asked = self.answers(env, 3, "Now new trial starts.", {"observation": "", "reward": 1.0, "done": True})
        assert env.reset()[0] == "Now new trial starts."
        assert env.step('finish with Action Input: {"answer": "{}"}')[4]["success"]
        assert asked[-1][1]["action"] == 'Action: finish with Action Input: {"answer": "{}"}'


class TestTasks:
    def tasks(self, split: str = "train", **splits: str) -> tuple[str, ...]:
        return AgentGymEnvironment("http://there", replace(GAME, splits=splits), split).task_ids

    def test_ranges(self):
        assert self.tasks(train="0-2, 7,20-30/5") == tuple(f"alfworld_{n}" for n in (0, 1, 2, 7, 20, 25, 30))
        assert self.tasks(train="0-2") is self.tasks(train="0-2")  # thousands of them, for every environment

    def test_lists_as_published(self, tmp_path: Path):
        file = tmp_path / "webshop_test.json"
        file.write_text(json.dumps([{"conversations": None, "item_id": "alfworld_5238"}, {"item_id": "alfworld_6"}]))
        assert self.tasks(train=str(file)) == ("alfworld_5238", "alfworld_6")
        other = tmp_path / "other.json"
        other.write_text('[{"item_id": "look_at_obj-Mug_trial_T2019"}]')
        with pytest.raises(InputError, match=r'other\.json: expected a list of {"item_id": "NAME_NUMBER"}'):
            self.tasks(train=str(other))

    @pytest.mark.parametrize(
        ("splits", "said"),
        [
            ({"train": "ten"}, "tasks 'ten' are not possible; write numbers and ranges"),
            ({"train": "0-99999999"}, "are more than 1,000,000; name fewer"),
            ({"train": "0-9", "valid": "9"}, "task 9 of alfworld is in the splits train and valid"),
            ({"valid": "9"}, "there is no split 'train' of alfworld; choose valid"),
            ({"train": "nowhere.json"}, "tasks nowhere.json: cannot be read"),
        ],
    )
    def test_refusals(self, splits, said):
        with pytest.raises(InputError, match=said):
            self.tasks(**splits)

    @pytest.mark.parametrize(
        "url", ["file:///etc/passwd", "ftp://there", "there:80", "http://", "http://me:secret@there"]
    )
    def test_addresses(self, url):
        with pytest.raises(InputError, match=r"^url=") as refusal:
            AgentGymEnvironment(url, GAME)
        assert "secret" not in str(refusal.value)


class TestAWholeRun:
    """The main job, on games that another process serves."""

    ROOT = Path(__file__).resolve().parents[2]

    @pytest.fixture
    def served(self) -> Iterator[subprocess.Popen[str]]:
        """A process that serves ALFWorld; its first line is its address, its last one what it still holds."""
        program = [sys.executable, str(self.ROOT / "tests" / "agentgym_server.py"), "0"]
        chosen = json.dumps({"id": "envs.alfworld:prism_bench/ALFWorld-v0", "max_episode_steps": 60})
        with subprocess.Popen(
            [*program, chosen],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(self.ROOT)},
        ) as process:
            yield process
            process.kill()

    @pytest.fixture
    def pretrained(self, tmp_path: Path, tiny_model) -> tuple[Path, Path]:
        """A checkpoint and the demonstrations of eight tasks, which are called as AgentGym calls them."""
        with contextlib.closing(ALFWORLD()) as env:
            tasks = env.unwrapped.task_ids[:8]
            episodes = run_expert(env, "search", tasks, Meter("collect"))
        assert all(episode.success for episode in episodes)
        named = [replace(episode, task_id=f"alfworld_{number}") for number, episode in enumerate(episodes)]
        save_trajectories(named, tmp_path / "demonstrations.parquet")
        texts = [text for episode in episodes for step in episode.steps for text in (step.observation, step.action)]
        tokenizer = build_tokenizer(texts)
        ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        model = tiny_model(vocab_size=len(tokenizer), max_position_embeddings=2048, **ids)
        save_policy(Policy(model, tokenizer), tmp_path / "checkpoint")
        return tmp_path / "checkpoint", tmp_path / "demonstrations.parquet"

    @pytest.mark.slow
    def test_trains_and_evaluates(self, served, pretrained, tmp_path):
        assert served.stdout is not None and served.stdin is not None
        url = served.stdout.readline().strip()
        checkpoint, demonstrations = pretrained
        chosen = [
            "env=agentgym",
            f"env.url={url}",
            "model=checkpoint",
            f"model.path={checkpoint}",
            "model.max_length=1024",
            "model.max_completion_tokens=8",
            "model.batch_size=4",
            "prompt=action",
            f"demonstrations={demonstrations}",
            "strategy=sft_then_rl",
            "logger=none",
            "trajectories=null",
            "eval.tasks=4",
            "eval.curve_points=1",
            "eval.curve_tasks=2",
            *SFT,
            *RL,
            f"cache={tmp_path / 'cache'}",
            f"hydra.run.dir={tmp_path / 'run'}",
        ]
        program = [sys.executable, str(self.ROOT / "run.py"), *chosen]
        finished = subprocess.run(program, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert finished.returncode == 0, finished.stdout + finished.stderr
        result = read_result(tmp_path / "run" / "result.json")
        assert result["protocol"]["game"] == "alfworld"
        assert result["protocol"]["demonstrations"].startswith("demonstrations.parquet")
        assert [(phase["name"], phase["ended"]) for phase in result["phases"]] == [
            ("sft", "completed"),
            ("rl", "completed"),
        ]
        assert result["success"]["rl"]["valid"]["all"]["n"] == 4
        assert sum(row["lost_episodes"] for row in result["ledger"]) == 0
        assert "show other observations" not in finished.stdout  # than in the process of the demonstrations
        served.stdin.close()
        left = json.loads(served.stdout.readline())
        assert left["created"] == left["closed"] > 4
