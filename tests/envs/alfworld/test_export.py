"""Exported games are official games: they are read back unchanged, and unmodified upstream code solves them."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from kitchen import make_kitchen

from envs.alfworld import export, extract_layouts
from envs.alfworld.engine import Episode
from envs.alfworld.export import game_file, main, trajectory_file, write_game, write_games
from envs.alfworld.game import TASK_TYPES, Game, Wording
from envs.alfworld.game_file import RULES, parse_game
from envs.alfworld.generator import GeneratedGames
from envs.alfworld.official import OfficialGames
from envs.alfworld.textworld_engine import TextWorldEpisode
from prism_bench.errors import InputError

pytest.importorskip("alfworld", reason="needs the extra textworld: pip install 'prism-bench[textworld]'")
WORDINGS: tuple[Wording, ...] = get_args(Wording)


def some_games(wording: Wording, split: str = "train") -> list[Game]:
    """Return one game of each task type, in rooms small enough for upstream's planner."""
    plans = (14, 21, 302, 401, 410)
    games = GeneratedGames(split, floor_plans=plans, task_types=TASK_TYPES, objects=(5, 8), wording=wording, games=6)
    return [games.game(task_id) for task_id in games.task_ids]


@pytest.mark.parametrize("wording", WORDINGS)
def test_a_written_game_reads_back_as_it_was(tmp_path: Path, wording: Wording) -> None:
    source = GeneratedGames("valid_seen", preset="full", wording=wording, games=24)
    games = {task_id: source.game(task_id) for task_id in source.task_ids}
    write_games(games.values(), tmp_path, "valid_seen")
    official = OfficialGames(tmp_path, "valid_seen")
    assert official.task_ids == tuple(sorted(games))
    for task_id, game in games.items():
        again = parse_game(official.game_file(task_id).read_text(encoding="utf-8"), task_id)
        assert again == game
        assert Episode(again).reset() == Episode(game).reset()
    looking = OfficialGames(tmp_path, "valid_seen", task_types=["look_at_obj_in_light"])
    assert {games[task_id].goal.task_type for task_id in looking.task_ids} == {"look_at_obj_in_light"}


def test_a_game_with_changed_rules_reads_back_and_never_counts_as_official(tmp_path: Path) -> None:
    source = GeneratedGames("valid_seen", games=6, regimes=["clean", "rules"])
    games = [source.game(task_id) for task_id in source.task_ids]
    files = write_games(games, tmp_path, "valid_seen")
    assert [
        parse_game(file.read_text(encoding="utf-8"), game.task_id) for file, game in zip(files, games, strict=True)
    ] == games
    official = OfficialGames(tmp_path, "valid_seen")
    assert set(official.task_ids) == {game.task_id for game in games if game.rule is None}
    assert official.skipped == {"with changed rules": 3}
    file = next(file for file, game in zip(files, games, strict=True) if game.rule is not None)
    content = json.loads(file.read_text(encoding="utf-8"))
    first = {RULES: content.pop(RULES)}  # where a look at the end of the file misses it
    file.write_text(json.dumps(first | content), encoding="utf-8")
    hidden = OfficialGames(tmp_path, "valid_seen")
    with pytest.raises(InputError, match="has changed rules"):
        hidden.game(f"{file.parent.parent.name}/{file.parent.name}")
    file.write_text(json.dumps(content | {RULES: ["fly"]}), encoding="utf-8")
    with pytest.raises(InputError, match="it can be a list of one of examine_first"):
        parse_game(file.read_text(encoding="utf-8"), "odd")


@pytest.mark.parametrize("wording", WORDINGS)
def test_the_oddities_of_official_games_can_be_written_too(wording: Wording) -> None:
    kitchen = make_kitchen(wording)
    assert any(thing.also_in for thing in kitchen.things)
    assert any(thing.inside_vessels for thing in kitchen.things)
    assert parse_game(game_file(kitchen), kitchen.task_id) == kitchen


def test_a_trajectory_file_says_what_official_ones_say() -> None:
    games = {game.goal.task_type: game for game in some_games("move")}
    place, look = games["pick_and_place_simple"], games["look_at_obj_in_light"]
    written = json.loads(trajectory_file(place))
    assert written["task_id"] == place.task_id.partition("/")[2]
    assert written["task_type"] == "pick_and_place_simple"
    assert written["scene"] == {"floor_plan": "FloorPlan410", "scene_num": 410}
    assert written["pddl_params"] == {
        "mrecep_target": "",
        "object_sliced": False,
        "object_target": place.goal.object_type,
        "parent_target": place.goal.receptacle_type,
        "toggle_target": "",
    }
    assert json.loads(trajectory_file(look))["pddl_params"]["toggle_target"] == "DeskLamp"


