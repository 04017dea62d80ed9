// One answer in full: prompt, answer, reasoning, and each judge's verdicts and reasons.
"use strict";

(() => {
  const { make } = emTiers;
  const pane = document.getElementById("detail");
  let open = -1;

  function heading(row) {
    const { columns, meta } = emTiers;
    const variant = meta.variants[columns.variant[row]];
    const question = meta.questions[columns.question[row]];
    const box = make("div", "heading");
    const back = make("button", "back", "‹ List");
    back.type = "button";
    back.addEventListener("click", emTiers.close);
    const title = make("h2", "secret", emTiers.plain(variant.label));
    const link = make("a", "permalink", "link to this answer");
    link.href = `#r=${columns.key[row]}`;
    const facts = make("p", "facts");
    const level = meta.levels[columns.level[row]] || "no level";
    facts.append(
      emTiers.plain(`${question.set} / ${question.id}`), ` · ${emTiers.term("level", level).label} · sample `,
      String(columns.sample[row]), " · ", link
    );
    const role = make("p", "facts secret", `${variant.variant} · ${emTiers.term("role", variant.role || "no role").label}`);
    box.append(back, title, facts, role);
    return box;
  }

  function folded(title, content) {
    const details = make("details");
    details.append(make("summary", "", title), content);
    return details;
  }

  function conversation(text, sought) {
    const box = make("div");
    const [prompt, response, reasoning, finish] = text;
    for (const { role, content } of prompt) {
      box.append(make("h3", "", role), emTiers.block(content, sought));
    }
    if (reasoning) box.append(folded("Reasoning of the model", emTiers.block(reasoning, sought)));
    const title = finish === "length" ? "answer (cut at the token limit)" : "answer";
    const answer = emTiers.block(response || "", sought);
    answer.classList.add("answer");
    box.append(make("h3", "", title), response ? answer : make("p", "hint", "(empty answer)"));
    return box;
  }

  function labelBox() {
    const box = make("fieldset", "label-box");
    box.append(make("legend", "", "My label"));
    emTiers.labels.choices().forEach((tier, i) => {
      const button = make("button", "choice", `${i + 1} ${emTiers.term("outcome", tier).label}`);
      emTiers.paint(button, tier);
      button.type = "button";
      button.dataset.tier = tier;
      button.addEventListener("click", () => emTiers.label(tier));
      box.append(button);
    });
    const clear = make("button", "choice", "0 none");
    clear.type = "button";
    clear.addEventListener("click", () => emTiers.label(null));
    const note = make("input");
    note.id = "note";
    note.placeholder = "note (after a label)";
    note.setAttribute("aria-label", "Note");
    note.addEventListener("input", () => emTiers.labels.note(emTiers.columns.key[open], note.value));
    box.append(clear, note);
    return box;
  }

  emTiers.drawLabel = () => {
    if (open < 0) return;
    const label = emTiers.labels.get(emTiers.columns.key[open]);
    for (const button of pane.querySelectorAll("[data-tier]"))
      button.setAttribute("aria-pressed", button.dataset.tier === label?.tier);
    const note = document.getElementById("note");
    note.disabled = !label;
    note.value = label?.note || "";
  };

  function number(value, digits = 1) {
    return typeof value === "number" ? String(Number(value.toFixed(digits))) : "–";
  }

  // A verdict is a list, see _verdicts_by_judge in browser_data.py.
  function verdictRow([rubric, found, state, mass, likely, rawText, reasoning]) {
    const row = make("tr");
    const said = typeof found === "string" ? emTiers.term("outcome", found).label : number(found);
    const status = state ? ` (${emTiers.term("status", state).label})` : "";
    const raw = make("td");
    raw.append(emTiers.block(rawText || ""));
    if (reasoning) raw.append(folded("its reasoning", emTiers.block(reasoning)));
    const sure = [];
    if (typeof mass === "number") sure.push(`numbers ${number(100 * mass)} %`);
    for (let i = 0; i < (likely || []).length; i += 2)
      sure.push(`${emTiers.term("outcome", likely[i]).label} ${number(100 * likely[i + 1])} %`);
    row.append(
      make("th", "", emTiers.words(rubric)), make("td", "said", said + status),
      make("td", "sure", sure.join("\n")), raw
    );
    row.firstChild.scope = "row";
    return row;
  }

  function judgeBox(name, why, verdicts) {
    const [outcome, assignedBy, rule, reason, human] = why || [];
    const box = make("section", "judge");
    const title = make("h3", "", emTiers.plain(name));
    if (outcome) title.append(" ", emTiers.badge(outcome));
    box.append(title);
    if (outcome) {
      const by = rule ? `${assignedBy}: ${rule}` : assignedBy;
      box.append(make("p", "reason", emTiers.plain(`${by}. ${reason || ""}`)));
      if (human) box.append(make("p", "reason", `human label: ${emTiers.term("outcome", human).label}`));
    }
    if (!verdicts.length) return box;
    const table = make("table");
    const head = make("tr");
    for (const column of ["asked", "said", "how sure", "raw text"]) head.append(make("th", "", column));
    table.append(head, ...verdicts.map(verdictRow));
    const scroller = make("div", "scroller");
    scroller.append(table);
    box.append(scroller);
    return box;
  }

  emTiers.open = async (row) => {
    open = row;
    const { columns, meta } = emTiers;
    history.replaceState(null, "", `#r=${columns.key[row]}`);
    document.body.classList.add("open");
    const { part, index } = emTiers.placeOf(row);
    let text, beside;
    try {
      [text, beside] = await Promise.all([emTiers.part("text", part), emTiers.part("verdicts", part)]);
    } catch (error) {
      pane.replaceChildren(make("p", "hint", error.message));
      return;
    }
    if (open !== row) return; // another answer was opened meanwhile
    const [prompt, ...rest] = text.rows[index];
    const judges = make("div", "secret");
    for (const name of meta.judges) {
      const [why, verdicts] = beside.rows[index][name] || [];
      if (verdicts) judges.append(judgeBox(name, beside.why[why], verdicts));
    }
    pane.replaceChildren(
      heading(row), conversation([text.prompts[prompt], ...rest], emTiers.sought), labelBox(), judges
    );
    pane.dataset.key = columns.key[row];
    pane.scrollTop = 0;
    emTiers.drawLabel();
  };

  emTiers.opened = () => open;

  emTiers.close = () => {
    open = -1;
    document.body.classList.remove("open");
    pane.replaceChildren(make("p", "hint", "Choose an answer."));
    delete pane.dataset.key;
    history.replaceState(null, "", location.pathname + location.search);
    document.getElementById("list").focus();
  };

  // Label what is open, or else what is selected in the list; never an answer whose text has not
  // arrived yet, for then another one is still on the screen.
  emTiers.label = (tier) => {
    const row = open >= 0 ? open : emTiers.selected();
    if (row < 0) return;
    const key = emTiers.columns.key[row];
    if (open >= 0 && pane.dataset.key !== key) emTiers.say("Not labelled: the answer is still loading.");
    else emTiers.labels.set(key, tier);
  };
})();
