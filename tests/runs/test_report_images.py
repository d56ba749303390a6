"""Images on the page of a run: their files and predictions, enlarged by a click or a key; the data; long names."""

import html
import os
import re

import numpy as np
import pytest

from kcnn.reports import write_report
from kcnn.training import evidence
from kcnn.training.run_directory import read_metrics
from tests.runs.browser import needs_chromium, opened
from tests.runs.photos import save_image
from tests.runs.training import train_with as train

NAMES = (
    "a name of a class that has more than sixty characters: cats",
    "a name of a class that has more than sixty characters: dogs",
    "prices in $ & <i>italic< $x_2$",
)
COUNTS = (30, 20, 10)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on three classes of photos that it cannot tell apart, with long and awkward names."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    classes = [*(name for name in NAMES[:2]), NAMES[2].replace("/", "-")]
    for name, count in zip(classes, COUNTS, strict=True):
        for number in range(count):
            file = "caf\udce9.png" if number == 0 else f"DSC {number}.png"
            save_image(root / "data" / name / "x.png", tuple(random.integers(0, 256, 3).tolist()), (20, 16))
            os.replace(root / "data" / name / "x.png", os.fsencode(root / "data" / name) + b"/" + os.fsencode(file))
    train("mlp", str(root / "data"), out=root / "run", epochs=1, input_shape=(16, 20, 3))
    return root / "run"


@pytest.fixture(scope="module")
def page(run):
    return write_report(run)


def test_gather_evidence_draws_test_images_at_random_and_training_images_of_each_class(run):
    held = evidence.read_evidence(run)
    count = len(held.truth)
    assert [one.index for one in held.drawn] == sorted({one.index for one in held.drawn})
    assert len(held.drawn) == min(count, evidence.MAX_DRAWN)
    assert all(one.truth == held.truth[one.index] for one in held.drawn)
    labels = [one.label for one in held.examples]
    assert {label: labels.count(label) for label in labels} == {0: 8, 1: 8, 2: 7}, "7 of the 10 are for training"


def test_write_report_counts_the_images_of_each_class_and_split(run, page):
    text, images = page.read_text(), read_metrics(run)["images"]
    section = text[text.index('id="h-data"') : text.index('id="h-network"')]
    rows = [list(map(int, re.findall(r'<td class="number">(\d+)</td>', row))) for row in section.split("<tr>")[2:]]
    assert [sum(row) for row in rows] == [*COUNTS, sum(COUNTS)]
    assert rows[-1] == [images[name] for name in ("train", "validation", "test")]
    assert html.escape(NAMES[2]) in section


def test_write_report_names_the_file_of_each_image(run, page):
    text = page.read_text()
    predictions = (run / "predictions.csv").read_bytes().decode(errors="surrogateescape")
    files = {html.unescape(name) for name in re.findall(r'data-file="([^"]*)"', text)}
    assert len(files) > 20
    for name in files:
        assert any(name.startswith(f"{one}/") for one in NAMES), name
    lines = predictions.splitlines()[1:]
    for one in evidence.read_evidence(run).drawn:
        file = lines[one.index].split(",")[0].strip('"').replace("\\udce9", "\\xe9")
        assert file in files


def test_write_report_has_contents_that_lead_to_each_heading(page):
    text = page.read_text()
    (contents,) = re.findall(r'<nav aria-label="Contents">(.*?)</nav>', text)
    links = re.findall(r'<a href="#(.*?)">(.*?)</a>', contents)
    assert links == re.findall(r'<h2 id="(h-.*?)">(.*?)</h2>', text)
    assert {"Training", "Confusion matrix", "Sample predictions", "Data", "Reproduce"} <= {name for _, name in links}


def test_write_report_reads_evidence_of_older_versions_without_random_images(run, tmp_path):
    with np.load(run / evidence.FILE) as arrays:
        old = {name: arrays[name] for name in arrays if not name.startswith(("drawn_", "example"))}
    np.savez(tmp_path / evidence.FILE, **old)
    held = evidence.read_evidence(tmp_path)
    assert (len(held.drawn), len(held.examples)) == (0, 0)
    assert len(held.samples) > 0


@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_write_report_page_enlarges_images_by_mouse_and_keys(page, width, scheme):
    with opened(page, width, scheme) as tab:
        thumbs = tab.locator("#h-samples ~ ul .thumb")
        files = [thumbs.nth(n).get_attribute("data-file") for n in range(3)]
        dialog = tab.locator("dialog")
        assert not dialog.is_visible()
        thumbs.nth(0).click()
        assert dialog.locator("h2").text_content() == files[0]
        assert dialog.locator("p").text_content().startswith("predicted ")
        assert dialog.locator("img").bounding_box()["width"] > 250
        tab.keyboard.press("ArrowRight")
        assert dialog.locator("h2").text_content() == files[1]
        dialog.get_by_text("Previous").click()
        assert dialog.locator("h2").text_content() == files[0]
        tab.keyboard.press("Escape")
        assert not dialog.is_visible()
        thumbs.nth(2).focus()
        tab.keyboard.press("Enter")
        assert dialog.locator("h2").text_content() == files[2]
        dialog.get_by_text("Close").click()
        assert not dialog.is_visible()
        assert tab.evaluate("document.activeElement.dataset.file") == files[2], "focus returns to the thumbnail"


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_write_report_page_has_no_text_over_another(page, width):
    """Long names are cut with an ellipsis or wrapped: boxes of neighbors do not intersect."""
    overlaps = """() => {
      const groups = [".matrix tr:first-child th", ".matrix th[scope=row]", ".legend li", ".images li",
        ".examples div"];
      const crossing = [];
      for (const group of groups) {
        const boxes = [...document.querySelectorAll(group)].map(one => [one, one.getBoundingClientRect()]);
        boxes.forEach(([one, a], n) => boxes.slice(n + 1).forEach(([other, b]) => {
          if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
            crossing.push([group, one.textContent, other.textContent]);
        }));
        for (const [one] of boxes)
          if (!one.closest(".matrix") && one.scrollWidth > one.clientWidth + 1) crossing.push([group, one.textContent]);
      }
      return crossing;
    }"""
    with opened(page, width, "light") as tab:
        assert tab.evaluate(overlaps) == []
        header = tab.locator(".matrix tr:first-child th b").first
        assert header.bounding_box()["height"] > 3 * header.bounding_box()["width"], "long names of columns are turned"
        assert tab.locator(".matrix tr:first-child th").nth(1).get_attribute("title") == NAMES[0]
