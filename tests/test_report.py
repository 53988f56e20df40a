"""The logs read back, and the page of all runs: its content, and how it fares in a browser."""

import base64
import os
import re
import shutil
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from common.logs import read_log
from mnist import report
from tests.conftest import ROOT, run_script

CPU = ("--device", "cpu")
CHROMIUM = ("chromium", "chromedriver")

CONV_LOG = """\
command: python mnist/conv.py --epochs 3 --data '<b>'
date: 2026-01-02 03:04:05 UTC
device: cpu, 2 threads, bfloat16
versions: Python 3.13.0, torch 2.13.0
model: ConvNet, 431,080 parameters
images: 60,000 to train on, 10,000 test images
epochs: 3, batch size: 125, iterations per epoch: 480, seed: 5

  1.  lr: 0.0002  training loss: 0.572800  test accuracy: 98.15%
  2.  lr: 0.0050  training loss: 0.213087  test accuracy: 98.67%
  3.  lr: 0.0001  training loss: 0.107608  test accuracy: 99.57%

99.57% test accuracy, 43 of 10,000 misread
seconds: 1,500.9 in all, 500.30 an epoch, 120 images a second, 492 MB at the peak

mismatches:
0| 7

grid of mismatches: mnist/out/conv.png
weights: mnist/out/conv.pt
"""
GAN_LOG = """\
command: python mnist/cgan.py
date: 2026-01-02 03:04:05 UTC
device: cpu, 2 threads, float32
versions: Python 3.13.0, torch 2.13.0
model: Generator, 878,564 parameters
model: Discriminator, 700,964 parameters
images: 60,000 to train on, 10,000 test images
epochs: 2, batch size: 60, iterations per epoch: 1000, seed: 7

Epoch: 1    10:11:55    Median loss for discriminator: 0.763\tgenerator: 2.026
          digit as asked: 98.66%  Frechet distance: 2.16 (training images: 1)  rarest digit: 8.01%\
  Inception Score: 9.70 (test images: 9.83)
Epoch: 2    10:14:02    Median loss for discriminator: 0.712\tgenerator: 1.473
          digit as asked: 99.31%  Frechet distance: 1.30 (training images: 1)  rarest digit: 8.43%\
  Inception Score: 9.75 (test images: 9.83)

Generated digits in dir mnist/out, cgan01.png - cgan02.png, cgan.gif
"""


class Page(HTMLParser):
    """What a page holds: addresses of pictures and links, names, texts by element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pictures: dict[str, str] = {}
        self.addresses: list[str] = []
        self.names: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.tables: list[list[list[str]]] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.addresses += [given[name] for name in ("src", "href", "srcset") if name in given]
        self.names += [given["id"]] if "id" in given else []
        if tag == "img":
            self.pictures[given["alt"]] = given["src"]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
        self._open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        for tag in self._open:
            self.texts[tag][-1] += data
            if tag in ("th", "td"):
                self.tables[-1][-1][-1] += data.strip()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs, one of a GAN for three epochs, and an unfinished one."""
    folder = tmp_path_factory.mktemp("out")
    for name, epochs in (("logit", "2"), ("gan", "3")):
        flags = ("--epochs", epochs, "--limit", "120", *CPU, "--out", str(folder))
        done = run_script(name, *flags)
        assert done.returncode == 0, done.stderr
    (folder / "conv.log").write_text(CONV_LOG[: CONV_LOG.index("  3.  ")])
    (folder / "notes.log").write_text("not a run")
    return folder


