"""Makes docs/images/demo.png, the README's picture, from a demo's report: needs chromium (a browser without a screen).

python tools/report_picture.py out/demo/report.html --episode 3 --time 2.5 --out docs/images/demo.png
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ONLY_CARD = """
<style>
  body {{ background: #fff; }} main {{ padding: 0; max-width: none; }}
  main > *:not(#episode-{index}) {{ display: none; }} #episode-{index} {{ border: 0; margin: 0; }}
  #episode-{index} .reasons, .player div {{ display: none; }} ::-webkit-scrollbar {{ display: none; }}
</style>
<script>
  const chart = document.querySelector('#episode-{index} svg.chart'), box = chart.getBoundingClientRect();
  const left = +chart.dataset.left, right = +chart.dataset.right, end = +chart.dataset.end;
  const x = box.left + (left + (right - left) * {time} / end) / chart.viewBox.baseVal.width * box.width;
  chart.dispatchEvent(new MouseEvent('mousemove', {{ clientX: x, clientY: box.top + 5 }}));
</script>
</body>
"""


def main() -> int:
    """Writes the picture; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--episode", type=int, required=True, help="counted from 1, as the report does")
    parser.add_argument("--time", type=float, required=True, help="of the pictures beside the curves [simulated s]")
    parser.add_argument("--size", default="1180,790", help="width,height [pixels]")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        print("no chromium found; on Debian: apt-get install chromium", file=sys.stderr)
        return 2
    page = options.report.read_text(encoding="utf-8")
    page = page.replace("</body>", ONLY_CARD.format(index=options.episode - 1, time=options.time))
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder, "card.html")
        card.write_text(page, encoding="utf-8")
        options.out.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000"]
        subprocess.run(
            [
                browser,
                *arguments,
                f"--screenshot={options.out.resolve()}",
                f"--window-size={options.size}",
                card.as_uri(),
            ],
            check=True,
            capture_output=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
