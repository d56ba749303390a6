"""The documentation as a site: it builds without a warning, its reference is complete, and its search finds pages."""

import json
import math
import os
import re
import subprocess
import sys
from importlib import import_module
from inspect import isclass, isroutine
from pathlib import Path
from urllib.parse import unquote

import pytest

import kcnn
from tests.runs.browser import needs_chromium, opened

pytest.importorskip("mkdocs", reason='the site is built by MkDocs: pip install "kcnn[docs]"')
ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = [path.stem for path in sorted(REFERENCE.glob("*.md")) if path.stem != "index"]
SUBPACKAGES = {
    "run_directory": "kcnn.training.run_directory",
    "space": "kcnn.search.space",
    "ops": "kcnn.graph.ops",
    "figures": "kcnn.plots.figures",
    "kcnn": "kcnn",
}
DOCUMENTED = {"kcnn.training.run_directory": {"RunSummary", "list_runs", "read_config", "read_history", "read_metrics"}}
INTERNAL = {
    "__main__",
    "cli",
    "atomic_io",
    "buffer_pool",
    "building",
    "cache",
    "parallel",
    "resampling",
    "run_folders",
}  # `kcnn --help`; kcnn.build is on the page of kcnn
TERMS = {
    "pretrained weights": "guides/pretrained-weights",
    "transfer learning": "guides/transfer-learning",
    "fine-tuning": "guides/transfer-learning",
    "early stopping": "guides/optimizers",
    "learning rate schedule": "guides/optimizers",
    "data augmentation": "guides/data-augmentation",
    "mixed precision": "guides/mixed-precision",
    "class imbalance": "guides/class-imbalance",
    "confusion matrix": "guides/evaluate",
    "Grad-CAM": "guides/explain",
    "receptive field": "guides/change-networks guides/explain",
    "batch normalization folding": "guides/export",
    "quantization": "guides/export",
    "TFLite": "guides/export",
    "ONNX": "guides/export",
    "hyperparameter search": "guides/hyperparameter-search",
    "keras-tuner": "guides/hyperparameter-search",
    "multi-GPU": "guides/multi-gpu",
    "Slurm": "guides/multi-gpu",
    "checkpoint": "guides/checkpoints",
    "resume": "guides/checkpoints",
    "plugin": "plugins",
    "entry point": "plugins",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def public_names(name):
    """Functions and classes that a module exports, or defines where it exports none."""
    module = import_module(name)
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    ]
    values = {name: getattr(module, name) for name in names if name[0] != "_"}
    own = {name for name, value in values.items() if isclass(value) or isroutine(value)}
    own = {name for name in own if values[name].__module__.startswith("kcnn")}
    return own & DOCUMENTED.get(name, own)


@pytest.mark.parametrize("page", PAGES)
def test_site_reference_has_every_public_name(site, page):
    html = (site / "reference" / f"{page}.html").read_text()
    documented = {name.rpartition(".")[2] for name in re.findall(r'id="(kcnn\.[\w.]+)"', html)}
    modules = re.findall(r"^::: (kcnn[\w.]*)$", (REFERENCE / f"{page}.md").read_text(), re.MULTILINE)
    public = {name for module in modules for name in public_names(module)}
    assert public
    assert public - documented == set()


@pytest.mark.parametrize("page", PAGES)
def test_site_reference_page_documents_its_package(page):
    assert SUBPACKAGES.get(page, f"kcnn.{page}") in (REFERENCE / f"{page}.md").read_text()


def test_site_reference_has_a_page_for_every_package():
    rooms = {path.name for path in Path(kcnn.__file__).parent.iterdir() if (path / "__init__.py").exists()}
    modules = {path.stem for path in Path(kcnn.__file__).parent.glob("*.py")} - {"__init__"}
    assert (rooms | modules) - INTERNAL <= set(PAGES)


def test_site_contains_the_plots_of_networks(site):
    assert "inception_3a" in (site / "plots" / "googlenet.svg").read_text()


def test_site_requests_nothing_from_the_network(site):
    request = re.compile(r'(?:<script[^>]*src|<link[^>]*rel="stylesheet"[^>]*href|<img[^>]*src)="(?:https?:)?//')
    assert [page.name for page in site.rglob("*.html") if request.search(page.read_text())] == []