@pytest.fixture(scope="module")
def published(out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with published runs of two scripts, one of them of two lengths."""
    folder = tmp_path_factory.mktemp("results")
    flags = ("--epochs", "5", "--limit", "120", "--seed", "3", *CPU, "--out", str(folder))
    assert run_script("logit", *flags).returncode == 0
    for ending in ("log", "png"):
        (folder / f"logit.{ending}").rename(folder / f"logit-5-epochs.{ending}")
        shutil.copy(out / f"logit.{ending}", folder / f"logit-2-epochs.{ending}")
    (folder / "conv-seed-5.log").write_text(CONV_LOG)
    return folder


@pytest.fixture(scope="module")
def html(out: Path, published: Path) -> str:
    """The page, of the script itself but for the folder of the published runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "RESULTS", published)
        patch.setattr("sys.argv", ["report.py", "--out", str(out)])
        report.main()
    return (out / "index.html").read_text(encoding="utf-8")


def test_log_of_a_classifier(tmp_path: Path) -> None:
    (tmp_path / "conv-seed-5.log").write_text(CONV_LOG)
    log = read_log(tmp_path / "conv-seed-5.log")
    assert (log.name, log.run, log.text) == ("conv-seed-5", "conv", CONV_LOG)
    names = ["command", "date", "device", "versions", "model", "images", "epochs"]
    assert [name for name, _ in log.header] == names
    assert log.header[4] == ("model", "ConvNet, 431,080 parameters")
    integers = {"parameters": 431_080, "epochs": 3, "seed": 5, "iterations per epoch": 480}
    assert {name: log.figure(name) for name in integers} == integers
    assert log.figure("wheels") is None
    epoch = {"epoch": 3, "lr": 0.0001, "training loss": 0.107608, "test accuracy": 99.57}
    assert len(log.epochs) == 3 and log.epochs[-1] == epoch
    assert (log.accuracy, log.misread, log.tested, log.seconds) == (99.57, 43, 10_000, 1500.9)


def test_figures_with_an_exponent(tmp_path: Path) -> None:
    figures = "  1.  lr: 1e-05  training loss: 3.25e+02, test loss: 1,024.5"
    (tmp_path / "own.log").write_text(f"command: python mnist/own.py\n\n{figures}\n")
    (epoch,) = read_log(tmp_path / "own.log").epochs
    assert epoch == {"epoch": 1, "lr": 1e-5, "training loss": 325, "test loss": 1024.5}


def test_a_command_is_no_figure(tmp_path: Path) -> None:
    told = "99.99% test accuracy, 1 of 10,000 misread seconds: ."
    path = tmp_path / "conv.log"
    path.write_text(CONV_LOG.replace("command: ", f"command: python a.py --out '{told}' ", 1))
    log = read_log(path)
    assert (log.accuracy, log.misread, log.seconds) == (99.57, 43, 1500.9)


def test_a_comma_is_no_figure(tmp_path: Path) -> None:
    path = tmp_path / "conv.log"
    path.write_text(CONV_LOG.replace("epochs: 3,", "epochs: ,", 1))
    assert read_log(path).figure("epochs") is None
    assert "epochs: ," in path.read_text()


def test_held_out_images_are_no_test_images(tmp_path: Path) -> None:
    path = tmp_path / "conv.log"
    path.write_text(CONV_LOG.replace("test images", "held-out training images", 1))
    told = report.last_figures(read_log(path))
    assert told["held-out accuracy"] == "99.57%" and "test accuracy" not in told


def test_names_that_are_alike_are_told_apart(tmp_path: Path) -> None:
    for name in ("conv (1)", "conv -1-"):
        (tmp_path / f"{name}.log").write_text(CONV_LOG)
    names = Page(report.page(tmp_path)).names
    assert len(names) == len(set(names)) > 10


def test_logs_that_the_scripts_write(out: Path, published: Path) -> None:
    log = read_log(published / "logit-5-epochs.log")
    assert list(log.epochs[0]) == ["epoch", "training loss", "test loss", "test accuracy"]
    assert [row["epoch"] for row in log.epochs] == [1, 2, 3, 4, 5]
    assert log.epochs[-1]["test accuracy"] == log.accuracy
    mismatches = re.findall(r"^\d\| ([\d ]+)$", log.text, re.MULTILINE)
    assert log.misread == sum(len(line.split()) for line in mismatches)
    assert f"seconds: {log.seconds:.1f} in all" in log.text
    log = read_log(out / "gan.log")
    assert list(log.epochs[2]) == ["epoch", "discriminator loss", "generator loss"]
    assert log.seconds is not None


