"""The model card of a publication: README.md, with front matter as the Hugging Face Hub reads it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kcnn.classification import format_mean_precision
from kcnn.graph.formatting import format_count, format_number
from kcnn.statistics import wilson_interval
from kcnn.training.fold_scores import CrossValidation
from kcnn.training.result import describe_failure
from kcnn.weights.hub_files import SCHEME

ROWS = 50  # classes that the table lists


def write_model_card(
    metrics: Mapping[str, Any], metadata: Mapping[str, Any], license: str, timm_name: str | None, address: str
) -> str:
    """Return the model card of a run.

    Args:
        metrics: metrics.json.
        metadata: Of the model.
        license: Of the weights.
        timm_name: timm's name of the network; None where timm does not have it.
        address: What kcnn.build loads the model by.

    Returns:
        Markdown with YAML front matter.
    """
    sections = (
        _front_matter(metrics, license, timm_name),
        _introduce(metrics, metadata, license),
        _list_metrics(metrics),
        _describe_data(metrics),
        _describe_use(metrics, metadata),
        _explain_loading(metadata, timm_name, address),
        *([_explain_labels()] if metadata.get("multi_label") else []),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _front_matter(metrics: Mapping[str, Any], license: str, timm_name: str | None) -> Iterator[str]:
    """YAML, each value as JSON, which YAML includes."""
    request = metrics["request"]
    measured = list(_make_results(metrics))
    dataset = {"name": request["data"], "type": request["data"], "split": "test"}
    results = {"task": {"type": "image-classification"}, "dataset": dataset, "metrics": measured}
    fields = {
        "license": license,
        "library_name": "timm" if timm_name else "kcnn",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "kcnn", "keras", *(["timm"] if timm_name else [])],
        "metrics": [result["type"] for result in measured],
        "model-index": [{"name": request["spec"]["network"], "results": [results]}],
    }
    yield "---"
    for name, value in fields.items():
        yield f"{name}: {json.dumps(value, ensure_ascii=False)}"
    yield "---"


def _make_results(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    name = "accuracy"
    if "mean_average_precision" in metrics:
        name = "subset accuracy"
        if metrics["mean_average_precision"] is not None:
            yield {"type": "mean_average_precision", "value": metrics["mean_average_precision"]}
    low, high = wilson_interval(metrics["correct"], metrics["test_images"])
    interval = {"interval_95": [low, high], "images": metrics["test_images"]}
    yield {"type": "accuracy", "name": name, "value": metrics["accuracy"], "args": interval}


def _introduce(metrics: Mapping[str, Any], metadata: Mapping[str, Any], license: str) -> Iterator[str]:
    request = metrics["request"]
    rows, columns, channels = metadata["input_shape"]
    size = f"{rows}x{columns} pixels and {channels} channel{'s' if channels > 1 else ''}"
    yield f"# {request['spec']['network']} trained on {_escape(request['data'])}"
    yield ""
    yield (
        f"An image classifier with {metrics['params']:,} parameters and {format_count(metrics['macs'])} multiply-"
        f"accumulates per image of {size}, trained with kcnn {metadata['kcnn']} "
        f"(recipe {request['config']['recipe_name']}, seed {request['config']['seed']}, "
        f"{format_number(metrics['epochs'], 'epoch')}, the weights of epoch {metrics['best_epoch']})."
    )
    yield ""
    yield f"License of the weights: {license}."
    if start := metadata.get("weights"):
        facts = [start[name] for name in ("name", "source", "url", "file") if start.get(name)]
        origin = ", ".join([*facts, f"license: {start.get('license', 'unknown')}"])
        yield f"The training started from pretrained weights: {_escape(origin)}."


def _list_metrics(metrics: Mapping[str, Any]) -> Iterator[str]:
    is_multi_label = "mean_average_precision" in metrics
    low, high = wilson_interval(metrics["correct"], metrics["test_images"])
    yield "## Metrics"
    yield ""
    yield f"Measured once, on the {metrics['test_images']} images of the test split, with 95% Wilson intervals."
    yield ""
    yield "| metric | value |"
    yield "|---|---|"
    if is_multi_label:
        yield f"| mean average precision | {format_mean_precision(metrics)} |"
    yield (
        f"| {'subset accuracy' if is_multi_label else 'accuracy'} | {metrics['accuracy']:.2%} "
        f"({low:.2%} to {high:.2%}; {metrics['correct']} of {metrics['test_images']} correct) |"
    )
    yield f"| loss | {metrics['loss']:.4g} |"
    yield ""
    if folds := metrics.get("cross_validation"):
        yield f"Cross-validation before, without the test split: {CrossValidation(**folds)}."
        yield ""
    yield f"| class | test images | precision | recall |{' threshold |' if is_multi_label else ''}"
    yield f"|---|---|---|---|{'---|' if is_multi_label else ''}"
    for name, row in list(metrics["per_class"].items())[:ROWS]:
        threshold = f" {row['threshold']:.4g} |" if is_multi_label else ""
        yield f"| {_escape(name)} | {row['images']} | {_percent(row['precision'])} | {_recall(row)} |{threshold}"
    if (more := len(metrics["per_class"]) - ROWS) > 0:
        yield ""
        yield f"{more} more classes are in config.json."


def _describe_data(metrics: Mapping[str, Any]) -> Iterator[str]:
    splits = ", ".join(f"{count:,} {name}" for name, count in metrics["images"].items())
    yield "## Training data"
    yield ""
    yield f"{_escape(metrics['request']['data'])}: {len(metrics['per_class'])} classes; images: {splits}."
    for warning in metrics["warnings"]:
        yield f"- {_escape(warning)}"


def _describe_use(metrics: Mapping[str, Any], metadata: Mapping[str, Any]) -> Iterator[str]:
    several = "any number of its classes" if metadata.get("multi_label") else "one of its classes"
    rare = [name for name, row in metrics["per_class"].items() if row["images"] < 10]
    yield "## Intended use and limits"
    yield ""
    yield f"- The model assigns {several} to an image like those that it was trained on. It has no class for others."
    yield "- The metrics hold for images from the same source. Measure them again on images of your own source."
    if warning := describe_failure(metrics):
        yield f"- Do not rely on this model: {_escape(warning)}."
    if rare:
        named = ", ".join(map(_escape, rare[:10])) + (", ..." if len(rare) > 10 else "")
        yield f"- The test split has fewer than 10 images of some classes, whose recall is uncertain: {named}."


def _explain_loading(metadata: Mapping[str, Any], timm_name: str | None, address: str) -> Iterator[str]:
    yield "## How to load"
    yield ""
    where = "" if address.startswith(SCHEME) else " from the folder, or from the Hub as `hf://USER/NAME`"
    pixels = "gray" if metadata["input_shape"][2] == 1 else "RGB"
    yield f'With kcnn (`pip install "kcnn[hub]"`){where}:'
    yield ""
    yield "```py"
    yield "import kcnn"
    yield ""
    yield f"model = kcnn.build({address!r})  # {pixels} pixels 0..255 in, logits out"
    yield 'print(kcnn.predict(model, "photo.jpg"))'
    yield "```"
    if metadata["distribution"] != "kcnn":
        yield ""
        yield f"The network is of the plugin {metadata['distribution']}, which must be installed."
    if timm_name:
        yield ""
        yield f"With timm, as its `{timm_name}`:"
        yield ""
        yield "```py"
        yield "import timm"
        yield ""
        yield f"model = timm.create_model({address.replace('hf://', 'hf-hub:')!r}, pretrained=True)"
        yield "```"


def _explain_labels() -> Iterator[str]:
    yield "The classes are independent: a sigmoid of a logit, not a softmax, gives the probability of its class."
    yield "An image has the classes whose probability is at least their threshold in the table above."
    yield "`kcnn.predict` decides so."


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _recall(row: Mapping[str, Any]) -> str:
    """The recall of a class with its interval."""
    if row["recall"] is None or not row["images"]:
        return "-"
    low, high = wilson_interval(round(row["recall"] * row["images"]), row["images"])
    return f"{row['recall']:.2%} ({low:.2%} to {high:.2%})"


def _escape(text: str) -> str:
    """Return a text that Markdown shows as it is, in one line."""
    text = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in text)
