"""The real page in a real browser: no errors, and no sideways scrolling on a phone of 360 px."""

from __future__ import annotations

import re
import shutil
import subprocess

import bench_documents
import pytest
import tiny_bundle

from edgeattn.report import html, page
from edgeattn.report.subject import Subject

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
# A frame as wide as a phone; its page says how wide it is, to the page around it, which prints what it heard.
FRAME = """<!doctype html><body><pre></pre><iframe src="report.html" style="width:360px;height:800px;border:0"></iframe>
<script>
document.querySelector("iframe").onload = event => {
  const page = event.target.contentDocument, root = page.documentElement;
  const pictures = [...page.querySelectorAll("figure svg")].map(each => each.getBoundingClientRect().width);
  document.querySelector("pre").textContent = JSON.stringify({
    width: root.scrollWidth, sections: page.querySelectorAll("section").length, pictures });
};
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed here")
def test_a_phone_shows_it_without_sideways_scrolling(tmp_path):
    pytest.importorskip("matplotlib")
    bundle = tiny_bundle.make(tmp_path / "tiny")
    ratios = {128: (0.9, 0.85, 0.95), 512: (1.5, 1.4, 1.6), 2048: (3.0, 2.9, 3.1)}
    bundle.record("bench.json", bench_documents.bench(ratios, digest=bundle.manifest.digest))
    bundle.record("verify.json", bench_documents.verify())
    bundle.record("build.json", bench_documents.build())
    bundle.record("profile.json", bench_documents.profile())
    found = html.evidence(bundle)
    (tmp_path / "report.html").write_text(page.render(Subject([found])))
    (tmp_path / "frame.html").write_text(FRAME)
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000",
        "--dump-dom", f"file://{tmp_path / 'frame.html'}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    shown = re.search(r'"width":(\d+),"sections":(\d+),"pictures":\[([^\]]*)\]', done.stdout)
    assert shown, done.stderr[-2000:]
    assert int(shown[1]) <= 360
    assert int(shown[2]) >= 10
    widths = [float(width) for width in shown[3].split(",")]
    assert len(widths) == 4
    assert all(250 < width <= 360 for width in widths)
    assert re.findall(r"CONSOLE.*", done.stderr) == []
