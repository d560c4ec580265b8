"""The style sheet of the HTML report, for light and dark screens, wide and narrow."""

STYLE = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #1b2430; --soft: #5b6675;
  --line: #dfe4ea; --cut: #d9e0e8; --band: #eef2f7; --good: #14753c; --bad: #b3261e;
  --c0: #2364aa; --c1: #d2601a; --c2: #2a8c63; --c3: #8e44ad; --c4: #a67c00;
  --c5: #b03060; }
@media (prefers-color-scheme: dark) { :root {
  --page: #10151b; --card: #19212a; --text: #e8edf2; --soft: #9aa7b5;
  --line: #2d3844; --cut: #34414f; --band: #202a35; --good: #6fd196; --bad: #ff8a80;
  --c0: #6cb0f5; --c1: #f79b5c; --c2: #63cf9f; --c3: #cf94e8; --c4: #e3bd4b;
  --c5: #f286ac; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
    "Liberation Sans", "DejaVu Sans", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 56px; }
header p { color: var(--soft); margin: 4px 0 0; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; letter-spacing: -0.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 0 0 4px; }
section { background: var(--card); border: 1px solid var(--line);
  border-radius: 14px; padding: 22px 24px; margin-top: 20px; }
section > p { color: var(--soft); margin: 0 0 14px; max-width: 75ch; }
.tiles { display: grid; gap: 14px; margin-top: 22px;
  grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 14px 18px; }
.tile span { display: block; color: var(--soft); font-size: 0.85rem; }
.tile b { display: block; font-size: 1.7rem; line-height: 1.3; font-weight: 650;
  font-variant-numeric: tabular-nums; }
.good { color: var(--good); } .bad { color: var(--bad); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 8px 10px; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
tr:last-child td, tr:last-child th { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 500; font-size: 0.85rem; }
tbody th { font-weight: 500; overflow-wrap: break-word; }
td { white-space: nowrap; }
td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
.charts { display: grid; gap: 28px; margin-top: 14px; grid-template-columns: 1fr 1fr; }
.charts > :first-child:nth-last-child(odd) { grid-column: 1 / -1; }
h3 { font-size: 0.95rem; font-weight: 600; margin: 0 0 8px; }
.wide + h3 { margin-top: 22px; }
figure { margin: 0; min-width: 0; }
figure svg { display: block; overflow: visible; }
figure.plot { padding: 0 10px 40px 52px; }
figure.profile { padding: 8px 0 4px; }
svg text { fill: var(--soft); font-size: 12px; }
svg text.phase { font-size: 11px; }
.grid, .axis { stroke: var(--line); stroke-width: 1; }
.band { fill: var(--band); }
.cut { fill: var(--cut); } .kept { fill: var(--c0); }
.curve { fill: none; stroke-width: 2.2; stroke-linejoin: round;
  vector-effect: non-scaling-stroke; }
.curve.dashed { stroke-dasharray: 6 5; stroke-width: 1.6; }
.curve.thin { stroke-width: 1.2; opacity: 0.55; }
.lane line { stroke-width: 2; }
.c0 { --own: var(--c0); } .c1 { --own: var(--c1); } .c2 { --own: var(--c2); }
.c3 { --own: var(--c3); } .c4 { --own: var(--c4); } .c5 { --own: var(--c5); }
.curve, .lane { stroke: var(--own); }
circle { fill: var(--own); stroke: none; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px;
  margin: 0 0 12px -52px; padding: 0; font-size: 0.85rem; color: var(--soft); }
.legend.flat { margin-left: 0; }
.key { display: inline-block; width: 18px; margin-right: 6px; vertical-align: middle;
  border-top: 3px solid var(--own); }
.key.dashed { border-top-style: dashed; border-top-width: 2px; }
.key.dots { width: 9px; height: 9px; border: 0; border-radius: 50%;
  background: var(--own); }
.key.box { width: 12px; height: 12px; border: 0; border-radius: 3px; }
.key.box.left { background: var(--c0); } .key.box.gone { background: var(--cut); }
.groups { list-style: none; margin: 18px 0 0; padding: 0; }
.groups summary { display: grid; gap: 2px 14px; align-items: center; cursor: pointer;
  grid-template-columns: minmax(120px, 15rem) 1fr 9.5rem; padding: 5px 0;
  list-style: none; border-radius: 6px; }
.groups summary::-webkit-details-marker { display: none; }
.groups .name { overflow-wrap: anywhere; }
.groups .name::before { content: "\\25B8"; color: var(--soft); display: inline-block;
  width: 1.1em; transition: transform 0.15s; }
.groups details[open] .name::before { transform: rotate(90deg); }
.groups .count { text-align: right; color: var(--soft); white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.bar { height: 12px; border-radius: 6px; background: var(--cut); overflow: hidden;
  display: block; }
.bar i { display: block; height: 100%; background: var(--c0); border-radius: 6px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.groups dl { padding: 4px 0 12px 1.1em; font-size: 0.92rem; }
footer { color: var(--soft); font-size: 0.85rem; margin-top: 24px; }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--c0);
  outline-offset: 2px; }
@media (max-width: 720px) {
  main { padding: 20px 14px 40px; } h1 { font-size: 1.5rem; }
  section { padding: 18px 16px; } .charts { grid-template-columns: 1fr; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 10px; }
  .tile:first-child:nth-last-child(odd) { grid-column: 1 / -1; }
  .tile { padding: 12px 14px; } .tile b { font-size: 1.35rem; }
  .groups summary { grid-template-columns: 1fr auto; }
  .groups .bar { grid-column: 1 / -1; grid-row: 2; }
  th, td { padding: 8px 4px; font-size: 0.88rem; }
  .groups dl, .details { grid-template-columns: 1fr; }
  .groups dt, .details dt { font-size: 0.85rem; margin-top: 4px; } }
@media (prefers-reduced-motion: reduce) { * { transition: none !important; } }
@media print { body { background: none; } section, .tile { break-inside: avoid; } }
"""
