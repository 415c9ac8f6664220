"""The command as a whole: what it prints and the files it writes."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowdata.bench import report
from flowdata.bench.command import group_lines, summary
from flowdata.cli import main
from tests.flowdata.bench.pipelines import photos

ROOT = Path(__file__).resolve().parents[3]
HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    folder = tmp_path_factory.mktemp("bench")
    photos(folder / "photos", workers=1, size=(60, 83), count=40)
    config = {
        "source": {"ofrecord": {"dir": str(folder / "photos"), "parts": 1}},
        "batch_size": 16,
        "executor": "process",
        "outputs": ["image", "label"],
        "stages": [
            {"ofrecord_raw_decoder": {"feature": "class/label", "output": "label"}},
            "ofrecord_image_decoder_random_crop",
            {"resize": {"size": [48, 40]}},
            "coin_flip",
            {"crop_mirror_normalize": {"mean": 120.0, "std": 60.0}},
        ],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    arguments = [
        "bench", str(folder / "config.yaml"), "--workers", "2", "--rounds", "1", "--seconds", "0.3", "--max-repeats",
        "1", "--against", "torch", "--prefetch", "2", "--json", str(folder / "out" / "result.json"), "--report",
        str(folder / "out" / "report.html"), "--trace", str(folder / "out" / "trace.json.gz"),
    ]  # fmt: skip
    return folder / "out", main(arguments)


@pytest.fixture(scope="module")
def result(ran: tuple[Path, int]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ran[0] / "result.json").read_text())
    return found


def test_the_result(ran: tuple[Path, int], result: dict[str, Any]) -> None:
    assert ran[1] == 0
    assert (result["schema"], result["valid"]) == (1, True)
    assert set(result["sides"]) == {"flowdata", "limit"} | ({"torch"} if HAS_TORCH else set())
    assert ("torch" in result["skipped"]) is not HAS_TORCH
    for name, side in result["sides"].items():
        rate = side["images_per_second"]
        assert 0 < rate["least"] <= rate["median"] <= rate["largest"]
        if name != "limit":
            assert (side["shape"], side["dtype"]) == ([16, 3, 48, 40], "float32")
    assert len(result["rounds"]) == 1
    assert set(result["digests"]) == {"serial", "1", "2"}
    assert [each["workers"] for each in result["scaling"]] == [1, 2]
    assert result["pipeline"]["workers"] == 2


def test_the_steps_are_timed_in_their_order(result: dict[str, Any]) -> None:
    names = [each["name"] for each in result["steps"]]
    assert names == [
        "read", "ofrecord_raw_decoder", "ofrecord_image_decoder_random_crop", "resize", "coin_flip",
        "crop_mirror_normalize",
    ]  # fmt: skip
    assert all(each["cpu_us"] > 0 for each in result["steps"])
    assert max(result["steps"], key=lambda each: each["total_us"])["name"] == "ofrecord_image_decoder_random_crop"


@pytest.mark.torch
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
def test_the_peer_makes_batches_like_ours(result: dict[str, Any]) -> None:
    ours, peer = result["sides"]["flowdata"], result["sides"]["torch"]
    assert peer["mean"] == pytest.approx(ours["mean"], abs=0.5)  # other windows, the same pictures
    assert peer["std"] == pytest.approx(ours["std"], rel=0.5)


def test_what_each_group_did(ran: tuple[Path, int], result: dict[str, Any]) -> None:
    [group] = result["groups"]
    assert group["steps"] == [each["name"] for each in result["steps"]]
    assert group["workers"] == 2
    assert 0 < group["p50_us"] <= group["p95_us"] <= group["p99_us"]
    assert group["busy"] + group["input"] + group["output"] == pytest.approx(1)
    head, row = group_lines(result["groups"])
    assert head.split()[:4] == ["workers", "p50", "ms", "p95"]
    assert row.split()[:2] == ["2", f"{group['p50_us'] / 1e3:.2f}"]
    assert row.endswith(f"{group['output']:>9.0%}  {' '.join(group['steps'])}")
    assert {head, row} <= set(summary(result))
    page = (ran[0] / "report.html").read_text()
    assert f"<td>{' '.join(group['steps'])}</td>" in page
    assert f"{group['p99_us'] / 1e3:.2f}</td>" in page


@pytest.mark.torch
@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")
def test_memory_is_compared_with_as_many_batches_ahead(ran: tuple[Path, int], result: dict[str, Any]) -> None:
    assert {name: side["batches_ahead"] for name, side in result["sides"].items()} == {
        "flowdata": 2, "torch": 2, "limit": None,
    }  # fmt: skip
    assert set(result["memory_ratios"]) == {"torch"}
    ratio = result["memory_ratios"]["torch"]["median"]
    [taken] = result["rounds"]
    assert ratio == taken["sides"]["flowdata"]["pss_mib"] / taken["sides"]["torch"]["pss_mib"]
    spread = f"{ratio:.2f} to {ratio:.2f}"
    line = f"flowdata: {ratio:.2f} times the memory of torch ({spread}), with 2 batches ahead, torch with 2"
    assert line in summary(result)
    assert f"{ratio:.2f} × the memory of torch (2 and 2 batches ahead)" in (ran[0] / "report.html").read_text()


def test_every_documented_field_is_there_and_no_other(result: dict[str, Any]) -> None:
    text = (ROOT / "docs/benchmarks.md").read_text().partition("## The JSON file\n")[2].partition("\n# ")[0]
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    named = {name.partition(".")[0] for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert named == set(result)


class Page(HTMLParser):
    """Checks that what is opened is closed, and collects what is referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "data", "srcset")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_page_that_needs_nothing_else(ran: tuple[Path, int], result: dict[str, Any]) -> None:
    text = (ran[0] / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.links == []
    assert "url(" not in text
    assert "@import" not in text
    assert not {"script", "link", "img", "iframe"} & set(page.seen)
    assert page.seen.count("svg") == 3
    assert f"{result['sides']['flowdata']['images_per_second']['median']:.0f} images/s" in text


def test_names_from_outside_are_escaped_in_the_report(result: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(result)) | {"config": "<script>alert(1)</script>"}
    changed["steps"][0]["name"] = "<b>&"
    text = report.html(changed)
    assert "<script" not in text
    assert "&lt;b&gt;&amp;" in text


def test_an_invalid_or_disturbed_result_says_so(result: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(result)) | {"valid": False, "rounds_disturbed": 1}
    changed["digests"]["2"] = "f" * 64
    for text in ("\n".join(summary(changed)), report.html(changed)):
        assert "INVALID" in text
        assert "1 of 1 rounds" in text


def test_an_invalid_result_ends_with_1_and_is_written_all_the_same(
    ran: tuple[Path, int], result: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changed = json.loads(json.dumps(result)) | {"valid": False}
    monkeypatch.setattr("flowdata.bench.run.bench", lambda *arguments: changed)
    assert main(["bench", str(ran[0].parent / "config.yaml"), "--json", str(tmp_path / "result.json")]) == 1
    assert json.loads((tmp_path / "result.json").read_text())["valid"] is False


def test_the_trace_has_steps_inside_samples(ran: tuple[Path, int], result: dict[str, Any]) -> None:
    with gzip.open(ran[0] / "trace.json.gz", "rt") as file:
        events = json.load(file)["traceEvents"]
    slices = [each for each in events if each["ph"] == "X"]
    assert len(slices) == result["trace"]["slices"]
    assert len({each["pid"] for each in slices}) == 2
    assert {each["args"]["name"] for each in events if each["ph"] == "M"} == {"worker 0", "worker 1"}
    samples = [each for each in slices if each["cat"] == "sample"]
    steps = [each for each in slices if each["cat"] == "step"]
    assert {each["name"] for each in steps} == {each["name"] for each in result["steps"]}
    assert len(samples) > 20
    for pid in {each["pid"] for each in slices}:
        own = sorted((each["ts"], each["ts"] + each["dur"]) for each in samples if each["pid"] == pid)
        assert all(end <= start + 0.01 for (_, end), (start, _) in itertools.pairwise(own))
        for each in steps:
            if each["pid"] == pid:
                assert any(a - 0.01 <= each["ts"] and each["ts"] + each["dur"] <= b + 0.01 for a, b in own)


def test_wrong_arguments_end_with_2(ran: tuple[Path, int], capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ran[0].parent / "config.yaml")
    assert main(["bench", config, "--against", "ffcv"]) == 2
    assert "ffcv" in capsys.readouterr().err
    assert main(["bench", config, "stages=[]"]) == 2
    for wrong in (["--rounds", "0"], ["--seconds", "-1"], ["--peer-python", "dali"]):
        with pytest.raises(SystemExit):
            main(["bench", config, *wrong])
