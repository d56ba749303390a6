"""A run ends as one page that stands by itself."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import kcnn
from kcnn import data
from kcnn.plots import figures
from kcnn.reports import charts, compare_runs, run_images, write_experiment_report, write_report
from kcnn.reports.pages import needs_keras
from kcnn.statistics import wilson_interval
from kcnn.training import evidence, run_directory
from tests.paper.test_words import phrases_in_page
from tests.runs.browser import needs_chromium, opened
from tests.runs.training import train_with as train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train("convnet", "digits", out=folder, epochs=2)
    return folder


@pytest.fixture(scope="module")
def page(run):
    return write_report(run)


def test_read_evidence_returns_the_predictions_that_the_metrics_count(run):
    held, metrics = evidence.read_evidence(run), run_directory.read_metrics(run)
    assert held.logits.shape == (metrics["test_images"], 10)
    assert int((held.logits.argmax(-1) == held.truth).sum()) == metrics["correct"]
    for one in held.samples:
        assert one.truth == held.truth[one.index]
        assert one.predicted == held.logits[one.index].argmax()
        assert one.correct == (one.truth == one.predicted)
        assert one.jpeg.startswith(b"\xff\xd8")
    wrong = [one for one in held.samples if not one.correct]
    assert len(wrong) == metrics["test_images"] - metrics["correct"], "there are few, and all are shown"
    assert len(held.mistakes) == min(evidence.MAX_MISTAKES, len(wrong))


def test_read_evidence_samples_show_the_image_at_their_index(run):
    import io

    from PIL import Image

    held = evidence.read_evidence(run)
    pixels = np.concatenate([np.asarray(images) for images, _ in data.load("digits", input_shape=(28, 28, 1)).test])
    for one in held.samples[:5]:
        small = np.asarray(Image.open(io.BytesIO(one.jpeg)).resize((28, 28)), "float32")
        assert np.corrcoef(small.ravel(), pixels[one.index].ravel())[0, 1] > 0.95


def test_write_report_uses_no_retired_word(run, page, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(run, tmp_path / name)
    comparison = compare_runs([tmp_path / "a", tmp_path / "b"])
    for text in (page.read_text(), write_report(tmp_path).read_text(), comparison._repr_html_()):
        assert list(phrases_in_page(text)) == []


def test_write_report_writes_one_file_that_requests_nothing(page):
    text = page.read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text.replace('xlink:href="#', ""))
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text).replace("http://www.w3.org", "")
    assert len(text) < 5_000_000
    for words in ("convnet on digits", "Confusion matrix", "Expected calibration error", "Reproduce"):
        assert words in text
    for tag in re.findall(r"<img[^>]*>", text):
        assert 'alt="' in tag
    assert text.count('role="img"') >= 5


def test_write_report_shows_the_metrics_of_the_run(run, page):
    metrics, text = run_directory.read_metrics(run), page.read_text()
    assert f"{100 * metrics['accuracy']:.2f}%" in text
    assert metrics["request"]["fingerprint"] in text
    assert f"best: {metrics['best_epoch']}" in text
    for name, row in metrics["per_class"].items():
        assert re.search(rf'<th scope="row">{name}</th>.*{100 * row["recall"]:.2f}%', text, re.DOTALL)


def test_write_report_keeps_grad_cam_and_needs_no_keras_again(run, page, tmp_path):
    assert not needs_keras(run)
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    code = f"""
import sys
from kcnn.reports import write_report
print(write_report({str(folder)!r}, {str(tmp_path / "again.html")!r}))
assert not {{"keras", "tensorflow"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "again.html").read_text() == page.read_text()


@pytest.mark.parametrize("damage", ["missing", "truncated", "of another model"])
def test_write_report_computes_grad_cam_again_unless_it_is_of_this_model(run, page, damage, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    maps, model = folder / run_images.GRAD_CAM, folder / "model.keras"
    if damage == "missing":
        maps.unlink()
    elif damage == "truncated":
        maps.write_bytes(maps.read_bytes()[:-40])
    else:
        other = kcnn.load_model(model)
        other.set_weights([-array for array in other.get_weights()])
        other.save(model)
    assert needs_keras(folder)
    assert (write_report(folder).read_text() == page.read_text()) == (damage != "of another model")
    assert not needs_keras(folder)


def test_render_calibration_computes_the_expected_calibration_error(run):
    sure = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    _, error = charts.render_calibration(sure, right)
    assert error == pytest.approx(4 / 6 * abs(0.75 - 0.95) + 2 / 6 * abs(0.5 - 0.55))


def test_write_report_of_a_multi_label_run_has_average_precision_and_no_confusion_matrix(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3)).astype("uint8")
    labels = np.stack([pixels[:, :8].mean((1, 2, 3)) > 127, pixels[:, 8:].mean((1, 2, 3)) > 127], axis=1).astype(
        "int64"
    )
    train("convnet", (pixels, labels), out=tmp_path, epochs=1, multi_label=True, input_shape=(16, 16, 3))
    text = write_report(tmp_path).read_text()
    assert "average precision" in text
    assert "Confusion matrix" not in text
    held = evidence.read_evidence(tmp_path)
    captions = re.findall(r"<span>(predicted .*?)</span>", text)
    assert len(captions) == min(evidence.MAX_MISTAKES, sum(not one.correct for one in held.samples)) > 0
    first, second = run_directory.read_metrics(tmp_path)["per_class"]
    names = rf"(no label|{first}|{second}|{first}, {second})"
    assert all(re.fullmatch(rf"predicted {names}; true {names}", one) for one in captions)
    assert all(one.split("; true ")[0] != f"predicted {one.split('; true ')[1]}" for one in captions)
    lead = re.search(r'<p class="lead">(.*?)</p>', text, re.DOTALL)[1]
    assert re.search(r"Mean average precision \d+\.\d\d%\.\s+[\d,]+ parameters", lead)


def test_write_report_refuses_a_folder_without_a_run_and_a_damaged_file(tmp_path, run):
    with pytest.raises(FileNotFoundError, match="holds no finished run"):
        write_report(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no finished run"):
        compare_runs([run, run / run_directory.METRICS])
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / evidence.FILE).write_bytes((copy / evidence.FILE).read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"test.npz is damaged"):
        write_report(copy)
    (copy / evidence.FILE).unlink()
    assert "Confusion matrix" in write_report(copy).read_text(), "an older run has a page without pictures"


@pytest.mark.parametrize("text", ["null", "[]", '{"request": {}}'])
def test_write_report_refuses_metrics_of_another_program_by_file_name(run, tmp_path, text):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / run_directory.METRICS).write_text(text)
    for said in (lambda: write_report(copy), lambda: write_report(tmp_path), lambda: compare_runs([run, copy])):
        with pytest.raises(ValueError, match=r"metrics\.json was not written by a training run"):
            said()


