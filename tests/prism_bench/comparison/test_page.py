"""The page in a real browser: what it shows, what it can do, and that nothing in it runs that is not its own."""

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browser import MISSING, Browser, browser
from comparisons import Shape, comparison, episodes

from prism_bench.comparison.episodes import Episodes
from prism_bench.comparison.page import SECTIONS, page
from prism_bench.comparison.record import Comparison, FailedRun
from prism_bench.comparison.tables import tables_of

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} not installed")

NOTHING = Episodes(None, [], [], [], [])
SEE_ALL = "for (const place of figures.keys()) redraw(place); await new Promise((done) => setTimeout(done, 50));"
"""Draws all plots, which otherwise happens when they come into view."""

MISDRAWN = """
    const fits = (place) => place.querySelector(".main-svg")?.getBoundingClientRect().width <= place.clientWidth;
    return [...document.querySelectorAll(".plot")].filter((place) => !fits(place)).map((place) => place.ariaLabel)
"""
"""Returns the plots that are empty or wider than their place."""

SCROLL = """
    for (const place of document.querySelectorAll(".plot")) {
        place.scrollIntoView();
        await new Promise((done) => setTimeout(done, 40));
    }
"""

ONE = Shape(cells=(("prism", "split"),), seeds=1)
BUDGETS = Shape(settings={0: {"budget.flops": 5e12}, 1: {"budget.flops": 5e12}})
LONG = "algorithm.reward=success-rollout.max_inadmissible=0-" * 3


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def whole(shape: Shape) -> tuple[Comparison, Episodes]:
    made = comparison(shape)
    return made, episodes(made, shape)


def damaged() -> tuple[Comparison, Episodes]:
    """Return a comparison with a failed run, runs of another protocol, and episodes that are gone."""
    made = comparison(Shape())
    runs = [replace(run, protocol=run.protocol | {"steps": 40}) if run.seed == 1 else run for run in made.runs]
    failed = [FailedRun("loss-split", 2, "router=loss: no space left on device")]
    note = "The episodes base valid_seen of rl are not shown (there is no such file)."
    return made.model_copy(update={"runs": runs, "failed": failed}), replace(NOTHING, notes=[note])


KINDS = {
    "several": lambda: whole(Shape()),
    "one run": lambda: whole(ONE),
    "one seed": lambda: whole(Shape(seeds=1)),
    "no router": lambda: whole(Shape(cells=((None, "rl"), (None, "sft")), baseline=False)),
    "no curves": lambda: (comparison(Shape(curve_points=0)), NOTHING),
    "scores": lambda: whole(Shape(partial=True)),
    "equal compute": lambda: whole(BUDGETS),
    "long names": lambda: whole(Shape(settings={0: {"note": LONG}, 2: {"note": LONG}})),
    "damaged": damaged,
    "hostile": lambda: hostile(),
    "no run": lambda: (Comparison(command="", reach=0.6, configurations=[], lists={}, runs=[], failed=[]), NOTHING),
}


@functools.cache
def made(kind: str) -> tuple[Comparison, Episodes, str]:
    of, shown = KINDS[kind]()
    return of, shown, page(of, tables_of(of), shown)


def open_page(window: Browser, folder: Path, kind: str, dark: bool = False) -> tuple[Comparison, Episodes]:
    """Open the page of one of the kinds and return what it is made of."""
    of, shown, html = made(kind)
    (folder / "page.html").write_text(html, encoding="utf-8")
    window.show(1280, dark=dark)
    window.open(folder / "page.html")
    return of, shown


@pytest.mark.parametrize("kind", KINDS)
def test_every_section_is_visible_at_both_widths_and_the_console_silent(kind, window, tmp_path):
    open_page(window, tmp_path, kind)
    for width in (1280, 390):
        window.show(width)
        sizes = window.run(SEE_ALL + "return [innerWidth, document.documentElement.scrollWidth]")
        assert sizes == [width, width]
        seen = window.run(
            "return [...document.querySelectorAll('main > section')].map((each) => [each.id, each.querySelector('.aid')"
            "?.innerText.length > 20, each.getBoundingClientRect().height > 100, each.innerText.includes('undefined')])"
        )
        assert seen[1:] == [[name, True, True, False] for name in SECTIONS]
        assert window.run(MISDRAWN) == []
        assert window.messages() == []


