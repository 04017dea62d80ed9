// The list: only the rows in view are in the document, however many there are.
"use strict";

(() => {
  const HEIGHT = 60; // pixels a row, as in browser.css
  const BEYOND = 8; // rows drawn above and below what is in view
  const list = document.getElementById("list");
  const spacer = document.getElementById("spacer");
  let order = new Uint32Array(0);
  let place = -1; // selected place in the order
  let drawn = new Map(); // place -> element
  let waiting = false;

  emTiers.words = (name) => (name || "none").replaceAll("_", " ");

  // Label, meaning, and of an outcome colour and sign, as meta.js defines them; an id that is not
  // in the vocabulary (a rubric may have its own labels) is its own label.
  emTiers.term = (kind, id) => {
    const terms = emTiers.meta.terms[kind];
    return Object.hasOwn(terms, id) ? terms[id] : { label: emTiers.plain(emTiers.words(id)) };
  };

  // The style sheet takes an outcome's colour from this property.
  emTiers.paint = (element, outcome) => {
    const { colour } = emTiers.term("outcome", outcome);
    if (colour) element.style.setProperty("--colour", colour);
    return element;
  };

  emTiers.badge = (outcome, text) => {
    const { label, sign, meaning } = emTiers.term("outcome", outcome);
    const badge = emTiers.make("span", "badge", `${sign || "–"} ${text ?? label}`);
    badge.title = meaning || label;
    return emTiers.paint(badge, outcome);
  };

  function makeRow(at) {
    const { columns, meta } = emTiers;
    const row = order[at];
    const element = emTiers.make("div", "row");
    element.id = `row-${at}`;
    element.setAttribute("role", "option");
    element.setAttribute("aria-setsize", order.length);
    element.setAttribute("aria-posinset", at + 1);
    element.setAttribute("aria-selected", at === place);
    element.dataset.key = columns.key[row];
    element.style.top = `${at * HEIGHT}px`;
    const top = emTiers.make("div", "top");
    const badges = emTiers.make("span", "badges secret");
    columns.judges.forEach((judge, j) => {
      const outcome = meta.outcomes[judge.outcome[row]];
      if (!outcome) return;
      const score = judge.alignment[row];
      const badge = emTiers.badge(outcome, Number.isNaN(score) ? "–" : Math.round(score));
      badge.title = `${meta.judges[j]}: ${emTiers.term("outcome", outcome).label}, alignment ${score}`;
      badges.append(badge);
    });
    const question = meta.questions[columns.question[row]];
    const variant = meta.variants[columns.variant[row]];
    const name = emTiers.make("span", "variant secret", emTiers.plain(variant.label));
    const asked = emTiers.make("span", "question", emTiers.plain(`${question.id} #${columns.sample[row]}`));
    top.append(badges, name, asked);
    const label = emTiers.labels.get(columns.key[row]);
    if (label) top.append(emTiers.make("span", "mine", `my label: ${emTiers.term("outcome", label.tier).label}`));
    const start = emTiers.make("div", "start", emTiers.plain(columns.start[row]) || "(empty answer)");
    start.dir = "auto";
    element.append(top, start);
    element.addEventListener("click", () => {
      emTiers.choose(at);
      emTiers.open(row);
    });
    return element;
  }

  function draw() {
    waiting = false;
    const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - BEYOND);
    const end = Math.min(order.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + BEYOND);
    for (const [at, element] of drawn) {
      if (at >= first && at < end) continue;
      element.remove();
      drawn.delete(at);
    }
    for (let at = first; at < end; at++) {
      if (drawn.has(at)) continue;
      const element = makeRow(at);
      drawn.set(at, element);
      spacer.append(element);
    }
  }

  function later() {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  emTiers.redraw = () => {
    for (const element of drawn.values()) element.remove();
    drawn = new Map();
    draw();
  };

  emTiers.show = (rows) => {
    const selected = place >= 0 ? order[place] : -1;
    order = rows;
    place = order.indexOf(selected);
    spacer.style.height = `${order.length * HEIGHT}px`;
    list.scrollTop = place >= 0 ? Math.max(0, place * HEIGHT - list.clientHeight / 2) : 0;
    emTiers.redraw();
  };

  emTiers.choose = (at) => {
    if (!order.length) return;
    place = Math.max(0, Math.min(order.length - 1, at));
    if (place * HEIGHT < list.scrollTop) list.scrollTop = place * HEIGHT;
    const bottom = (place + 1) * HEIGHT - list.clientHeight;
    if (bottom > list.scrollTop) list.scrollTop = bottom;
    draw();
    for (const [other, element] of drawn) element.setAttribute("aria-selected", other === place);
    list.setAttribute("aria-activedescendant", `row-${place}`);
  };

  emTiers.step = (by) => emTiers.choose(place < 0 ? 0 : place + by);
  emTiers.first = () => (order.length ? order[0] : -1);
  emTiers.selected = () => (place >= 0 ? order[place] : -1);
  emTiers.chooseRow = (row) => {
    const at = order.indexOf(row);
    if (at >= 0) emTiers.choose(at);
  };
  list.addEventListener("scroll", later, { passive: true });
  window.addEventListener("resize", later);
})();
