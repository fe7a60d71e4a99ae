"""How the report looks: light and dark, on a desk and in a hand."""

STYLE = """
:root { color-scheme: light dark;
  --page: #fbfbfa; --card: #fff; --ink: #1c1d1f; --soft: #6a6d73; --line: #e4e4e1; --accent: #2b6cb0;
  --c0: #f6b3ab; --c1: #fbd6a4; --c2: #f6edb4; --ins: #c9ead0; --error: #b3261e; }
@media (prefers-color-scheme: dark) { :root {
  --page: #16181b; --card: #1f2226; --ink: #e8e8e6; --soft: #9a9da3; --line: #33373c; --accent: #7fb2e5;
  --c0: #7d332c; --c1: #70501f; --c2: #5b5525; --ins: #24502f; --error: #ff9a90; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
header { display: flex; flex-wrap: wrap; gap: .5rem 2rem; align-items: end; margin-bottom: 1.25rem; }
h1 { font-size: 1.5rem; margin: 0; }
.facts { display: flex; flex-wrap: wrap; gap: 0 1.25rem; list-style: none; margin: 0; padding: 0;
  color: var(--soft); }
.facts b { color: var(--ink); }
figure { margin: 0 0 0 auto; width: 16rem; }
.bars { display: flex; align-items: end; gap: 2px; height: 3rem; border-bottom: 1px solid var(--line); }
.bars i { flex: 1; background: var(--accent); border-radius: 2px 2px 0 0; }
figcaption { display: flex; justify-content: space-between; font-size: .75rem; color: var(--soft); }
input[name=show] { position: absolute; opacity: 0; }
input + label { display: inline-block; margin: 0 .25rem .5rem 0; padding: .2rem .7rem; cursor: pointer;
  border: 1px solid var(--line); border-radius: 99px; background: var(--card); }
input:checked + label { background: var(--ink); color: var(--page); border-color: var(--ink); }
input:focus-visible + label { outline: 2px solid var(--accent); outline-offset: 2px; }
#below:checked ~ ol li:not(.below), #changed:checked ~ ol li:not(.changed),
#wrong:checked ~ ol li:not(.wrong), #failed:checked ~ ol li:not(.failed) { display: none; }
.note { color: var(--soft); margin: .25rem 0; }
ol { list-style: none; margin: .5rem 0 0; padding: 0; display: grid; gap: .6rem;
  grid-template-columns: minmax(0, 1fr); }
li[class] { display: grid; grid-template-columns: minmax(0, 16rem) minmax(0, 1fr); gap: .5rem 1.25rem;
  padding: .75rem 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  content-visibility: auto; contain-intrinsic-size: auto 10rem; }
.picture { display: grid; place-items: start; }
.picture img { max-width: 100%; min-height: 2.25rem; border-radius: 3px; }
.none { color: var(--soft); font-style: italic; }
p { margin: 0; }
.text { display: flex; flex-wrap: wrap; gap: 0 .75rem; align-items: baseline; }
.text b { font: 600 1.35rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.text > b span { border-radius: 3px; padding: 0 1px; }
.text > span { color: var(--soft); }
.label b { font-size: 1rem; color: var(--ink); }
.wrong .label b { color: var(--error); }
.c0 { background: var(--c0); } .c1 { background: var(--c1); } .c2 { background: var(--c2); }
table { border-spacing: 0; margin: .35rem 0; font-size: .87rem; }
th { text-align: left; font-weight: 400; color: var(--soft); padding: 0 1rem 0 0; }
td { font-family: ui-monospace, monospace; padding: 0 1rem 0 0; overflow-wrap: anywhere; }
.same td { color: var(--soft); }
small { color: var(--soft); font-family: system-ui, sans-serif; }
input:checked + label small { color: inherit; }
ins { background: var(--ins); text-decoration: none; border-radius: 2px; }
del { color: var(--soft); }
.error { color: var(--error); }
code { font-size: .8rem; color: var(--soft); overflow-wrap: anywhere; white-space: pre-wrap; }
@media (max-width: 40rem) { li[class] { grid-template-columns: minmax(0, 1fr); }
  figure { margin: 0; width: 100%; }
  th, td { padding-right: .6rem; } }
"""
