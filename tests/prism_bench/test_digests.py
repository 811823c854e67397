"""Digests depend on content and on nothing else."""

import os

from hypothesis import given
from hypothesis import strategies as st

from prism_bench.digests import content_digest, digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.randoms(use_true_random=False))
def test_a_digest_depends_on_values_and_not_on_order(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(value) != digest(value | {"one more": 1})


def test_digests_of_files_and_folders(tmp_path):
    (tmp_path / "one" / "sub").mkdir(parents=True)
    (tmp_path / "one" / "sub" / "a").write_text("a")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "a").write_text("a")
    os.utime(tmp_path / "two" / "a", (0, 0))
    assert content_digest(tmp_path / "one" / "sub") == content_digest(tmp_path / "two") != content_digest(tmp_path)
    assert content_digest(tmp_path / "one") != content_digest(tmp_path / "two")  # names count
    (tmp_path / "two" / "a").write_text("b")
    assert content_digest(tmp_path / "one" / "sub") != content_digest(tmp_path / "two")
