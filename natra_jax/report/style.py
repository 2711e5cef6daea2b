"""The HTML page's style sheet.

The page is light or dark by the reader's setting, tables scroll where a screen is narrow, and it is
fit to print. A backslash ends a line that the page goes on with.
"""

STYLE = """
:root { --ink: #1f2933; --muted: #5b6875; --line: #d9dee4; --paper: #ffffff; --soft: #f4f6f8;\
 --accent: #0067a3; --warn: #b34700;
  --warn-soft: #fdf3ec; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e9ee; --muted: #9dabb8; --line: #38434e; --paper: #14191f; --soft: #1c232b;\
 --accent: #6cb8ec; --warn: #f2a36b;
    --warn-soft: #2c211a; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 3rem; max-width: 68rem; background: var(--paper);\
 color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans",\
 Arial, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .75rem; letter-spacing: -.01em;\
 overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 .6rem; overflow-wrap: anywhere; }
p { margin: 0 0 .8rem; max-width: 44rem; overflow-wrap: anywhere; }
a { color: var(--accent); }
.lead { font-size: 1.15rem; line-height: 1.5; }
section { margin-top: 2.75rem; padding-top: 1.75rem; border-top: 1px solid var(--line); }
dl, dd, dt { margin: 0; }
.highlights { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.5rem 0; }
.highlights > div { flex: 1 1 12rem; display: flex; flex-direction: column-reverse;\
 justify-content: flex-end; padding: .9rem 1.1rem;
  background: var(--soft); border-radius: .5rem; }
.highlights dd { font-size: 1.6rem; line-height: 1.25; font-weight: 650;\
 font-variant-numeric: tabular-nums; }
.highlights dt { color: var(--muted); font-size: .875rem; line-height: 1.4; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1.25rem 0 0; padding: 0;\
 list-style: none; font-size: .9375rem; }
.warning { padding: .6rem .9rem; border-left: 3px solid var(--warn); background: var(--warn-soft);\
 border-radius: 0 .3rem .3rem 0; }
.warning strong { color: var(--warn); }
.scroll { overflow-x: auto; margin: 1.25rem 0 .6rem; }
.scroll:focus-visible, a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .9375rem; line-height: 1.35;\
 font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .6rem; text-align: right; vertical-align: baseline; white-space: nowrap; }
thead th { font-weight: 600; font-size: .8125rem; vertical-align: bottom; white-space: normal; }
thead th[scope=colgroup] { text-align: center; padding-bottom: .1rem; }
thead th[scope=col] { color: var(--muted); font-weight: 500; }
thead tr:last-child th, thead th[rowspan] { border-bottom: 1.5px solid var(--ink); }
tbody tr + tr > * { border-top: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 1.5px solid var(--ink); }
th[scope=row], thead th:first-child[scope=col]:not(.start), .words { text-align: left; }
th[scope=row] { font-weight: 600; position: sticky; left: 0; background: var(--paper); }
td.words { white-space: normal; min-width: 8rem; overflow-wrap: anywhere; }
.start { border-left: 1px solid var(--line); }
td small, th small { display: block; color: var(--muted); font-size: .75rem; font-weight: 400; }
.aside > * { background: var(--soft) !important; }
.none { color: var(--muted); }
.note { color: var(--muted); font-size: .875rem; line-height: 1.5; max-width: 52rem; }
.glossary, .facts { font-size: .875rem; line-height: 1.5; }
.glossary > div { max-width: 52rem; padding-left: 1rem; text-indent: -1rem; }
.glossary dt, .glossary dd { display: inline; }
.glossary dt { font-weight: 600; }
.glossary dd { color: var(--muted); }
.facts > div { display: grid; grid-template-columns: minmax(8rem, 14rem) 1fr; gap: 1rem;\
 padding: .25rem 0;
  border-bottom: 1px solid var(--line); }
.facts dt { color: var(--muted); }
.facts dd { overflow-wrap: anywhere; }
figure { margin: 1.5rem 0 0; }
.paper { display: inline-block; max-width: 100%; background: #fff; border-radius: .4rem; }
img { display: block; max-width: 100%; height: auto; border-radius: .4rem; }
figcaption { color: var(--muted); font-size: .875rem; line-height: 1.5; margin-top: .5rem;\
 max-width: 44rem; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line);\
 color: var(--muted); font-size: .8125rem; }
@media (prefers-color-scheme: dark) { .paper { padding: .75rem; } }
@media (max-width: 40rem) { body { padding-top: 1.5rem; } .facts > div {\
 grid-template-columns: 1fr; gap: 0; } }
@media print {
  body { max-width: none; padding: 0; }
  nav { display: none; }
  figure, tr { break-inside: avoid; }
  .scroll { overflow: visible; }
}
"""
