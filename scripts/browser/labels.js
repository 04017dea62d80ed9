// Labels of the reader: kept in this browser by answer, written out as the sheet that the workflow
// reads (columns response_key, tier, labeller, note).
"use strict";

(() => {
  const STORE = "em-tiers-labels";
  const choices = () => emTiers.meta.choices;
  let labels = new Map();

  function read() {
    try {
      const stored = JSON.parse(localStorage.getItem(STORE) || "{}");
      labels = new Map(Object.entries(stored).filter(([, label]) => label && label.tier));
    } catch (error) {
      emTiers.say(`Earlier labels cannot be read (${error.message}); starting without labels.`);
    }
  }

  function keep() {
    try {
      localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(labels)));
      return true;
    } catch (error) {
      emTiers.say(`Labels cannot be stored in this browser (${error.message}); export them before you leave.`);
      return false;
    }
  }

  const here = () => emTiers.columns.key.filter((key) => labels.has(key));

  function changed() {
    // Another tab may have written since: only this answer's entry is replaced.
    keep();
    emTiers.countLabels();
    emTiers.redraw();
    emTiers.drawLabel();
  }

  emTiers.labels = {
    read,
    choices,
    get: (key) => labels.get(key),
    set(key, tier) {
      read();
      const note = labels.get(key)?.note || "";
      const labeller = document.getElementById("labeller").value.trim();
      if (tier) labels.set(key, { tier, labeller, note });
      else labels.delete(key);
      changed();
    },
    note(key, note) {
      read();
      const label = labels.get(key);
      if (label) labels.set(key, { ...label, note });
      keep();
    },
  };

  emTiers.countLabels = () => {
    const count = here().length;
    document.getElementById("labels-count").textContent = `${count} labelled here`;
    document.getElementById("export").disabled = count === 0;
  };

  // A cell of free text that a spreadsheet would take for a formula gets an apostrophe in front.
  function safe(text) {
    return /^[\s\u0000]*[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  }

  function cell(text) {
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  emTiers.labelSheet = () => {
    const rows = here().map((key) => {
      const { tier, labeller, note } = labels.get(key);
      return [key, tier, safe(labeller || ""), safe(note || "")].map(cell).join(",");
    });
    return ["response_key,tier,labeller,note", ...rows].join("\r\n") + "\r\n";
  };

  emTiers.exportLabels = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([emTiers.labelSheet()], { type: "text/csv" }));
    link.download = "labels.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
})();
