import importlib.util
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envs.webshop.tagger import describe, noun_tagger
from prism_bench.errors import InputError

HAS_SPACY = importlib.util.find_spec("spacy") is not None
CORD = "Saireed UL Listed 2 Prong Power Cord for JBL Bar 3.1 Bar 2.1 Channel 4K Ultra HD Soundbar"
LEAD = "BRST AC Power Cord Outlet Socket Cable Plug Lead for Panasonic SC-HT830V DVD/VCR Combo Home Theater System"


def title_score(goal: str, product: str) -> float:
    wanted = noun_tagger("rules")(goal)
    return len(set(noun_tagger("rules")(product)) & set(wanted)) / len(wanted)


@pytest.mark.parametrize(
    ("goal", "product", "score"),
    [
        (
            "adidas Unisex-Adult D.o.n. Issue 2 Basketball Shoe",
            "adidas Unisex-Adult D.o.n. Issue 2 Indoor Court Shoe",
            0.85,
        ),
        (f"{CORD} Home Theater System Subwoofer", LEAD, 0.31),
        (CORD, LEAD, 0.17),
        (
            "Rusticware 921ORB Kitchen and Bath Cabinet Knob",
            "Minkissy 2pcs Stainless Steel Eyebrow Tweezers Blackhead Acne Remover Portable Makeup Tweezers (Silver)",
            0.0,
        ),
    ],
)
def test_title_scores_of_upstreams_own_tests(goal: str, product: str, score: float) -> None:
    """The values of en_core_web_lg in upstream's ``tests/web-agent-site/engine/test_goal.py``, to within 0.01."""
    assert title_score(goal, product) == pytest.approx(score, abs=0.01)


@pytest.mark.parametrize(
    ("title", "nouns"),
    [
        ("Women's Short-Sleeve T-Shirt, Black/White", "women short sleeve t shirt black white"),
        ("Rug for the Living Room with 2 Pads (6oz)", "rug living room pads oz"),
        ("THE 12 pack of reusable, soft Towels", "pack towels"),
        ("3D Printer 1080P", "3d printer"),
        ("for with 12 %", ""),
    ],
)
def test_rules(title: str, nouns: str) -> None:
    assert list(noun_tagger("rules")(title)) == nouns.split()


@given(st.text() | st.text("ab-/.,:'\u2019 1x%", max_size=30))
@example("-" * 100_000)
@example("a" + "-" * 100_000 + "b")  # a pattern that tries every dash would take minutes
@example("a." * 10_000 + "B")
def test_rules_take_any_title(title: str) -> None:
    for noun in noun_tagger("rules")(title):
        assert noun == noun.lower()
        assert any(map(str.isalpha, noun))
        assert not any(map(str.isspace, noun))
        assert noun[0] in title.lower()


@given(st.text())
def test_tokens_are_pythons_words(title: str) -> None:
    assert list(noun_tagger("tokens")(title)) == title.lower().split()


def test_unknown_names_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"no tagger 'nltk'; choose rules, tokens or spacy:MODEL"):
        noun_tagger("nltk")
    with pytest.raises(InputError, match="no tagger 'nltk'"):
        describe("nltk")


@pytest.mark.skipif(HAS_SPACY, reason="spaCy is installed")
def test_without_spacy_its_absence_is_the_message() -> None:
    with pytest.raises(InputError, match="spacy:en_core_web_lg needs spaCy: pip install spacy"):
        noun_tagger("spacy:en_core_web_lg")


@pytest.mark.skipif(not HAS_SPACY, reason="needs spaCy")
def test_a_model_that_is_not_installed_is_named() -> None:
    with pytest.raises(InputError, match="spaCy has no model 'no_such_model'"):
        noun_tagger("spacy:no_such_model")


@pytest.mark.skipif(not HAS_SPACY, reason="needs spaCy")
def test_any_spacy_model_may_be_named() -> None:
    import spacy

    models = [model for model in spacy.util.get_installed_models() if model.startswith("en_")]
    if not models:
        pytest.skip("needs an English model of spaCy")
    nouns = noun_tagger(f"spacy:{models[0]}")("Women's Basketball Shoe for the Kitchen")
    assert {"basketball", "shoe", "kitchen"} <= set(nouns) <= {"women", "basketball", "shoe", "kitchen"}
    assert "en_core_web_lg" in describe(f"spacy:{models[0]}")


def test_spacy_is_imported_only_when_asked_for() -> None:
    program = "import sys, envs.webshop.tagger as t; t.noun_tagger('rules')('a'); print('spacy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["rules", "tokens"])
def test_descriptions_name_the_tagger_and_upstreams(name: str) -> None:
    assert describe(name).startswith(f"{name}: ")
    assert "en_core_web_lg" in describe(name)
    assert "\n" not in describe(name)