def test_plots_are_drawn_when_they_come_into_view(window, tmp_path):
    open_page(window, tmp_path, "several")
    drawn = "return [...document.querySelectorAll('.plot')].map((each) => each.querySelector('.main-svg') !== null)"
    assert not all(window.run(drawn))
    window.run(SCROLL)
    assert all(window.run(drawn))


def text(window: Browser, selector: str) -> str:
    return window.run(
        "return document.querySelector(arguments[0])?.innerText ?? ''".replace("arguments", "given"), selector
    )


def test_sections_without_data_say_so(window, tmp_path):
    open_page(window, tmp_path, "no router")
    window.run(SEE_ALL)
    assert "No run has a router" in text(window, "#routers")
    assert "There is no baseline here" in text(window, "#success")
    open_page(window, tmp_path, "no curves")
    assert "No run has a learning curve" in text(window, "#curves")
    assert "There are no episodes to show" in text(window, "#trajectories")
    open_page(window, tmp_path, "one seed")
    assert "one seed cannot tell" in text(window, "h1")
    assert "another seed of training" in text(window, "#answer")


def test_failures_and_differing_protocols_are_on_the_first_screen(window, tmp_path):
    open_page(window, tmp_path, "damaged")
    assert "1 run failed" in text(window, "#answer") and "differ in the protocol (steps)" in text(window, "#answer")
    assert "no space left on device" in text(window, ".failed")
    assert "steps ⚠ differs" in text(window, ".differs") and "40 (" in text(window, ".differs")
    assert "no such file" in text(window, "#trajectories")


def test_equal_data_and_equal_compute_are_groups_of_their_own(window, tmp_path):
    open_page(window, tmp_path, "equal compute")
    for section in ("answer", "success", "flops", "curves"):
        found = window.run(
            "return [...document.querySelectorAll(given[0])].map((each) => each.innerText)", f"#{section} .group"
        )
        assert found == ["Equal compute: 5.00 T FLOPs", "Equal data"], section


def test_the_front_that_is_drawn_is_that_of_the_tables(window, tmp_path):
    of, _ = open_page(window, tmp_path, "several")
    names = [each.name for each in of.configurations]
    for split, wanted in tables_of(of).front.items():
        spots = "state.split = given[1]; return front(spotsOf(given[0], COSTS.flops)).map((spot) => spot.name)"
        assert set(window.run(spots, names, split)) == set(wanted)


def test_light_and_dark_follow_the_system_and_the_switch(window, tmp_path):
    colours = (
        "const of = (selector, name) => getComputedStyle(document.querySelector(selector))[name];"
        "return [of('body', 'backgroundColor'), of('.plot .xtick text', 'fill'), of('.key', 'backgroundColor')]"
    )
    shown = {}
    for dark in (False, True):
        open_page(window, tmp_path, "several", dark=dark)
        shown[dark] = window.run(SEE_ALL + colours)
    assert all(light != dark for light, dark in zip(shown[False], shown[True], strict=True))
    assert window.run("document.getElementById('theme').click();" + SEE_ALL + colours) == shown[False]
    assert window.run("document.getElementById('theme').click();" + SEE_ALL + colours) == shown[True]


def test_switches_change_what_is_drawn(window, tmp_path):
    open_page(window, tmp_path, "scores")
    change = (
        """
        const select = document.getElementById(given[0]);
        const shown = () => document.getElementById(given[2]).innerText + document.getElementById(given[2]).innerHTML;
        const before = shown();
        select.value = given[1];
        select.dispatchEvent(new Event("change"));
    """
        + SEE_ALL
        + "return before !== shown()"
    )
    for switch, value, place in (
        ("split", "valid_seen", "success-figures"),
        ("quantity", "score", "success-figures"),
        ("cost", "seconds", "cost-figures"),
        ("scale", "log", "curve-figures"),
        ("against", "base", "type-table"),
        ("score-seed", "2", "score-figures"),
        ("phase-cost", "tokens", "phase-figures"),
    ):
        window.run(SEE_ALL)
        assert window.run(change, switch, value, place), switch
    assert window.messages() == []


