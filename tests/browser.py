"""A page as headless Chromium shows it, at a width of one's own, with what went wrong there."""

import json
import re
import shutil
import subprocess
import tempfile
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--enable-logging=stderr", "--v=0", "--proxy-server=127.0.0.1:9",
    "--virtual-time-budget=2000",
)  # fmt: skip

# Runs before anything else in the page, and tells the page around it what came of that.
PROBE = """<script>
const wrong = [];
addEventListener("error", event => wrong.push(event.message || "could not load"), true);
addEventListener("unhandledrejection", event => wrong.push(String(event.reason)));
const met = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
addEventListener("load", () => setTimeout(() => {
  const labels = [...document.querySelectorAll(".chart, .scale")].map(chart =>
    [...chart.querySelectorAll(".x span, .y span, :scope > span")]
      .map(label => label.getBoundingClientRect()).filter(box => box.width));
  parent.postMessage({
    wrong,
    width: innerWidth,
    needed: document.documentElement.scrollWidth,
    height: document.documentElement.scrollHeight,
    requests: performance.getEntriesByType("resource").map(entry => entry.name),
    overlaps: labels.flatMap(row => row.flatMap((a, i) => row.slice(i + 1).filter(b => met(a, b))))
      .length,
    charts: document.querySelectorAll(".chart").length,
    hidden: [...document.images].filter(image => !image.naturalWidth).length,
    said: document.body.innerText,
  }, "*");
}, 300));
</script>"""
FRAME = """<!doctype html><body style="margin:0"><pre id=found hidden></pre>
<iframe src="page.html" style="border:0;width:{width}px;height:{height}px"></iframe>
<script>addEventListener("message", event =>
  document.getElementById("found").textContent = JSON.stringify(event.data));</script></body>"""


def look(html, width, *, height=1200, dark=False):
    """What the page says of itself at a width, what the console says, and how it looks."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here to show the page")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "page.html").write_text(html.replace("<head>", f"<head>{PROBE}", 1))
        (folder / "frame.html").write_text(FRAME.format(width=width, height=height))
        words = (
            CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--window-size={max(width, 500)},{height}",
        )  # fmt: skip
        address = f"file://{folder / 'frame.html'}"
        words += ("--dump-dom", f"--screenshot={folder / 'shot.png'}", address)
        told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        found = re.search(r"<pre id=\"found\"[^>]*>(.*?)</pre>", told.stdout, re.DOTALL)
        assert found and found[1], f"the page was not loaded: {told.stderr[-500:]}"
        console = [line for line in told.stderr.splitlines() if "CONSOLE" in line]
        with Image.open(folder / "shot.png") as shot:
            picture = np.asarray(shot.convert("RGB"))[:, :width]
    return json.loads(unescape(found[1])), console, picture
