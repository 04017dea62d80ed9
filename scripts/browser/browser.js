// Puts the page together: controls, keys, addresses.
"use strict";

(() => {
  const $ = (id) => document.getElementById(id);
  const count = (n) => n.toLocaleString("en");
  const FILTERS = ["variant", "level", "judge", "outcome", "score", "dispute", "labelled", "sort"];

  emTiers.say = (text) => {
    $("status").textContent = text;
  };

  function options(select, names, all) {
    const first = new Option(all, "-1");
    select.replaceChildren(first, ...names.map((name, i) => new Option(emTiers.plain(name), String(i))));
  }

  function fillControls() {
    const { meta } = emTiers;
    document.title = $("title").textContent = emTiers.plain(meta.title);
    options($("variant"), meta.variants.map((v) => v.label), "all");
    options($("level"), meta.levels.map((level) => emTiers.term("level", level).label), "all");
    options($("judge"), meta.judges, "any");
    const outcomes = [...meta.tiers, ...meta.outcomes.filter((o) => !meta.tiers.includes(o))];
    $("outcome").replaceChildren(
      new Option("any", ""), new Option("flagged, any tier", "flagged"),
      ...outcomes.map((name) => new Option(emTiers.term("outcome", name).label, name))
    );
    // A list of thousands does not help; typing part of a name finds every question.
    $("questions").replaceChildren(
      ...meta.questions.slice(0, 500).map((q) => new Option(emTiers.plain(q.text), `${q.set} / ${q.id}`))
    );
    // Each badge of the list is one judge's outcome, with its alignment score.
    $("legend").replaceChildren(
      "Each judge's outcome and alignment score: ", ...outcomes.map((name) => emTiers.badge(name))
    );
    const keys = emTiers.labels.choices().map((tier, i) => `${i + 1} ${emTiers.term("outcome", tier).label}`);
    $("help-numbers").textContent = `1 … ${keys.length}`;
    $("help-tiers").textContent = `label: ${keys.join(", ")}`;
  }

  function filter() {
    const bound = (id) => ($(id).value === "" || Number.isNaN($(id).valueAsNumber) ? null : $(id).valueAsNumber);
    return {
      variant: Number($("variant").value), level: Number($("level").value),
      judge: Number($("judge").value), question: $("question").value,
      outcome: $("outcome").value, score: $("score").value, low: bound("low"), high: bound("high"),
      dispute: $("dispute").value, labelled: $("labelled").value, sort: $("sort").value,
    };
  }

  function apply() {
    const rows = emTiers.select(filter());
    emTiers.show(rows);
    emTiers.say(summary(rows.length));
  }

  function summary(shown) {
    const { meta, rows } = emTiers;
    const of = shown === rows ? `${count(rows)} answers` : `${count(shown)} of ${count(rows)} answers`;
    if (meta.total === rows) return of;
    return `${of}; of the ${count(meta.total)} in the study, flagged and disputed answers were kept first`;
  }

  async function search() {
    const text = $("search").value;
    try {
      const done = await emTiers.search(text, (part, parts, found) => {
        if (part % 8 === 0) emTiers.say(`Searching: ${part} of ${parts} files, ${count(found)} found`);
      });
      if (!done) return;
    } catch (error) {
      emTiers.say(error.message);
      return;
    }
    apply();
  }

  function openFromAddress() {
    const found = /^#r=(.+)$/.exec(location.hash);
    if (!found) return;
    let key = found[1];
    try {
      key = decodeURIComponent(key);
    } catch {
      // Not encoded: used as it is.
    }
    const row = emTiers.byKey.get(key);
    if (row === undefined) {
      emTiers.say("The linked answer is not on this page.");
      return;
    }
    if (row === emTiers.opened()) return;
    emTiers.chooseRow(row);
    emTiers.open(row);
  }

  // The first flagged answer, where the list and the answer fit beside each other.
  function openFirst() {
    const row = emTiers.first();
    if (row < 0 || location.hash.startsWith("#r=") || !emTiers.facts.flags[row]) return;
    emTiers.chooseRow(row);
    if (matchMedia("(min-width: 761px)").matches) emTiers.open(row);
  }

  function blind(on) {
    $("blind").checked = on;
    document.body.classList.toggle("blind", on);
  }

  function help(show) {
    if (show) $("help").showModal();
    else $("help").close();
  }

  function move(by) {
    emTiers.step(by);
    if (emTiers.opened() >= 0) emTiers.open(emTiers.selected());
  }

  const KEYS = {
    j: () => move(1),
    k: () => move(-1),
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    Enter: () => emTiers.selected() >= 0 && emTiers.open(emTiers.selected()),
    Escape: () => emTiers.close(),
    "/": () => $("search").focus(),
    0: () => emTiers.label(null),
    b: () => blind(!$("blind").checked),
    "?": () => help(true),
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    const { target } = event;
    if (target.closest("input, select, textarea")) {
      if (event.key === "Escape") $("list").focus();
      return;
    }
    if (target.closest("button, a, summary") && ["Enter", " "].includes(event.key)) return;
    if (event.key.startsWith("Arrow") && target !== $("list")) return;
    const choice = emTiers.labels.choices()[Number(event.key) - 1];
    const action = choice ? () => emTiers.label(choice) : KEYS[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  function listen() {
    for (const id of FILTERS) $(id).addEventListener("change", apply);
    for (const id of ["low", "high", "question"]) $(id).addEventListener("input", debounce(apply, 150));
    $("search").addEventListener("input", debounce(search, 300));
    $("controls").addEventListener("submit", (event) => event.preventDefault());
    $("controls").addEventListener("reset", () => setTimeout(search));
    $("more").addEventListener("click", () => {
      const shown = document.body.classList.toggle("filters");
      $("more").setAttribute("aria-expanded", shown);
    });
    $("help-open").addEventListener("click", () => help(true));
    $("help-close").addEventListener("click", () => help(false));
    $("blind").addEventListener("change", () => blind($("blind").checked));
    $("export").addEventListener("click", emTiers.exportLabels);
    document.addEventListener("keydown", onKey);
    window.addEventListener("hashchange", openFromAddress);
  }

  function debounce(action, wait) {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(action, wait);
    };
  }

  async function start() {
    if (!emTiers.meta) {
      emTiers.say("data/meta.js cannot be read; keep index.html and the data folder together.");
      return;
    }
    fillControls();
    emTiers.labels.read();
    await emTiers.loadIndex((ready, all) => emTiers.say(`Loading: ${count(ready)} of ${count(all)} answers`));
    emTiers.prepare();
    listen();
    apply();
    emTiers.countLabels();
    openFirst();
    openFromAddress();
    document.body.dataset.ready = String(Math.round(performance.now()));
  }

  start().catch((error) => emTiers.say(error.message));
})();