def test_published_logs_can_be_read() -> None:
    paths = [*(ROOT / "mnist/results").glob("*.log")]
    assert paths
    for path in paths:
        log = read_log(path)
        assert path.name.startswith(log.run)
        assert log.seconds is not None
        assert "trials" in log.run or len(log.epochs) == log.figure("epochs")
        assert "gan" in log.run or "trials" in log.run or log.accuracy is not None


def test_log_of_a_gan_that_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / "cgan.log").write_text(GAN_LOG)
    log = read_log(tmp_path / "cgan.log")
    assert log.run == "cgan"
    assert [value for name, value in log.header if name == "model"] == [
        "Generator, 878,564 parameters",
        "Discriminator, 700,964 parameters",
    ]
    assert log.epochs == [
        {
            "epoch": 1, "discriminator loss": 0.763, "generator loss": 2.026,
            "digit as asked": 98.66, "Frechet distance": 2.16, "rarest digit": 8.01,
            "Inception Score": 9.70,
        },
        {
            "epoch": 2, "discriminator loss": 0.712, "generator loss": 1.473,
            "digit as asked": 99.31, "Frechet distance": 1.30, "rarest digit": 8.43,
            "Inception Score": 9.75,
        },
    ]  # fmt: skip
    assert (log.accuracy, log.misread, log.tested, log.seconds) == (None, None, None, None)


def test_log_of_trials(tmp_path: Path) -> None:
    text = GAN_LOG.split("\n\n")[0].replace("cgan.py", "swa.py --trials 2")
    (tmp_path / "swa-trials.log").write_text(f"{text}\n\nseconds: 1,204.5 for all trials\n")
    log = read_log(tmp_path / "swa-trials.log")
    assert (log.run, log.epochs, log.accuracy, log.seconds) == ("swa-trials", [], None, 1204.5)


def test_other_files_are_no_logs(tmp_path: Path) -> None:
    for content in (b"", b"\xff\xfe\x00", b"2026-01-01 command: python mnist/conv.py"):
        (tmp_path / "a.log").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.log: not the log of a run"):
            read_log(tmp_path / "a.log")


def test_names_of_ones_own_scripts(tmp_path: Path) -> None:
    for name in ("conv2", "my_conv", "my-conv"):
        (tmp_path / "a.log").write_text(f"command: python mnist/{name}.py --epochs 1\n\n")
        assert read_log(tmp_path / "a.log").run == name


def test_pictures_of_an_older_run_are_not_this_ones(tmp_path: Path) -> None:
    for name in ("gan01", "gan02", "gan03", "gan"):
        Image.new("L", (4, 4)).save(tmp_path / f"{name}.png")
    line = "Epoch: {}    10:00:00    Median loss for discriminator: 1.1\tgenerator: 1.2\n"
    log = "command: python mnist/gan.py --epochs 2\nepochs: 2, seed: 0\n\n" + line.format(1)
    (tmp_path / "gan.log").write_text(log)
    running = report.section(read_log(tmp_path / "gan.log"), tmp_path, [])
    assert [frame.caption for frame in running.frames] == ["1"] and running.pictures == []
    (tmp_path / "gan.log").write_text(f"{log}{line.format(2)}\nseconds: 3.0 in all, 1.5 an epoch\n")
    ended = report.section(read_log(tmp_path / "gan.log"), tmp_path, [])
    assert [frame.caption for frame in ended.frames] == ["1", "2"] and len(ended.pictures) == 1


