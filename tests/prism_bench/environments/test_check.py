"""The contract check passes a sound environment and names the fault of each broken one."""

import gymnasium
import pytest
from broken_environments import BROKEN, LIMIT, Climb, LazyExpert, LimitIsTermination
from gymnasium.wrappers import TimeLimit

from prism_bench.environments.check import check_environment
from prism_bench.environments.checked_calls import ContractViolationError


def limited(environment: type[Climb]) -> gymnasium.Env[str, str]:
    return TimeLimit(environment(), LIMIT)


def test_a_sound_environment_passes() -> None:
    check_environment(lambda: limited(Climb), expert="climber")


def test_an_id_with_options_is_built_by_gymnasium() -> None:
    gymnasium.register("prism_bench_tests/Climb-v0", entry_point=Climb, max_episode_steps=LIMIT)
    try:
        check_environment("prism_bench_tests/Climb-v0", expert="climber", disable_env_checker=True)
    finally:
        del gymnasium.registry["prism_bench_tests/Climb-v0"]


@pytest.mark.parametrize(("environment", "fault"), BROKEN, ids=[environment.__name__ for environment, _ in BROKEN])
def test_a_broken_environment_is_caught(environment: type[Climb], fault: str) -> None:
    with pytest.raises(ContractViolationError) as caught:
        check_environment(lambda: limited(environment), expert="climber")
    assert fault in str(caught.value)


def test_a_missing_step_limit_is_caught() -> None:
    with pytest.raises(ContractViolationError, match="no step limit"):
        check_environment(Climb)


def test_a_limit_that_claims_termination_is_caught() -> None:
    with pytest.raises(ContractViolationError, match="is truncated at step 12"):
        check_environment(lambda: LimitIsTermination(Climb(), LIMIT))


def test_an_expert_may_be_allowed_to_fail() -> None:
    check_environment(lambda: limited(LazyExpert), expert="climber", expert_success=0.0)