CHOOSE = """
    const select = document.getElementById(given[0]);
    select.value = given[1];
    select.dispatchEvent(new Event("change"));
    await new Promise((done) => setTimeout(done, 20));
    return [...document.getElementById("tasks").options].map((each) => each.textContent)
"""
COLUMNS = """
    return [...document.querySelectorAll("#columns article")].map((each) => [each.querySelector("h4").innerText.trim(),
        each.querySelector(".observation")?.innerText.slice(0, 17), each.querySelector(".action")?.innerText])
"""


def test_the_browser_of_trajectories_filters(window, tmp_path):
    _, shown = open_page(window, tmp_path, "several")
    assert len(window.run(CHOOSE, "collection", "evaluated")) == len(shown.evaluated) == 16
    assert all("valid_seen" in row for row in window.run(CHOOSE, "filter-split", "valid_seen"))
    wanted = [task for task in shown.evaluated if (task.split, task.task_type) == ("valid_seen", "look_at_obj")]
    assert len(window.run(CHOOSE, "filter-type", "look_at_obj")) == len(wanted) == 3
    window.run(CHOOSE, "collection", "evaluated")
    window.run(CHOOSE, "filter-before", "no")
    window.run(CHOOSE, "filter-configuration", "prism-split")
    rows = window.run(CHOOSE, "filter-after", "yes")
    final = next(number for number, policy in enumerate(shown.policies) if policy.name == "prism-split")
    wanted = [task for task in shown.evaluated if task.episodes[final].success and not task.episodes[1].success]
    assert 0 < len(rows) == len(wanted) < 16
    rows = window.run(CHOOSE, "collection", "demonstrations")
    assert len(rows) == len(shown.demonstrations) == 8
    window.run(CHOOSE, "filter-router0", "rl")
    rows = window.run(CHOOSE, "filter-router1", "sft")
    parts = [(each.decisions["prism-split"][0], each.decisions["random-split"][0]) for each in shown.demonstrations]
    assert 0 < len(rows) == parts.count((True, False)) and all(row.startswith("A→RL B→SFT") for row in rows)
    assert "prism-split sent it to RL" in text(window, "#decisions")


def test_the_browser_of_trajectories_steps(window, tmp_path):
    open_page(window, tmp_path, "several")
    names = ["expert", "base model", "A prism-split", "B random-split", "C rl"]
    assert window.run(COLUMNS) == [[name, "You are in room 0", "go to room 1"] for name in names]
    window.run("document.getElementById('next').click()")
    assert {(at, action) for _, at, action in window.run(COLUMNS)} == {("You are in room 1", "go to room 2")}
    window.run("document.getElementById('columns').focus()")
    window.press("\ue014", "\ue014", "\ue012")  # right, right, left
    assert text(window, "#step-text") == "step 3 of 12"
    assert {action for *_, action in window.run(COLUMNS)} == {"go to room 3"}
    window.run("document.querySelector('#columns ol li:last-child button').click()")
    assert text(window, "#step-text") == "step 12 of 12"
    assert "Reward 1" in text(window, "#columns article") and window.run(
        "return document.getElementById('next').disabled"
    )


def test_it_can_be_used_with_the_keyboard_alone(window, tmp_path):
    open_page(window, tmp_path, "several")
    reached = set()
    for _ in range(60):
        window.press("\ue004")  # tab
        reached.add(window.run("return document.activeElement.id || document.activeElement.getAttribute('href')"))
    wanted = {
        "#answer",
        "#trajectories",
        "split",
        "theme",
        "cost",
        "scale",
        "against",
        "phase-cost",
        "tasks",
        "next",
        "columns",
    }
    assert wanted <= reached


EVIL = (
    "<img src=x onerror=window.hit=1></script><script>window.hit=2</script><!--\u2028 ${window.hit=3} <b>&amp; {{7*7}} "
    "<a href='javascript:window.hit=4'>"
)


HOVER = """
    for (const place of document.querySelectorAll(".plot"))
        place.data.forEach(({ hovertext, type }, curveNumber) => {
            if (hovertext) Plotly.Fx.hover(place, [{ curveNumber, pointNumber: type === "heatmap" ? [0, 0] : 0 }]);
        });
"""
"""Shows the label of a point of every curve."""