def test_a_gan_without_scores_at_its_first_or_last_epoch(tmp_path: Path) -> None:
    log = GAN_LOG.split("Epoch: 2")[0]
    losses = "Epoch: {}    10:14:02    Median loss for discriminator: 0.7\tgenerator: 1.4\n"
    (tmp_path / "cgan.log").write_text(log + losses.format(2))
    page = report.page(tmp_path)
    assert "Frechet distance over 1 epoch, from 2.16 to 2.16" in page
    assert "generator loss over 2 epochs, from 2.026 to 1.4" in page


def test_pictures_of_a_script_with_a_number_are_no_frames(tmp_path: Path) -> None:
    """conv10 is a script of one's own, and conv10.png not conv's tenth epoch."""
    (tmp_path / "conv.log").write_text(CONV_LOG)
    for name in ("conv", "conv10", "conv03"):
        Image.new("L", (4, 4)).save(tmp_path / f"{name}.png")
    section = report.section(read_log(tmp_path / "conv.log"), tmp_path, [])
    assert section.frames == [] and len(section.pictures) == 1


def test_the_end_of_an_animation_is_this_runs(tmp_path: Path) -> None:
    for epoch in (1, 2, 20):
        Image.new("L", (4, 4), epoch).save(tmp_path / f"cgan{epoch:02}.png")
    Image.new("L", (4, 4)).save(tmp_path / "cgan.gif")
    (tmp_path / "cgan.log").write_text(f"{GAN_LOG}seconds: 9.0 in all\n")
    (moving,) = report.section(read_log(tmp_path / "cgan.log"), tmp_path, []).pictures
    assert moving.still == report.data_uri(tmp_path / "cgan02.png")


def test_a_run_is_compared_with_its_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    logs = []
    for name, precision, seed, pictured in (
        ("conv-float32-seed-5", "float32", 5, True),
        ("conv-no-picture", "bfloat16", 5, False),
        ("conv-seed-4", "bfloat16", 4, True),
        ("conv-seed-5", "bfloat16", 5, True),
    ):
        text = CONV_LOG.replace("bfloat16", precision).replace("seed: 5", f"seed: {seed}")
        (tmp_path / f"{name}.log").write_text(text)
        logs.append(read_log(tmp_path / f"{name}.log"))
        if pictured:
            Image.new("L", (4, 4)).save(tmp_path / f"{name}.png")
    for log in (logs[0], logs[2], logs[3]):
        assert report.section(log, tmp_path, logs).nearest == log
    assert report.section(logs[1], tmp_path, logs).nearest == logs[3]
    # Rather one of another length than one without pictures.
    (tmp_path / "short.log").write_text(CONV_LOG.replace("epochs: 3,", "epochs: 2,"))
    short = read_log(tmp_path / "short.log")
    assert report.section(short, tmp_path, [*logs, short]).nearest == logs[3]