def test_write_report_of_several_runs_shows_a_damaged_one_with_its_problem(run, tmp_path):
    for name in ("a", "b", "c", "d"):
        shutil.copytree(run, tmp_path / name)
    config = tmp_path / "a" / run_directory.CONFIG
    config.write_text(config.read_text().replace('"batch_size": ', '"batch_size": 1'))
    (tmp_path / "b" / run_directory.METRICS).write_text("{")
    metrics = json.loads((tmp_path / "c" / run_directory.METRICS).read_text())
    (tmp_path / "c" / run_directory.METRICS).write_text(json.dumps({**metrics, "correct": None}))
    text = write_report(tmp_path).read_text()
    assert "The 4 runs" in text
    assert "a/config.json was changed after kcnn wrote it" in text
    assert "b/metrics.json is damaged" in text
    assert "c/metrics.json was not written by a training run, or is damaged: correct is None" in text
    assert "95% interval" in write_experiment_report(tmp_path, "Is it better? A test.").read_text()


def test_write_report_refuses_a_run_without_its_history(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / run_directory.HISTORY).unlink()
    with pytest.raises(ValueError, match=r"history\.csv has 0 of \d+ epochs; restore it"):
        write_report(copy)


@pytest.mark.parametrize("text", ["[1]", '{"text": 5, "command": "", "versions": {}}', '{"text": "A?"}', "{}"])
def test_write_report_refuses_a_damaged_experiment_json_by_name(tmp_path, text):
    (tmp_path / "experiment.json").write_text(text)
    with pytest.raises(ValueError, match=r"experiment\.json is damaged"):
        write_report(tmp_path)