@pytest.mark.slow
@pytest.mark.parametrize("wording", WORDINGS)
def test_textworld_answers_as_the_native_engine_does(tmp_path: Path, wording: Wording) -> None:
    rng = random.Random(wording)
    reference: TextWorldEpisode | None = None
    for game in some_games(wording)[:3]:
        path = write_game(game, tmp_path / game.task_id)
        if reference is None:
            reference = TextWorldEpisode(path)
        else:
            reference.load(path)
        native = Episode(game)
        assert reference.reset() == native.reset()
        for _ in range(10):
            assert reference.admissible_commands == native.admissible_commands
            command = rng.choice(native.admissible_commands)
            assert reference.step(command) == native.step(command)
            assert reference.won == native.won


class Upstream:
    """The unmodified ``AlfredTWEnv`` with one of upstream's experts; TextWorld runs in a process of its own."""

    def __init__(self, data: Path, expert: str) -> None:
        import textworld.gym
        from alfworld.agents.environment import alfred_tw_env as upstream

        config = {
            "env": {
                "goal_desc_human_anns_prob": 0,
                "task_types": [1, 2, 3, 4, 5, 6],
                "domain_randomization": False,
                "expert_type": expert,
            },
            "general": {"training_method": "dagger"},
            "dagger": {"training": {"max_nb_steps_per_episode": 50}},
            "dataset": {"data_path": str(data), "num_train_games": -1},
        }
        games = upstream.AlfredTWEnv(config, train_eval="train")
        self.game_files: list[str] = games.game_files
        if expert == "handcoded":
            self.environment = games.init_env(batch_size=1)
        else:  # init_env gives the hand-coded expert whatever the configuration says
            wrappers = [upstream.AlfredDemangler(), upstream.AlfredInfos, upstream.AlfredExpert(expert_type=expert)]
            infos = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile", "expert_plan"])
            name = textworld.gym.register_games(
                self.game_files, infos, batch_size=1, asynchronous=True, max_episode_steps=50, wrappers=wrappers
            )
            self.environment = textworld.gym.make(name)

    def roll_out(self) -> Iterator[tuple[str, bool]]:
        """Roll out the expert once in every game; yield the task id and whether it was won within 50 steps."""
        for _ in self.game_files:
            _, info = self.environment.reset()
            path, done = Path(info["extra.gamefile"][0]), False
            while not done:
                _, _, (done,), info = self.environment.step([info["extra.expert_plan"][0][0]])
            yield f"{path.parent.parent.name}/{path.parent.name}", info["won"][0]


@pytest.fixture
def open_upstream() -> Iterator[Callable[[Path, str], Upstream]]:
    """Return the class, and close every environment that it opened."""
    opened: list[Upstream] = []

    def start(data: Path, expert: str) -> Upstream:
        opened.append(Upstream(data, expert))
        return opened[-1]

    yield start
    for upstream in opened:
        upstream.environment.close()


@pytest.mark.slow
@pytest.mark.parametrize("wording", WORDINGS)
def test_upstreams_planner_solves_every_task_type(tmp_path: Path, wording: Wording, open_upstream: Any) -> None:
    games = some_games(wording)
    write_games(games, tmp_path, "train")
    upstream = open_upstream(tmp_path / "json_2.1.1" / "train", "planner")
    assert dict(upstream.roll_out()) == {game.task_id: True for game in games}


@pytest.mark.slow
def test_upstreams_hand_coded_expert_solves_what_it_can(tmp_path: Path, open_upstream: Any) -> None:
    random.seed(0)  # it searches in random order; its process inherits this state
    # Of two objects it cannot say that it puts the first one down: it does not know the wording "move".
    games = [game for game in some_games("move") if game.goal.task_type != "pick_two_obj_and_place"]
    write_games(games, tmp_path, "train")
    upstream = open_upstream(tmp_path / "json_2.1.1" / "train", "handcoded")
    assert dict(upstream.roll_out()) == {game.task_id: True for game in games}


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    export._upstream_texts.cache_clear()
    monkeypatch.setattr(extract_layouts.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package alfworld; install it with: pip install"):
        game_file(make_kitchen())


def test_a_package_with_other_texts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    domain, grammar, goals = export._upstream_texts("move")
    monkeypatch.setattr(export, "_upstream_texts", lambda wording: (domain, grammar.replace("You", "Thou"), goals))
    with pytest.raises(InputError, match=r"is that of no release .*; export needs the texts of alfworld==0.4.2"):
        game_file(make_kitchen())


def test_a_game_that_a_file_cannot_hold_is_refused() -> None:
    kitchen = make_kitchen()
    with pytest.raises(InputError, match="kitchen: a game file cannot express this game"):
        game_file(replace(kitchen, receptacles=tuple(replace(place, name="nook 1") for place in kitchen.receptacles)))


def test_the_command_writes_a_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path), "--split", "valid_unseen", "--games", "4", "--seed", "7", "--wording", "put"])
    games = OfficialGames(tmp_path, "valid_unseen")
    expected = GeneratedGames("valid_unseen", seed=7, preset="full", games=4, wording="put")
    assert games.task_ids == tuple(sorted(expected.task_ids))
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--games", "0"])
    assert "games=0 leaves no game" in capsys.readouterr().err