@pytest.mark.parametrize("name", ["conv (1)", "runs\\conv", 'a"b', os.fsdecode(b"conv \xff")])
def test_any_name_of_a_log(name: str, tmp_path: Path) -> None:
    try:
        (tmp_path / f"{name}.log").write_text(CONV_LOG)
    except OSError:  # macOS takes no name that is no text, Windows no quotation mark
        pytest.skip("this file system has no such names")
    done = run_script("report", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert page.texts["h2"] == [name.encode(errors="backslashreplace").decode()]
    assert all(re.fullmatch(r"[\w.-]+", one) for one in page.names)
    links = [address for address in page.addresses if address[0] == "#"]
    assert links and all(link[1:] in page.names for link in links)


def test_what_an_unfinished_run_says_of_itself(tmp_path: Path) -> None:
    def told(log: str, name: str = "conv") -> str:
        path = tmp_path / f"{name}.log"
        path.write_text(log)
        return report.section(read_log(path), tmp_path, []).progress

    assert told(re.sub("seconds: 1,500.9", "seconds: 0.0", CONV_LOG)) == ""
    assert told(CONV_LOG.split("  2.  ")[0]) == "1 of 3 epochs done"
    assert told(CONV_LOG.split("device")[0]) == "0 of ? epochs done"
    study = CONV_LOG.split("  1.  ")[0].replace("conv.py", "swa.py --trials 4")
    for seed in (5, 8, 9):  # the last from a study of more
        (tmp_path / f"swa-trials.seed-{seed}.json").write_text("{}")
    assert told(study, "swa-trials") == "2 of 4 trials done"
    assert read_log(tmp_path / "conv.log").figure("seed") is None
    (tmp_path / "conv.log").write_text(CONV_LOG.replace("seed: 5", "seed: -5"))
    assert read_log(tmp_path / "conv.log").figure("seed") == -5


def sections(html: str) -> dict[str, str]:
    """Return the HTML of the runs' sections by their headings."""
    parts = ["<section " + part for part in html.split("<section ")[1:]]
    return {Page(part).texts["h2"][0]: part for part in parts}


def test_page_tells_of_every_run(out: Path, html: str) -> None:
    logs = {name: read_log(out / f"{name}.log") for name in ("logit", "conv", "gan")}
    assert [row[0] for row in Page(html).tables[0]] == ["Run", *logs]
    assert [row[1] for row in Page(html).tables[0]] == ["Epochs", "2", "2 of 3", "3"]
    assert list(sections(html)) == list(logs)
    told = {
        "logit": [f"{logs['logit'].accuracy:.2f}%", f"{logs['logit'].misread:,} of 10,000"],
        "conv": ["98.67%", "0.2131", "Not finished: 2 of 3 epochs done."],
        "gan": [f"{logs['gan'].epochs[2]['generator loss']:.4g}", "generator loss"],
    }
    for name, section in sections(html).items():
        (text,) = Page(section).texts["section"]
        for part in (logs[name].header[0][1], logs[name].text.strip(), *told[name]):
            assert part in text
        shown = section.split("<details>")[0]
        assert all(": ".join(line) in unescape(shown) for line in logs[name].header[1:])
        assert section.count("<svg ") == 2
    # What a log says is text, never markup.
    assert "<b>" not in html and "&lt;b&gt;" in html


def test_published_runs_stand_beside_ones_own(published: Path, html: str) -> None:
    for name, labels, nearest in (
        ("logit", ["logit-2-epochs", "logit-5-epochs"], "logit-2-epochs"),
        ("conv", ["conv-seed-5"], "conv-seed-5"),
    ):
        section = sections(html)[name]
        (table,) = Page(section).tables
        assert [row[0] for row in table] == ["Run", "This run", *labels]
        for row in table[2:]:
            log = read_log(published / f"{row[0]}.log")
            assert row[1:3] == [str(log.figure("epochs")), str(log.figure("seed"))]
            assert row[3] == f"{log.accuracy:.2f}%"
        # Its curves are beside those of a run as long as one's own.
        assert f"published, {nearest}" in section
    assert "Published" not in sections(html)["gan"]


def test_pictures_are_in_the_page_and_nothing_is_outside_it(
    out: Path, published: Path, html: str
) -> None:
    page = Page(html)
    for alt, path in (
        ("Misread digits, logit", out / "logit.png"),
        ("Misread digits, logit-2-epochs", published / "logit-2-epochs.png"),
        ("Digits of gan after epoch 1", out / "gan01.png"),
        ("Digits of gan after epoch 3", out / "gan03.png"),
        ("Digits, epoch by epoch, gan", out / "gan.gif"),
    ):
        content = base64.b64encode(path.read_bytes()).decode()
        assert page.pictures[alt] == f"data:image/{path.suffix[1:]};base64,{content}"
    assert all(page.pictures)  # none without a word of what it shows
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert all(address[1:] in page.names for address in page.addresses if address[0] == "#")
    assert len(set(page.names)) == len(page.names)
    style = "".join(page.texts["style"])
    assert "url(" not in style and "@import" not in style


def test_other_logs_are_told_of_and_left_out(out: Path, tmp_path: Path) -> None:
    for name in ("notes.log", "conv.log"):
        shutil.copy(out / name, tmp_path)
    done = run_script("report", "--out", str(tmp_path))
    assert done.returncode == 0
    assert done.stderr.startswith(f"report: {tmp_path / 'notes.log'}: not the log of a run")
    assert done.stderr.count("\n") == 1
    assert done.stdout.startswith(f"{tmp_path / 'index.html'}, ")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "conv.log",
        "index.html",
        "notes.log",
    ]


