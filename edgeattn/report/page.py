"""The frame of report.html: a `string.Template` with its style. Its policy forbids loading anything."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>$title - edgeattn report</title>
<style>
:root { --ink: #1c2127; --dim: #5b6570; --line: #d9dee3; --page: #ffffff; --raised: #f5f7f9;
  --dense: #8a97a5; --efficient: #0b7a75; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --dim: #9aa5b0; --line: #363d45; --page: #15181c; --raised: #1e2329;
    --dense: #6c7885; --efficient: #3fb8af; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1.25rem 4rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; } p { margin: .4rem 0; }
.description, footer, .key, ul { color: var(--dim); }
.headline { font-size: 1.2rem; margin: 1rem 0; padding: .9rem 1.1rem; background: var(--raised);
  border-left: 4px solid var(--efficient); overflow-wrap: anywhere; }
.headline.failed { border-color: var(--bad); } p.failed { color: var(--bad); font-weight: 600; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; }
th { color: var(--dim); font-weight: 600; }
dl { display: grid; grid-template-columns: fit-content(35%) 1fr; gap: .15rem 1.2rem; margin: .4rem 0;
  font-size: .9rem; }
dt { color: var(--dim); overflow-wrap: anywhere; } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--raised); padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; }
summary { cursor: pointer; color: var(--dim); margin: .6rem 0; }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: .2rem .8rem; align-items: center;
  max-width: 44rem; font-size: .9rem; }
.bars h4 { grid-column: 1 / -1; margin: .6rem 0 0; font-size: .9rem; }
.bars .name { max-width: 9rem; overflow-wrap: anywhere; color: var(--dim); }
.bars .bar { display: block; height: .9rem; min-width: 2px; border-radius: 2px; }
.bars .value { font-variant-numeric: tabular-nums; }
.bar.reference { background: var(--dense); } .bar.other { background: var(--efficient); }
tr.marked td { font-weight: 600; } td.long { white-space: normal; min-width: 14rem; }
</style>
</head>
<body>
<header><h1>$title</h1><p class="description">$description</p></header>
<p class="headline $state">$headline</p>
$body
<footer><p>$footer</p></footer>
</body>
</html>
"""
