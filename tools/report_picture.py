"""Makes a picture of one episode from a report of demo or eval: needs chromium (a browser without a screen).

python tools/report_picture.py out/demo/report.html --episode 3 --time 2.5 --out docs/images/demo.png

ebt-policy eval --model square --perturb slip --episodes 8 --seed 100 --report out/strip_square.html
python tools/report_picture.py out/strip_square.html --episode rescued --out docs/images/strip_square.png
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

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
    parser.add_argument(
        "--episode",
        required=True,
        help="counted from 1, as the report does; 'rescued': one that a retreat rescued (fewest retreats)",
    )
    parser.add_argument(
        "--time", type=float, help="of the pictures beside the curves [simulated s] (default: of the retreat, or 0)"
    )
    parser.add_argument("--size", default="1180,1400", help="width,height of the page [pixels]; white below is cut off")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        print("no chromium found; on Debian: apt-get install chromium", file=sys.stderr)
        return 2
    page = options.report.read_text(encoding="utf-8")
    found = find_card(page, options.episode)
    if found is None:
        print(f"{options.report} has no card of episode '{options.episode}'; make more episodes", file=sys.stderr)
        return 2
    index, retreat_s = found
    page = page.replace(
        "</body>", ONLY_CARD.format(index=index, time=retreat_s if options.time is None else options.time)
    )
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
    cut_white(options.out)
    return 0


def find_card(page: str, episode: str) -> tuple[int, float] | None:
    """Index of the wanted episode and when it first retreated [simulated s] (0: it was not rescued by that)."""
    mark = r'data-episode="(\d+)"(?: data-rescued="([\d.]+)" data-retreats="(\d+)")?>'
    cards = [(int(index), float(at_s or 0.0), int(retreats or 0)) for index, at_s, retreats in re.findall(mark, page)]
    if episode == "rescued":
        cards = sorted((card for card in cards if card[2]), key=lambda card: card[2])
    else:
        cards = [card for card in cards if card[0] + 1 == int(episode)]
    return cards[0][:2] if cards else None


def cut_white(path: Path) -> None:
    """Cuts off the empty page below the card; 52 shades a channel are enough and save half of the bytes."""
    picture = Image.open(path).convert("RGB")
    box = ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).getbbox()
    if box is not None:
        picture = picture.crop((0, 0, picture.width, min(picture.height, box[3] + 12)))
    picture.point(lambda value: 5 * round(value / 5)).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