def hostile() -> tuple[Comparison, Episodes]:
    """Return a comparison that has hostile text wherever text can come from outside."""
    shape = Shape(types=("look_at_obj", f"kind {EVIL}"))
    made = comparison(shape)
    names = {each.name: f"{each.name} {EVIL}" for each in made.configurations}
    configurations = [
        replace(
            each,
            name=names[each.name],
            strategy=f"{each.strategy} {EVIL}",
            router=each.router and f"{each.router} {EVIL}",
            baseline=each.baseline and names[each.baseline],
            reference=each.reference and names[each.reference],
        )
        for each in made.configurations
    ]
    runs = [
        replace(
            run,
            configuration=names[run.configuration],
            command=EVIL,
            protocol=run.protocol | {EVIL: EVIL},
            curves=[replace(point, phase=point.phase + EVIL) for point in run.curves],
            ledger=[replace(row, phase=row.phase + EVIL) for row in run.ledger],
            routing=run.routing and replace(run.routing, matrices=[name + EVIL for name in run.routing.matrices]),
        )
        for run in made.runs
    ]
    lists = {name: replace(each, ids=[f"{task} {EVIL}" for task in each.ids]) for name, each in made.lists.items()}
    failed = [FailedRun(EVIL, 0, EVIL)]
    made = made.model_copy(
        update={"configurations": configurations, "runs": runs, "lists": lists, "failed": failed, "command": EVIL}
    )
    return made, replace(episodes(made, shape, hostile=EVIL), notes=[EVIL])


def test_nothing_runs_that_is_not_the_pages_own(window, tmp_path):
    open_page(window, tmp_path, "hostile")
    window.run(SEE_ALL)
    window.run(HOVER)
    for collection in ("evaluated", "demonstrations"):
        assert EVIL in "".join(window.run(CHOOSE, "collection", collection)).replace("\n", "\u2028")
        window.run("document.getElementById('next').click(); await new Promise((done) => setTimeout(done, 100))")
        for part in ("observation", "action", "completion"):
            assert EVIL in window.run("return document.querySelector(given[0]).textContent", f"#columns .{part}")
    assert window.run("return window.hit ?? null") is None
    assert window.run("return document.querySelectorAll('img, iframe, object, a[href^=javascript], svg a').length") == 0
    assert window.run("return document.scripts.length") == 7  # plotly's, four of ours, two of data
    assert window.messages() == []


def test_scripts_of_others_are_refused_and_nothing_is_loaded(window, tmp_path):
    open_page(window, tmp_path, "one run")
    window.run(SEE_ALL)
    assert window.run("return performance.getEntriesByType('resource').map((each) => each.name)") == []
    window.run("""
        const script = document.createElement("script");
        script.textContent = "window.hit = 1";
        const image = document.createElement("img");
        image.setAttribute("onerror", "window.hit = 2");
        image.src = "x";
        document.body.append(script, image);
        await new Promise((done) => setTimeout(done, 100));
    """)
    assert window.run("return window.hit ?? null") is None
    assert any("Content Security Policy" in message for message in window.messages())


@pytest.mark.slow
def test_a_large_comparison_stays_small_and_opens_soon(window, tmp_path):
    """Ten seeds of twelve configurations; the words are random, so that they compress no better than real ones."""
    cells = [
        (router, strategy)
        for router in ("prism", "random", "loss")
        for strategy in ("split", "sft", "rl", "sft_then_rl")
    ]
    shape = Shape(cells=cells, seeds=10, tasks=134, demonstrations=1000, layers=30, curve_points=10, steps=50)
    of = comparison(shape)
    file = tmp_path / "page.html"
    file.write_text(page(of, tables_of(of), episodes(of, shape, tasks=24)), encoding="utf-8")
    assert file.stat().st_size < 15e6
    window.show(1280)
    window.open(file)
    times = """
        const of = (kind, name) => performance.getEntriesByName(name, kind)[0].startTime;
        const load = performance.getEntriesByType("navigation")[0].loadEventEnd;
        return [of("paint", "first-contentful-paint"), load, of("mark", "ready")]
    """
    shown, loaded, ready = (milliseconds / 1000 for milliseconds in window.run(times))
    print(f"{file.stat().st_size / 1e6:.1f} MB, shown after {shown:.1f} s, loaded {loaded:.1f} s, plots {ready:.1f} s")
    assert loaded < 2
