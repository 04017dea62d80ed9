// Model text on the page: through text nodes only, with its invisible characters shown as codes.
"use strict";

(() => {
  const CUT = 20000; // characters that a long text shows at first
  // Controls but tab and line feed; direction marks, embeddings, overrides and isolates; zero-width
  // characters, fillers that are drawn as nothing, line and paragraph separators; tag characters and
  // the selectors that can carry hidden text.
  const HIDDEN =
    // eslint-disable-next-line no-control-regex
    /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180E\u200B-\u200F\u2028-\u202E\u2060-\u206F\u3164\uFEFF\uFFA0\uFFF9-\uFFFB]|[\u{E0000}-\u{E007F}\u{E0100}-\u{E01EF}]/gu;

  function codeOf(character) {
    const point = character.codePointAt(0);
    if (point < 32) return String.fromCodePoint(0x2400 + point);
    return `U+${point.toString(16).toUpperCase().padStart(4, "0")}`;
  }

  // One line without surprises, for lists.
  emTiers.plain = (text) =>
    text.replace(/[\t\n\r ]+/g, " ").replace(HIDDEN, (character) => `[${codeOf(character)}]`);

  // An element of a class with text; every place that shows data uses this or `fill`.
  emTiers.make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  function appendRun(target, text, sought) {
    if (!sought) {
      target.append(text);
      return;
    }
    const lower = text.toLowerCase();
    // Lower case can be longer than the text (in Turkish, say): then nothing is marked.
    let at = lower.length === text.length ? lower.indexOf(sought) : -1;
    let from = 0;
    for (let marks = 0; at >= 0 && marks < 500; marks++) {
      target.append(text.slice(from, at), emTiers.make("mark", "", text.slice(at, at + sought.length)));
      from = at + sought.length;
      at = lower.indexOf(sought, from);
    }
    target.append(text.slice(from));
  }

  function appendVisible(target, text, sought) {
    let from = 0;
    for (const match of text.matchAll(HIDDEN)) {
      if (match.index > from) appendRun(target, text.slice(from, match.index), sought);
      target.append(emTiers.make("span", "control", codeOf(match[0])));
      from = match.index + match[0].length;
    }
    appendRun(target, text.slice(from), sought);
  }

  // A block of model text; a long one is cut until the reader asks for the whole.
  emTiers.block = (text, sought = "") => {
    const block = emTiers.make("pre", "text");
    block.dir = "auto";
    const end = text.length > CUT ? safeEnd(text, CUT) : text.length;
    appendVisible(block, text.slice(0, end), sought);
    if (end === text.length) return block;
    const holder = emTiers.make("div");
    const button = emTiers.make(
      "button", "whole", `Show all ${text.length.toLocaleString("en")} characters`
    );
    button.type = "button";
    button.addEventListener("click", () => {
      block.textContent = "";
      appendVisible(block, text, sought);
      button.remove();
    });
    holder.append(block, button);
    return holder;
  };

  // Not between the halves of a surrogate pair.
  function safeEnd(text, end) {
    const code = text.charCodeAt(end - 1);
    return code >= 0xd800 && code <= 0xdbff ? end - 1 : end;
  }
})();
