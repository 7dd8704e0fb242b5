"""The page in a real browser, offline: filters filter, keys move, hostile answers do nothing, nothing is complained of.

Chromium is not installed by the tests: without one on the machine they are skipped.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from answer_pages import four_models, write_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt-get install chromium)"),
    pytest.mark.xdist_group("browser"),
]
sync_api = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("page"), four_models())


@pytest.fixture
def opened(browser, written: Path) -> Iterator[object]:
    """The page when its script is ready; at the end nothing was asked of the network, and no error said."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    page = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append("a dialog"))
    page.on("request", lambda request: asked.append(request.url))
    ready(page, written)
    yield page
    context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def ready(page, path: Path, fragment: str = "") -> None:
    page.goto(path.as_uri() + fragment)
    page.wait_for_selector("html[data-ready]", state="attached")


def counted(page) -> int:
    page.wait_for_timeout(200)  # typing is waited for
    return int(re.match(r"[\d,]+", page.inner_text("#count"))[0].replace(",", ""))


def test_filters_filter(opened) -> None:
    assert counted(opened) == 120  # the bad model's
    opened.select_option("[name=model]", "")
    assert counted(opened) == 480
    opened.select_option("[name=category]", "money")
    assert counted(opened) == 160
    opened.select_option("[name=question]", "q3")
    assert counted(opened) == 40
    opened.click("#clear")
    for name, value, expected in (("kind", "cut", 48), ("kind", "unscored", 12), ("format", "json", 120)):
        opened.select_option(f"[name={name}]", value)
        assert counted(opened) == expected, name
        opened.click("#clear")
    opened.fill("[name=search]", "GOOD 17:")
    assert counted(opened) == 1
    assert "good 17:" in opened.inner_text("#reader [aria-current]")
    opened.fill("[name=search]", "")
    opened.fill("[name=high]", "30")
    below = counted(opened)
    opened.fill("[name=low]", "10")
    assert 0 < counted(opened) < below < 480
    opened.fill("[name=search]", "no answer has these words")
    assert counted(opened) == 0 and "clear a filter" in opened.inner_text("#reader")


def test_sorting_puts_the_most_moved_first_and_unscored_last(opened) -> None:
    opened.select_option("[name=order]", "lowest")
    opened.wait_for_timeout(200)
    scores = [
        float(re.search(r"aligned (\d+)", text)[1]) for text in opened.locator(".option .scores").all_inner_texts()
    ]
    assert scores == sorted(scores) and len(scores) > 5
    opened.focus("#list")
    opened.keyboard.press("End")
    assert "not scored" in opened.inner_text("#reader [aria-current]")


def test_keys_and_buttons_move_and_the_reader_follows(opened) -> None:
    opened.focus("#list")
    first = opened.inner_text("#reader")
    opened.keyboard.press("ArrowDown")
    second = opened.inner_text("#reader")
    assert second != first
    assert opened.get_attribute("#list", "aria-activedescendant") == "option-1"
    assert opened.get_attribute("#option-1", "aria-selected") == "true"
    opened.click("#previous")
    assert opened.inner_text("#reader") == first
    opened.click("#next")
    assert opened.inner_text("#reader") == second
    opened.keyboard.press("PageDown")
    opened.focus("#list")
    opened.keyboard.press("End")
    assert opened.get_attribute("#list", "aria-activedescendant") == "option-119"
    assert opened.locator("#option-119").is_visible()


def test_all_models_stand_side_by_side_on_one_question(opened) -> None:
    assert opened.locator("#reader .card").count() == 4
    assert opened.locator("#reader .card[aria-current]").count() == 1
    assert "model bad" in opened.inner_text("#reader [aria-current]")


def test_a_link_opens_one_answer_whatever_the_filters(opened, written: Path) -> None:
    opened.goto("about:blank")
    ready(opened, written, "#answer=77")
    assert "base 77:" in opened.inner_text("#reader [aria-current]")
    opened.keyboard.press("ArrowDown")
    opened.evaluate("location.hash = 'answer=201'")
    opened.wait_for_timeout(100)
    assert "own 81:" in opened.inner_text("#reader [aria-current]")


def test_a_question_and_a_point_open_their_answers(opened) -> None:
    opened.click("a[data-question=q5]")
    assert counted(opened) == 40
    canvas = opened.locator("#plane canvas").first
    assert opened.locator("#plane canvas").count() == 4
    box = canvas.bounding_box()
    aligned, coherent = opened.evaluate(
        "unpack('rows').then((data) => [data.scores.aligned[20], data.scores.coherent[20]])"
    )
    x = 30 + (box["width"] - 44) * aligned / 100
    y = 6 + (box["height"] - 36) * (100 - coherent) / 100
    canvas.click(position={"x": x, "y": y})
    assert opened.evaluate("location.hash").startswith("#answer=")
    assert "model base" in opened.inner_text("#reader [aria-current]")


def test_hostile_answers_are_text(opened) -> None:
    opened.select_option("[name=question]", "q0")
    assert counted(opened) == 10
    opened.focus("#list")
    opened.keyboard.press("Home")
    seen = ""
    for _ in range(10):
        seen += opened.inner_text("#reader [aria-current] .answer")
        opened.keyboard.press("ArrowDown")
    assert "<script>document.title = 'ran'</script>" in seen and "{{ 7 * 7 }}" in seen and "shortened here" in seen
    assert "\u202e" not in seen and "\x1b" not in seen
    assert opened.title().startswith("A study <b>of</b>")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 1200


@pytest.mark.parametrize("width", [1200, 390])
def test_nothing_hangs_over_the_side(browser, written: Path, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, offline=True, color_scheme="dark")
    page = context.new_page()
    ready(page, written)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", background))) < 60  # dark
    context.close()


def test_without_the_script_the_most_moved_answers_are_there(browser, written: Path) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(written.as_uri())
    assert page.locator(".unscripted .ask").count() == 8
    assert not page.locator("#filters").is_visible()
    assert page.locator(".questions tbody tr").count() == 12
    context.close()


def test_a_hundred_thousand_answers_open_and_scroll(browser, tmp_path: Path) -> None:
    path = write_page(tmp_path, four_models(questions=100, samples=250))
    assert path.stat().st_size < 20_000_000
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    page = context.new_page()
    ready(page, path)
    page.select_option("[name=model]", "")
    assert counted(page) == 100_000
    page.focus("#list")
    page.keyboard.press("End")
    assert page.locator("#option-99999").is_visible()
    assert page.locator(".option").count() < 40
    page.fill("[name=search]", "good 24999:")
    page.wait_for_selector("#count:text('1 of 100,000')")
    context.close()
