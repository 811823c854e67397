"""A tiny environment, for tests that need one; imports nothing large, so that other processes have it at once."""

from typing import Any

from prism_bench.environments.contract import Expert, TextEnvironment


class Corridor(TextEnvironment):
    """Six rooms in a row; task ``2-5`` starts in room 2 and ends in room 5. The score is the share of the way gone."""

    task_ids = tuple(f"{start}-{goal}" for start in range(1, 7) for goal in range(1, 7) if start != goal)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.task_id = self.choose_task(options)
        self.start, self.goal = map(int, self.task_id.split("-"))
        self.room = self.start
        return f"You are in room {self.room}. Your task is to: go to room {self.goal}.", self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        before = self._score()
        target = self.room + {"go east": 1, "go west": -1}.get(action, 0)
        moved = target != self.room and 1 <= target <= 6
        self.room = target if moved else self.room
        observation = f"You are in room {self.room}." if moved else "Nothing happens."
        return observation, self._score() - before, self.room == self.goal, False, self._info()

    def expert(self, name: str) -> Expert:
        return StraightOn() if name == "straight" else super().expert(name)

    def _score(self) -> float:
        return max(0.0, 1 - abs(self.goal - self.room) / abs(self.goal - self.start))

    def _info(self) -> dict[str, Any]:
        return {
            "task_id": self.task_id,
            "task_type": "east" if self.goal > self.start else "west",
            "admissible_actions": ["go east", "go west"],
            "score": self._score(),
            "success": self.room == self.goal,
        }


class StraightOn:
    """The corridor's expert."""

    def reset(self, observation: str, info: dict[str, Any]) -> None:
        self.action = f"go {info['task_type']}"

    def act(self, observation: str, info: dict[str, Any]) -> str:
        return self.action