def test_write_report_refuses_a_damaged_figure_of_an_experiment_by_name(tmp_path):
    from matplotlib.figure import Figure

    (tmp_path / "experiment.json").write_text('{"text": "A?", "command": "", "versions": {}}')
    figures.save_figure(Figure(), tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    for some in (b"", b"hello", whole[:20], whole[: len(whole) // 2]):
        (tmp_path / "whole.png").write_bytes(some)
        with pytest.raises(ValueError, match=r"whole\.png is damaged"):
            write_report(tmp_path)


def test_write_report_refuses_a_folder_as_its_output_file(run, tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        write_report(run, tmp_path)


def test_write_report_of_several_runs_quotes_folder_names_in_links(run, tmp_path):
    (shutil.copytree(run, tmp_path / "rate 100%#2") / "report.html").touch()
    assert 'href="rate%20100%25%232/report.html"' in write_report(tmp_path).read_text()


def test_write_report_without_a_confusion_matrix_leaves_its_images_out(run, page, tmp_path, monkeypatch):
    monkeypatch.setattr("kcnn.reports.pages.MAX_CLASSES", 9)
    without = write_report(run, tmp_path / "page.html").read_text()
    assert "Confusion matrix" not in without
    assert "const samples = []," in without
    assert "const samples = []," not in page.read_text()
    assert len(without) < len(page.read_text())
    assert "Most frequent confusions" in without
    assert "Most confident errors" in without


def test_write_experiment_report_shows_text_figures_numbers_and_runs(run, tmp_path):
    from matplotlib.figure import Figure

    for seed in range(2):
        shutil.copytree(run, tmp_path / f"seed-{seed}" / "way-0")
    figure = Figure()
    figure.subplots().set(xlabel="depth <of layers>", ylabel="accuracy")
    figures.save_figure(figure, tmp_path / "depth.png")
    (tmp_path / "depth.json").write_text(
        '{"ways": {"deep": {"accuracy": [0.5, 0.625], "against": {"points": -1.23456}}}, "layers": [[1, 2], [3, 4]]}'
    )
    doc = """Is deeper better? Two depths, two seeds.

        python recipes/depth.py

    Measured: 12.34%.
    """
    page = write_experiment_report(tmp_path, doc)
    text = page.read_text()
    assert "<h1>Is deeper better?</h1>" in text
    assert "Two depths, two seeds." in text
    assert 'alt="accuracy over depth &lt;of layers&gt;"' in text
    assert re.search(r'<th scope="row">deep</th><td class="number">0.5  0.625</td><td class="number">-1.235</td>', text)
    assert "Measured: 12.34%." in text
    assert run_directory.command_line() in text.replace("&#39;", "'").replace("&#34;", '"')
    for seed in range(2):
        assert f"seed-{seed}/way-0" in text
    low, high = wilson_interval(
        run_directory.read_metrics(run)["correct"], run_directory.read_metrics(run)["test_images"]
    )
    assert text.count(f"{100 * low:.2f}% to {100 * high:.2f}%") >= 2
    assert not re.findall(r'(?:src|href)="(?!data:|seed-|#)', text), "links lead to the runs alone"
    page.unlink()
    assert write_report(tmp_path).read_text() == text, "the folder knows what it is of"
    (tmp_path / "depth.json").write_text("{")
    with pytest.raises(ValueError, match=r"depth.json is damaged"):
        write_report(tmp_path)


def test_write_report_of_an_experiment_shows_nested_records_as_tables(tmp_path):
    (tmp_path / "experiment.json").write_text('{"text": "A?", "command": "", "versions": {}}')
    told = {
        "networks": {"plain20": {"error": [0.5, 0.25]}, "plain56": {"error": [0.125, 0.75]}},
        "differences": {"training error": [{"claim": "deeper is worse", "said": "shown"}], "test error": [{"low": 3}]},
        "gradients": {"plain20": {"first": {"power": 1}}, "plain56": {"first": {"power": 2}}},
    }
    (tmp_path / "numbers.json").write_text(json.dumps(told))
    text = write_report(tmp_path).read_text()
    titles = ["Networks", "Differences, training error", "Differences, test error", "Gradients"]
    assert re.findall("<h2>(.*?)</h2>", text) == titles
    assert "deeper is worse" in text
    assert re.search(r'<th scope="row">plain56</th><td class="number">0.125  0.75</td>', text)
    assert re.search(r'<th scope="row">plain56</th><td class="number">2</td>', text)


def test_write_report_of_a_folder_of_runs_links_to_their_reports(run, page, tmp_path):
    shutil.copytree(run, tmp_path / "one")
    text = write_report(tmp_path).read_text()
    assert 'href="one/report.html"' in text
    assert "convnet" in text


@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (720, "light"), (390, "dark")])
def test_write_report_page_opens_without_errors_and_a_cell_shows_its_images(run, page, width, scheme):
    wrong = next(one for one in evidence.read_evidence(run).samples if not one.correct)
    with opened(page, width, scheme) as tab:
        cell = tab.locator(f'button[data-truth="{wrong.truth}"][data-predicted="{wrong.predicted}"]')
        cell.focus()
        tab.keyboard.press("Enter")
        count = int(cell.locator("b").text_content())
        assert tab.locator("#gallery img").count() == count
        assert cell.get_attribute("aria-pressed") == "true"
        covered = """() => { const nav = document.querySelector("nav").getBoundingClientRect().height;
            return [...document.querySelectorAll("nav a")].filter(link => nav >
                parseFloat(getComputedStyle(document.querySelector(link.hash)).scrollMarginTop)).length; }"""
        assert tab.evaluate(covered) == 0, "a heading that is jumped to is hidden behind the links"
        shift = """() => { const box = document.querySelector(".matrix").parentElement; box.scrollLeft = 100;
            const label = box.querySelector("th[scope=row]");
            return label.getBoundingClientRect().left - box.getBoundingClientRect().left; }"""
        assert tab.evaluate(shift) == 0, "labels of rows stay in sight"


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """The page of a network that has blocks."""
    few = data.load("digits", input_shape=(16, 16, 1)).subset(train=100)
    folder = tmp_path_factory.mktemp("blocks")
    train("resnet20", few, out=folder, epochs=1, options={"units": 1})
    return write_report(folder)


@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_write_report_page_opens_blocks_and_recolors_boxes(blocks, width, scheme):
    with opened(blocks, width, scheme) as tab:
        block = tab.locator("details", has=tab.locator('g[data-layers~="stage2_unit1_a"][tabindex]'))
        layer, told = block.locator('g[data-layers~="stage2_unit1_a"][tabindex]'), tab.locator("output")
        assert not layer.is_visible()
        block.locator("summary").focus()
        tab.keyboard.press("Enter")
        assert layer.is_visible()
        assert "stage2_unit1: " in told.text_content()
        tab.keyboard.press("Tab")
        assert "stage2_unit1" in told.text_content()
        tab.locator('g[data-layers~="stem"]').first.hover()
        for words in ("stem: Conv 16", "output 16×16×16", "receptive field 3×3"):
            assert words in told.text_content()
        layer.focus()
        assert "stage2_unit1_a: Conv 32, kernel 3, stride 2" in told.text_content()

        def fills():
            found = "all => all.map(one => getComputedStyle(one).fill)"
            return tab.eval_on_selector_all(".kcnn-folding g[data-layers] > rect", found)

        by_macs = fills()
        tab.locator('input[value="macs"]').focus()
        tab.keyboard.press("ArrowRight")
        by_params = fills()
        assert len(set(by_macs)) > 2
        assert len(set(by_params)) > 2
        assert set(by_macs) & set(by_params) <= {by_macs[0]}, "what costs nothing alone stays as it was"
        assert tab.locator(".scale-params").is_visible()
        assert not tab.locator(".scale-macs").is_visible()
        every = tab.locator(".kcnn-folding fieldset button")
        every.click()
        assert tab.locator("details:not([open])", has=tab.locator("summary svg")).count() == 0
        assert every.text_content() == "Close all blocks"


def test_write_report_plots_the_network(page):
    layers = {row.name for row in kcnn.summary("convnet")}
    assert {"conv1", "conv2"} & layers
    assert "conv1" in page.read_text()
