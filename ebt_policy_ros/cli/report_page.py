"""Frame, style and player of the report page."""

STYLE = """
:root { --ink: #1c2733; --soft: #5b6875; --line: #e3e8ee; --accent: #0b6e99; --good: #1b7f4b; --warn: #9a6700; --bad: #b3261e; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f7f9; color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 36px 24px 64px; }
h1 { margin: 0; font-size: 28px; letter-spacing: -0.01em; } h2 { margin: 44px 0 12px; font-size: 20px; }
header p { margin: 4px 0 24px; color: var(--soft); } a { color: var(--accent); }
.tiles { display: grid; grid-template-columns: repeat(5, 1fr); gap: 12px; }
.tile, .card, .plain { background: #fff; border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 14px 16px; } .tile b { display: block; font-size: 26px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; line-height: 1.35; display: block; } .tile.good b { color: var(--good); } .tile.bad b { color: var(--bad); }
.plain { padding: 6px 18px; overflow-x: auto; } .card { padding: 18px 20px 16px; margin: 0 0 18px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th { text-align: left; color: var(--soft); font-weight: 600; font-size: 12.5px; } th, td { padding: 8px 12px 8px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
.verdict { font-weight: 650; } .verdict.good { color: var(--good); } .verdict.warn { color: var(--warn); } .verdict.bad { color: var(--bad); }
h3 { margin: 0 0 8px; font-size: 17px; display: flex; gap: 10px; align-items: baseline; } h3 small { color: var(--soft); font-weight: 400; font-size: 14px; flex: 1; }
.scene { display: grid; grid-template-columns: minmax(0, 1fr) 210px; gap: 18px; align-items: start; } .scene > .player:empty { display: none; }
.chart { width: 100%; height: auto; display: block; } .chart text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
.chart text:not(.on-bar) { paint-order: stroke; stroke: #fff; stroke-width: 3px; stroke-linejoin: round; } .on-bar { pointer-events: none; }
.player img { width: 100%; display: block; border-radius: 6px; background: #dde3ea; margin-bottom: 6px; } .player div { display: flex; gap: 8px; align-items: center; }
.player button { border: 1px solid var(--line); background: #fff; color: var(--ink); border-radius: 6px; font: inherit; font-size: 13px; padding: 2px 10px; cursor: pointer; }
.player output { color: var(--soft); font-size: 13px; font-variant-numeric: tabular-nums; }
.strip { display: grid; grid-template-columns: 52px repeat(8, 1fr); gap: 6px; margin-top: 10px; align-items: center; } .strip b { font-size: 13px; color: var(--soft); font-weight: 600; }
figure { margin: 0; } figure img { width: 100%; display: block; border-radius: 5px; } figcaption { color: var(--soft); font-size: 11.5px; text-align: center; }
.bar { display: inline-block; height: 12px; margin-right: 8px; border-radius: 2px; background: #0b6e99; vertical-align: -1px; } .thought td:last-child { white-space: normal; }
.shares { display: inline-flex; width: 180px; height: 12px; margin-right: 12px; border-radius: 2px; overflow: hidden; vertical-align: -1px; } .shares i { display: block; height: 100%; }
.reasons { margin: 12px 0 0; padding: 0; list-style: none; font-size: 13.5px; color: var(--soft); } .reasons time { display: inline-block; width: 52px; font-variant-numeric: tabular-nums; color: var(--ink); }
.trouble { color: var(--bad); font-weight: 600; } .two { display: grid; grid-template-columns: 3fr 2fr; gap: 18px; } .two > div { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 2px 16px; margin: 0; font-size: 13.5px; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 860px) { .tiles { grid-template-columns: repeat(2, 1fr); } .scene, .two { grid-template-columns: 1fr; } .strip { grid-template-columns: repeat(4, 1fr); } .strip b { grid-column: 1 / -1; } }
"""

SCRIPT = """
const films = JSON.parse(document.getElementById('films').textContent);
for (const card of document.querySelectorAll('[data-episode]')) {
  const film = films[card.dataset.episode], player = card.querySelector('.player'), chart = card.querySelector('svg.chart');
  const cameras = Object.keys(film || {});
  if (!cameras.length) continue;
  const pictures = cameras.map(name => { const img = new Image(); img.alt = 'camera ' + name; player.append(img); return img; });
  const row = document.createElement('div'), button = document.createElement('button'), clock = document.createElement('output');
  row.append(button, clock); player.append(row);
  const cursor = chart.querySelector('.cursor'), left = +chart.dataset.left, right = +chart.dataset.right, end = +chart.dataset.end;
  let now = end, timer = null;
  const show = t => {
    now = Math.max(0, Math.min(end, t));
    cameras.forEach((name, i) => {
      const times = film[name].t; let k = 0;
      while (k + 1 < times.length && times[k + 1] <= now) k++;
      if (times.length) pictures[i].src = 'data:image/jpeg;base64,' + film[name].jpeg[k];
    });
    const x = left + (right - left) * now / end;
    cursor.setAttribute('x1', x); cursor.setAttribute('x2', x); cursor.setAttribute('opacity', 0.55);
    clock.textContent = now.toFixed(1) + ' s';
  };
  const stop = () => { clearInterval(timer); timer = null; button.textContent = 'Play'; };
  button.onclick = () => {
    if (timer) return stop();
    if (now >= end) now = 0;
    button.textContent = 'Pause';
    timer = setInterval(() => { show(now + 0.1); if (now >= end) stop(); }, 100);
  };
  chart.addEventListener('mousemove', event => {
    if (timer) return;
    const box = chart.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    show((x - left) / (right - left) * end);
  });
  stop(); show(0);
}
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header><h1>{title}</h1><p>{subtitle}</p></header>
{trouble}
<div class="tiles">{tiles}</div>
<h2>Episodes</h2>
<div class="plain">{table}</div>
<h2>Thought against doubt</h2>
<p>All chunks of the run by their uncertainty score: how long they were thought about, and what the arm then did. The score
is the one after all thought, so what more thought cleared stands among the calm ones.</p>
<div class="plain">{thought}</div>
<h2>Episode by episode</h2>
<p>Every dot is one action chunk: its energy after the descent; the surprise, by which the energy of
the plan being executed rises above the new plan's when the scene changes; and the calibrated uncertainty on which retry acts.
Below them stands what retry made of it: the arm thinks more, goes on in doubt, holds, retreats or gives up. Move the pointer
over a chart to see what the cameras saw, and over a bar to read why.</p>
{shown}
{episodes}
<h2>Latency and rules</h2>
<div class="two">
<div><b>Latency [ms], wall time: {latency}</b>{histogram}</div>
<div><b>Published trajectories</b>{rules}</div>
</div>
<h2>Environment</h2>
<div class="plain" style="padding: 14px 18px">{environment}</div>
</main>
<script type="application/json" id="films">{films}</script>
<script>{script}</script>
</body>
</html>
"""
