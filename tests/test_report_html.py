"""The report: complete, closed in itself, and safe against what models write."""
from __future__ import annotations

import html.parser
import json
import re

import pytest
from report_fixtures import HOSTILE, loss, make_run

from tinylm.errors import DataMissing
from tinylm.report import curves, record
from tinylm.report import html as report

VOID = {"meta", "input", "br", "use", "path", "img", "link"}
ATTRIBUTES_THAT_LOAD = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}


class Checker(html.parser.HTMLParser):
    """Collects what a browser would load or run, and checks that tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.loads, self.ids, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{name} runs a script"
            if name in ATTRIBUTES_THAT_LOAD:
                self.loads.append(value)
            if name == "id":
                self.ids.append(value)
            if name == "style":
                self.loads += re.findall(r"url\(([^)]*)\)", value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page(run) -> str:
    """The report's text, without drawing the figures that stand beside it."""
    return report.page(record.read(run))


def check(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert not {"script", "link", "iframe", "object", "embed", "img", "base"} & set(checker.tags)
    assert all(target.startswith("#") for target in checker.loads), checker.loads
    assert len(set(checker.ids)) == len(checker.ids)
    # A reference to an id that is nowhere shows nothing.
    assert {target[1:] for target in checker.loads} <= set(checker.ids)
    return checker


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("runs") / "20260102-101500-gpt-tiny-abcdef", steps=600)
    return run, report.write(run)


def test_the_report_says_everything_and_loads_nothing(finished):
    run, path = finished
    text = path.read_text("utf-8")
    assert "http" not in text and "@import" not in text and "//" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.S)
    shown = " ".join(" ".join(check(text).text).split())
    for part in ("gpt-tiny on stories", "finished", "1.1429 nats/token", "1.6489 bits/byte", "perplexity 3.136",
                 "char-28-0123456789ab (28 symbols), 1.6489 bits/character",
                 "0.6489 ± 0.0040 bits/byte above the entropy floor",
                 "815,388", "over steps", "over tokens", "over time", "learning rate", "gradient norm",
                 "922k tokens seen", "5.65 % of 16.3M tokens, 20 per parameter", "read 0.768 times", "step 600",
                 "Once upon a time",
                 "train.lr", "flag --lr", "variable TINYLM_STEPS", "preset gpt-tiny", "a <b>fast</b> one", "8.0 GiB",
                 "What the units mean", "tinylm train --preset gpt-tiny"):
        assert part in shown, part
    assert text.count("<svg") == 6  # three curves of the loss; rate, norm and speed
    assert text.count('class=best') == 1


def test_curve_png_and_svg_stand_beside_it(finished):
    run, _ = finished
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG\r\n")
    svg = (run / "curve.svg").read_text("utf-8")
    for part in ("nats/token", "bits/byte", "entropy floor", "optimizer steps", "validation"):
        assert part in svg, part
    assert not list(run.glob("*.part")) and not list(run.glob(".*.part"))


def test_the_same_record_gives_the_same_report(finished):
    run, path = finished
    before = path.read_bytes(), (run / "curve.svg").read_bytes()
    report.write(run)
    assert before == (path.read_bytes(), (run / "curve.svg").read_bytes())


def test_hostile_text_stays_text(tmp_path):
    run = make_run(tmp_path / "<img src=x onerror=alert(1)>", steps=40, sample=HOSTILE, preset="p<script>",
                   status="diverged </div><script>x</script>", data="javascript:alert(1)")
    text = page(run)
    checker = check(text)
    shown = "".join(checker.text)
    assert "<script>alert(1)</script>" in shown and "&amp;" in shown  # as the model wrote it, character by character
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert "p<script>" in shown and "</div><script>x</script>" in shown


