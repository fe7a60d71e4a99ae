"""The report's style: in the colours of the service's page, light and dark, for large and small screens."""

STYLE = """
:root { color-scheme: light dark;
  --page: #f4f6f9; --surface: #ffffff; --ink: #131a24; --muted: #4c576a; --line: #dfe4ec;
  --accent: #1d4ed8; --on-accent: #ffffff;
  --problem: #b42318; --problem-surface: #fef3f1; --waiting: #96640a;
  --sure: #e4eefc; --likely: #e3f0f4; --unsure: #fbf1cc; --weak: #fde2bf; --guess: #fbd0c3;
  --sure-bar: #1d5fd0; --likely-bar: #3f93b5; --unsure-bar: #b98a00; --weak-bar: #d97706;
  --guess-bar: #b93815; }
@media (prefers-color-scheme: dark) { :root {
  --page: #0d1117; --surface: #161c25; --ink: #e8edf5; --muted: #9ca8ba; --line: #2a3342;
  --accent: #7eaaff; --on-accent: #0b1220; --problem: #ff9a8b; --problem-surface: #2c1917; --waiting: #e3b45c;
  --sure: #1b3458; --likely: #1a3a45; --unsure: #40371a; --weak: #4a3213; --guess: #50251a;
  --sure-bar: #6aa5ff; --likely-bar: #5cbad9; --unsure-bar: #e0bb4a; --weak-bar: #f5a03d;
  --guess-bar: #ff8463; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); 
  font: 0.9375rem/1.5 Inter, system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 100rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
header { display: flex; flex-wrap: wrap; gap: .5rem 2rem; align-items: end; margin-bottom: 1.25rem; }
h1 { font-size: 1.5rem; margin: 0; }
.facts { display: flex; flex-wrap: wrap; gap: 0 1.25rem; list-style: none; margin: 0; padding: 0;
  color: var(--muted); }
.facts b { color: var(--ink); }
dl { display: flex; flex-wrap: wrap; gap: .25rem 2rem; margin: 0 0 1.25rem; font-size: .8125rem; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem .75rem; list-style: none; margin: .25rem 0 .75rem;
  padding: 0; color: var(--muted); font-size: .75rem; }
.legend li { display: flex; align-items: center; gap: .3rem; }
.legend span { width: .875rem; height: .875rem; border-radius: 3px; }
figure { margin: 0 0 0 auto; width: 16rem; }
.bars { display: flex; align-items: end; gap: 2px; height: 3rem; border-bottom: 1px solid var(--line); }
.bars i { flex: 1; background: var(--accent); border-radius: 2px 2px 0 0; }
figcaption { display: flex; justify-content: space-between; font-size: .75rem; color: var(--muted); }
input[name=show] { position: absolute; opacity: 0; }
input + label { display: inline-flex; align-items: center; gap: .375rem; min-height: 2.75rem;
  margin: 0 .25rem .5rem 0; padding: 0 1rem; cursor: pointer;
  border: 1px solid var(--line); border-radius: 99px; background: var(--surface); }
input:checked + label { background: var(--accent); color: var(--on-accent); border-color: var(--accent); }
input:focus-visible + label { outline: 2px solid var(--accent); outline-offset: 2px; }
#below:checked ~ ol li:not(.below), #changed:checked ~ ol li:not(.changed),
#wrong:checked ~ ol li:not(.wrong), #failed:checked ~ ol li:not(.failed) { display: none; }
.note { color: var(--muted); margin: .25rem 0; }
li .note { padding: .25rem .75rem; border-left: 3px solid var(--waiting); color: var(--ink);
  font-size: .875rem; }
ol > .failed { align-self: start; border-color: var(--problem); background: var(--problem-surface); }
ol { list-style: none; margin: .5rem 0 0; padding: 0; display: grid; gap: .6rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 28rem), 1fr)); }
ol > li { display: grid; grid-template-columns: minmax(0, 1fr); align-content: start; gap: .5rem;
  padding: .75rem 1rem; background: var(--surface); border: 1px solid var(--line); border-radius: 14px;
  content-visibility: auto; contain-intrinsic-size: auto 10rem; }
.picture { display: grid; place-items: start; }
.picture img { max-width: 100%; height: auto; border-radius: 3px; }
.pixels { image-rendering: pixelated; }
.none { color: var(--muted); font-style: italic; }
p { margin: 0; }
.text { display: flex; flex-wrap: wrap; gap: 0 .75rem; align-items: baseline; }
.text b { font: 600 1.35rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.text > b span { border-radius: 3px; padding: 0 2px; margin-right: 1px; }
.sure, .likely, .unsure, .weak, .guess { background: var(--tint); box-shadow: inset 0 -3px var(--bar); }
.text > span { color: var(--muted); }
.label b { font-size: 1rem; color: var(--ink); }
.wrong .label b { color: var(--problem); }
.sure { --tint: var(--sure); --bar: var(--sure-bar); }
.likely { --tint: var(--likely); --bar: var(--likely-bar); }
.unsure { --tint: var(--unsure); --bar: var(--unsure-bar); }
.weak { --tint: var(--weak); --bar: var(--weak-bar); }
.guess { --tint: var(--guess); --bar: var(--guess-bar); }
table { border-spacing: 0; margin: .35rem 0; font-size: .8125rem; }
th { text-align: left; white-space: nowrap; font-weight: 400; color: var(--muted); padding: 0 1rem 0 0; }
td { font-family: ui-monospace, monospace; padding: 0 .6rem 0 0; overflow-wrap: anywhere; }
.same td { color: var(--muted); }
small { color: var(--muted); font-family: system-ui, sans-serif; }
input:checked + label small { color: inherit; }
ins { box-shadow: inset 0 0 0 1.5px var(--ink); padding: 0 2px; text-decoration: none; border-radius: 3px; }
del { color: var(--muted); }
.error { color: var(--problem); }
code { font-size: .8rem; color: var(--muted); overflow-wrap: anywhere; white-space: pre-wrap; }
@media (max-width: 40rem) {
  figure { margin: 0; width: 100%; }
  th, td { padding-right: .6rem; } }
"""
