"""Any value of any setting is taken or refused in one sentence; `python benchmarks/fuzz_settings.py` draws 10,000."""

import functools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig

from benchmarks.fuzz_settings import CHOICES, LONGEST, changed, configured, drawn, paths, validate

composed = functools.cache(configured)


@pytest.mark.parametrize("choice", CHOICES, ids=" ".join)
def test_configurations_pass_as_they_are(choice):
    assert validate(composed(*choice)) is None and len(paths(composed(*choice))) > 80


def examples(choice: tuple[str, ...]) -> st.SearchStrategy[tuple[DictConfig, list]]:
    return st.tuples(st.just(composed(*choice)), drawn(composed(*choice), together=3))


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(CHOICES).flatmap(examples))
def test_values_are_taken_or_refused_in_one_sentence(example: tuple[DictConfig, list]):
    config, changes = example
    sentence = validate(changed(config, *changes))
    assert sentence is None or (0 < len(sentence) <= LONGEST and "\n" not in sentence)


@pytest.mark.parametrize(
    "group", [(), ("model",), ("model", "base"), ("model", "base", "sft"), ("rollout",), ("env",), ("env", "make")]
)
def test_a_setting_that_does_not_exist_is_refused(group):
    sentence = validate(changed(composed(*CHOICES[0]), ((*group, "no_such_setting"), 1)))
    assert sentence is not None and "no_such_setting" in sentence