@pytest.mark.parametrize("status", ["interrupted at step 40", "failed at step 40: disk full", "running since now", ""])
def test_runs_that_are_not_finished_have_reports_too(tmp_path, status):
    run = make_run(tmp_path / "run", steps=40, status=status, floor=None)
    text = page(run)
    check(text)
    # A status of "running" that nobody holds the lock of is a process that was killed.
    word = "killed" if status.startswith("running") else status.split()[0] if status else "unknown"
    assert f">{word}</span>" in text
    assert "entropy floor of this corpus" not in text


def test_a_run_of_one_step(tmp_path):
    text = page(make_run(tmp_path / "run", steps=1))
    check(text)
    assert "3.4146 nats/token" in text  # not the loss of the untrained model


def test_a_run_without_a_single_loss(tmp_path):
    run = make_run(tmp_path / "run", steps=10)
    (run / "metrics.jsonl").unlink()
    text = page(run)
    check(text)
    assert "No validation loss was recorded" in text and "no loss was recorded" in text


def test_a_diverged_run(tmp_path):
    run = make_run(tmp_path / "run", steps=200, status="diverged at step 201: the loss is not finite")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 201, "tokens": 1, "seconds": 11, "split": "val", "nats_per_token": NaN, '
                   '"bits_per_byte": Infinity}\n')
    text = page(run)
    check(text)
    assert "diverged: at step 201: the loss is not finite" in text
    assert "not a finite number in 1 line" in text and "Best validation loss, at step 200" in text


def test_long_runs_have_reports_of_bounded_size(tmp_path):
    run = make_run(tmp_path / "run", steps=10)
    best = 0
    with (run / "metrics.jsonl").open("w") as file:
        for step in range(5000):
            value = 3.0 - step / 5000 if step < 3333 else 3.0
            best = step if step < 3333 else best
            now = loss(value)
            file.write(json.dumps({"step": step, "tokens": step, "seconds": step, "split": "val", "best": False,
                                   "nats_per_token": now.nats_per_token, "bits_per_byte": now.bits_per_byte}) + "\n")
    text = page(run)
    check(text)
    table = text[text.index("<h2>Validation losses"):text.index("<h2>What it wrote")]
    assert table.count("<tr") < 450 and f'<td class="n">{best:,}</td>' in table and "Of 5000 evaluations" in table


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataMissing, match="no run"):
        report.write(tmp_path)
    with pytest.raises(DataMissing, match="no such folder"):
        report.write(tmp_path / "nowhere")


def test_axes_of_the_figure_carry_their_units(finished):
    run, _ = finished
    found = record.read(run)
    for x, label in (("steps", "optimizer steps"), ("tokens", "training tokens seen"), ("time", "training time")):
        axes = curves.loss(found, x).axes[0]
        assert axes.get_ylabel() == "loss, nats/token" and axes.get_xlabel() == label
    second = curves.loss(found).axes[0].child_axes[0]
    assert second.get_ylabel() == "loss, bits/byte"
    # One nat a token is 1.4427 bits a byte where a token is a byte.
    figure = curves.loss(found)
    figure.canvas.draw()
    low, high = figure.axes[0].get_ylim()
    assert figure.axes[0].child_axes[0].get_ylim() == pytest.approx((1.4427 * low, 1.4427 * high), rel=1e-4)
    assert found.bits_per_byte_per_nat == pytest.approx(1.4427, abs=1e-4) and low < 0.6931 < high
    floor = next(line for line in curves.loss(found).axes[0].lines if line.get_linestyle() == "--"
                 or "floor" in str(line.get_label()))
    assert floor.get_ydata()[0] == pytest.approx(0.6931, abs=1e-4)