def test_an_empty_folder_is_one_clear_line(tmp_path: Path) -> None:
    done = run_script("report", "--out", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"report: no run in {tmp_path} to report;"
        f" python mnist/conv.py --epochs 1 --out {tmp_path} makes one\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_help_is_complete() -> None:
    text = run_script("report", "--help").stdout
    assert "python mnist/report.py" in text and "--out DIR" in text and "index.html" in text


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Chromium without a window, of Debian's packages chromium and chromium-driver."""
    chromium, driver = map(shutil.which, CHROMIUM)
    if chromium is None or driver is None:
        pytest.skip(
            f"{' and '.join(CHROMIUM)} not found (apt-get install chromium chromium-driver)"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def show(browser: webdriver.Chrome, page: Path, width: int, scheme: str) -> None:
    """Open a page in a window of a width, in the light or in the dark."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(page.as_uri())


@pytest.mark.usefixtures("html")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_in_a_browser(browser: webdriver.Chrome, out: Path, width: int, scheme: str) -> None:
    show(browser, out / "index.html", width, scheme)
    assert browser.get_log("browser") == []
    widths = browser.execute_script("return [...document.images].map(x => x.naturalWidth)")
    assert len(widths) == 6 and min(widths) > 0
    # Nothing sticks out of the page, however narrow.
    root = "document.documentElement"  # its client width is the window's less a scroll bar
    assert browser.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
    # Curves, their letters and the text stand out from the paper.
    lightness = """
        const lightness = color => {
            const [r, g, b] = color.match(/[\\d.]+/g).map(Number);
            return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
        };
        const style = query => getComputedStyle(document.querySelector(query));
        const colors = [style("body").backgroundColor, style("body").color,
                        style("svg text").fill, style("svg path[style*=accent]").stroke];
        return colors.map(lightness);
    """
    paper, ink, letters, line = browser.execute_script(lightness)
    assert paper > 0.9 if scheme == "light" else paper < 0.15
    assert min(abs(paper - other) for other in (ink, letters, line)) > 0.35


@pytest.mark.usefixtures("html")
def test_slider_shows_the_epochs(browser: webdriver.Chrome, out: Path) -> None:
    show(browser, out / "index.html", 1280, "light")
    slider = browser.find_element(By.CSS_SELECTOR, "input[type=range]")
    label = browser.find_element(By.CSS_SELECTOR, f"label[for={slider.get_attribute('id')}]")
    assert label.text == "Epoch"

    def visible() -> list[str | None]:
        frames = browser.find_elements(By.CSS_SELECTOR, ".frames img")
        return [frame.get_attribute("alt") for frame in frames if frame.is_displayed()]

    def epoch() -> str:
        return browser.find_element(By.CSS_SELECTOR, ".frames output").text

    assert (visible(), epoch()) == (["Digits of gan after epoch 3"], "3")
    slider.send_keys(Keys.ARROW_LEFT)
    assert (visible(), epoch()) == (["Digits of gan after epoch 2"], "2")
    slider.send_keys(Keys.HOME)
    assert (visible(), epoch()) == (["Digits of gan after epoch 1"], "1")
    slider.send_keys(Keys.END)
    assert (visible(), epoch()) == (["Digits of gan after epoch 3"], "3")
    assert browser.get_log("browser") == []