def test_site_links_lead_to_files_of_the_site(site):
    broken = []
    for page in site.rglob("*.html"):
        for link in re.findall(r'<a [^>]*href="([^"#?]+)', page.read_text()):
            if not re.match(r"[a-z]+:", link) and page.name != "404.html":
                target = (page.parent / unquote(link)).resolve()
                if not target.exists() or not target.is_relative_to(site.resolve()):
                    broken.append((page.name, link))
    assert broken == []


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_site_shows_complete_tables_and_legible_links(site, scheme):
    with opened(site / "catalogue.html", 1280, scheme) as tab:
        wide = "boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).length"
        assert tab.eval_on_selector_all(".md-typeset__scrollwrap", wide) == 0
    with opened(site / "index.html", 1280, scheme) as tab:
        assert tab.eval_on_selector_all(".language-sh pre code, .language-python pre code", wide) == 0
        color, background = (
            [
                int(n)
                for n in re.findall(r"\d+", tab.evaluate(f"getComputedStyle(document.querySelector({where!r})).{what}"))
            ]
            for where, what in ((".md-content p a, .md-content li a", "color"), ("body", "backgroundColor"))
        )
        assert contrast(color[:3], background[:3]) >= 4.5


def contrast(*colors):
    """The contrast ratio of two colors (WCAG 2.2)."""
    linear = [
        [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (n / 255 for n in color)]
        for color in colors
    ]
    dark, light = sorted(0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in linear)
    return (light + 0.05) / (dark + 0.05)


def tokens(text):
    words = re.findall(r"[a-z0-9]+", re.sub(r"<[^>]*>", " ", text).lower())
    return [re.sub(r"(?<=\w{4})(s|ing|ed|e)$", "", word) for word in words]


def search(sections, query):
    """Pages, best first: BM25 of their sections."""
    mean = sum(len(words) for _, words in sections) / len(sections)
    scores: dict[str, float] = {}
    for location, words in sections:
        score = 0.0
        for term in tokens(query):
            count = words.count(term)
            if not count:
                continue
            documents = sum(term in other for _, other in sections)
            weight = math.log(1 + (len(sections) - documents + 0.5) / (documents + 0.5))
            score += weight * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(words) / mean))
        scores[location] = max(scores.get(location, 0.0), score)
    return sorted(scores, key=lambda location: -scores[location])


@pytest.fixture(scope="module")
def index(site):
    return json.loads((site / "search" / "search_index.json").read_text())["docs"]


@pytest.fixture(scope="module")
def sections(index):
    """The page and the words of each section, in which a word of a title weighs as much as ten of the text."""
    return [(doc["location"].partition("#")[0], tokens(doc["title"]) * 10 + tokens(doc["text"])) for doc in index]


@pytest.mark.parametrize("term", TERMS)
def test_site_search_index_ranks_a_fitting_page_among_the_first_three(sections, term):
    found = [location.removesuffix(".html") for location in search(sections, term)[:3]]
    assert set(found) & set(TERMS[term].split()), found


def test_site_search_index_is_a_script_for_pages_opened_from_a_disk(site):
    assert (site / "search" / "search_index.js").read_text().startswith("var __index = {")
    page = (site / "index.html").read_text()
    assert 'src="iframe-worker.js"' in page
    assert "unpkg" not in page


@needs_chromium
@pytest.mark.parametrize("page", ["guides/train", "guides/transfer-learning", "catalogue"])
def test_site_breaks_no_word_of_a_table_on_a_phone(site, page):
    broken = """() => [...document.querySelectorAll(".md-typeset table:not([class]) td")].flatMap(cell => {
        const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), words = [];
        while (texts.nextNode())
            for (const word of texts.currentNode.data.matchAll(/[A-Za-z]+/g)) {
                const range = document.createRange();
                range.setStart(texts.currentNode, word.index);
                range.setEnd(texts.currentNode, word.index + word[0].length);
                const lines = new Set([...range.getClientRects()].map(box => Math.round(box.top)));
                if (lines.size > 1) words.push(word[0]);
            }
        return words;
    })"""
    with opened(site / f"{page}.html", 390, "light") as tab:
        assert tab.evaluate(broken) == []


@needs_chromium
def test_site_search_box_shows_a_fitting_page_from_a_disk(site):
    missed = {}
    with opened(site / "index.html", 1280, "light") as tab:
        for term, pages in TERMS.items():
            type_into_search_box(tab, "")
            tab.wait_for_function(f"document.querySelectorAll({HITS!r}).length === 0")
            type_into_search_box(tab, term)
            tab.wait_for_selector(HITS, timeout=10_000)
            links = tab.eval_on_selector_all(HITS, "links => links.map(link => new URL(link.href).pathname)")
            found = [str(Path(link).relative_to(site.resolve()).with_suffix("")) for link in links[:3]]
            if not set(found) & set(pages.split()):
                missed[term] = found
    assert missed == {}


HITS = ".md-search-result__item > a:first-child"


def type_into_search_box(tab, text):
    box = "input.md-search__input"
    tab.fill(box, text)
    tab.press(box, "End")  # the page searches when a key is released