@pytest.mark.parametrize(("lr", "level"), [(3e-3, 1.14), (1.2e-5, 0.012), (0.5, 120.0)])
def test_what_is_written_around_the_axes_is_inside_the_figure(tmp_path, lr, level):
    found = record.read(make_run(tmp_path / "run", steps=100, ternary=True, lr=lr, level=level))
    small = {"size": (4.2, 2.6)}
    for figure in (curves.loss(found, title=True), curves.loss(found, "time"), curves.one(found, "lr", "learning rate"),
                   curves.one(found, "lr", "learning rate", **small), curves.norms(found),
                   curves.one(found, "tokens_per_second", "tokens/s", **small), curves.compare([found]),
                   *(curves.ternary(found, key, key) for key in ("flips", "zeros", "scale"))):
        written, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert written.x0 >= 0 and written.y0 >= 0 and written.x1 <= width and written.y1 <= height


def test_names_that_mean_something_to_matplotlib(tmp_path):
    records = [record.read(make_run(tmp_path / name, steps=40)) for name in ("_a$x^{$", "日本 \u202e\x07")]
    for figure in (curves.compare(records), curves.loss(records[0], title=True), curves.loss(records[1], title=True)):
        assert curves.render(figure, "png").startswith(b"\x89PNG")
    names = [text.get_text() for text in curves.compare(records).axes[0].get_legend().get_texts()]
    assert names == [r"A _a\$x^{\$", "B ?? ??"]


def test_smoothing_keeps_constants_and_means():
    assert curves.smooth([2.0] * 9, 3) == [2.0] * 9
    assert curves.smooth([0.0, 3.0, 0.0, 3.0, 0.0], 1) == [0.0, 1.0, 2.0, 1.0, 0.0]


def test_ternary_weights_have_charts_and_a_table(tmp_path):
    run = make_run(tmp_path / "t", ternary=True)
    text = page(run)
    check(text)
    assert "<h2>Ternary weights</h2>" in text and "Each layer at step 600" in text
    for name in ("ternary-flips", "ternary-zeros", "ternary-scale", "grad-norms"):
        assert f'id="{name}-' in text
    assert "<td>blocks.1.mixer.forget</td><td>3.33333e-05</td><td>0.31</td><td>0.1</td>" in text
    assert "Ternary weights" not in page(make_run(tmp_path / "f"))


def test_charts_of_ternary_weights_draw_what_was_measured(tmp_path):
    found = record.read(make_run(tmp_path / "t", ternary=True))
    for key, want in (("flips", 0.015 / 600), ("zeros", 0.305), ("scale", 0.075)):
        axes = curves.ternary(found, key, key).axes[0]
        assert axes.lines[0].get_ydata()[-1] == pytest.approx(want) and len(axes.lines[0].get_xdata()) == 60
        low, high = {"flips": (0.01 / 600, 0.02 / 600), "zeros": (0.3, 0.31), "scale": (0.05, 0.1)}[key]
        edge = axes.collections[0].get_paths()[0].vertices
        assert {round(y, 12) for x, y in edge if x == 600} == {round(low, 12), round(high, 12)}
    short = record.read(make_run(tmp_path / "s", steps=25, ternary=True))  # its last line: after 5 steps
    assert curves.ternary(short, "flips", "").axes[0].lines[0].get_xdata().tolist() == [10, 20]
    assert curves.ternary(short, "zeros", "").axes[0].lines[0].get_xdata().tolist() == [10, 20, 25]
    ternary, float_ = curves.norms(found).axes[0].lines
    assert set(ternary.get_ydata()) == {0.3} and set(float_.get_ydata()) == {0.4}


@pytest.mark.parametrize("entry", [3, [], {}, {"layers": 3}, {"layers": {"a": 1}}, {"flips": "x", "layers": {"a": {}}},
                                   {"flips": None, "layers": {"<b>": {"flips": "<i>", "zeros": None}}}])
def test_damaged_lines_about_ternary_weights(tmp_path, entry):
    run = make_run(tmp_path / "t", steps=20, ternary=True)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if "ternary" in line:
            line["ternary"] = line["grad_norms"] = entry
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = page(run)
    check(text)
    assert "<i>" not in text.split("</svg>")[-1].split("<details>")[-1]
