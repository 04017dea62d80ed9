// Which answers are shown, in which order: filters and order on the columns, search in the texts.
"use strict";

(() => {
  const APART = 30; // points of alignment between judges
  let ranks = null; // per order: one number per row, high first
  let searching = 0;

  emTiers.sought = "";
  emTiers.matches = null; // Uint8Array: rows that hold the search text; null: no search

  // Per outcome: 0 where it is not a tier; the tier of the first rank has the highest number.
  function tierCodes() {
    const { outcomes, tiers, terms } = emTiers.meta;
    const order = [...tiers].sort((a, b) => terms.outcome[b].rank - terms.outcome[a].rank);
    return outcomes.map((name) => order.indexOf(name) + 1);
  }

  // Per row: judges with a verdict (no score is not a vote against a flag), judges that flag it, its highest tier, whether tiers differ, spread of alignment.
  emTiers.prepare = () => {
    const n = emTiers.rows;
    const code = tierCodes();
    const silent = emTiers.meta.outcomes.map((name) => emTiers.meta.withoutVerdict.includes(name));
    const { judges } = emTiers.columns;
    const facts = {
      flags: new Uint8Array(n), judged: new Uint8Array(n),
      tiersDiffer: new Uint8Array(n), spread: new Float32Array(n),
    };
    ranks = {
      flagged: new Float32Array(n), disputed: new Float32Array(n),
      alignment: new Float32Array(n), coherence: new Float32Array(n),
    };
    for (let row = 0; row < n; row++) {
      let low = Infinity, high = -Infinity, coherence = Infinity, tier = 0, seen = -1;
      for (const judge of judges) {
        const outcome = judge.outcome[row];
        if (outcome === emTiers.NO_OUTCOME) continue;
        if (!silent[outcome]) facts.judged[row]++;
        if (code[outcome]) {
          facts.flags[row]++;
          if (seen >= 0 && seen !== outcome) facts.tiersDiffer[row] = 1;
          seen = outcome;
          tier = Math.max(tier, code[outcome]);
        }
        const score = judge.alignment[row];
        if (score < low) low = score;
        if (score > high) high = score;
        if (judge.coherence[row] < coherence) coherence = judge.coherence[row];
      }
      facts.spread[row] = high > low ? high - low : 0;
      const split = facts.flags[row] > 0 && facts.flags[row] < facts.judged[row];
      ranks.flagged[row] = facts.flags[row] * 1000 + tier * 200 - (low < Infinity ? low : 100);
      ranks.disputed[row] = (split ? 400 : 0) + (facts.tiersDiffer[row] ? 200 : 0) + facts.spread[row];
      ranks.alignment[row] = low < Infinity ? -low : -1000;
      ranks.coherence[row] = coherence < Infinity ? -coherence : -1000;
    }
    emTiers.facts = facts;
  };

  // Rows that pass `filter`, in its order.
  emTiers.select = (filter) => {
    const { columns, facts, meta, rows, matches } = emTiers;
    const judges = filter.judge < 0 ? columns.judges : [columns.judges[filter.judge]];
    const asked = filter.question.trim().toLowerCase();
    const questions = asked
      ? meta.questions.map((q) => `${q.set} / ${q.id}`.toLowerCase().includes(asked))
      : null;
    const wanted = meta.outcomes.map((name) =>
      filter.outcome === "flagged" ? meta.tiers.includes(name) : name === filter.outcome
    );
    const byScore = filter.low !== null || filter.high !== null;
    const low = filter.low ?? -Infinity;
    const high = filter.high ?? Infinity;
    const found = new Uint32Array(rows);
    let count = 0;
    for (let row = 0; row < rows; row++) {
      if (matches && !matches[row]) continue;
      if (filter.variant >= 0 && columns.variant[row] !== filter.variant) continue;
      if (filter.level >= 0 && columns.level[row] !== filter.level) continue;
      if (questions && !questions[columns.question[row]]) continue;
      if (filter.outcome && !judges.some((judge) => wanted[judge.outcome[row]])) continue;
      if (byScore && !judges.some((j) => j[filter.score][row] >= low && j[filter.score][row] <= high))
        continue;
      if (!disputed(filter.dispute, facts, row)) continue;
      if (filter.labelled && Boolean(emTiers.labels.get(columns.key[row])) !== (filter.labelled === "yes"))
        continue;
      found[count++] = row;
    }
    const order = found.slice(0, count);
    const rank = ranks[filter.sort];
    if (rank) order.sort((a, b) => rank[b] - rank[a] || a - b);
    return order;
  };

  function disputed(kind, facts, row) {
    if (kind === "flag") return facts.flags[row] > 0 && facts.flags[row] < facts.judged[row];
    if (kind === "tier") return facts.tiersDiffer[row] === 1;
    if (kind === "score") return facts.spread[row] >= APART;
    return true;
  }

  // Search all texts part by part; `onProgress(done, of, found)` after each. A newer search stops it.
  emTiers.search = async (text, onProgress) => {
    const mine = ++searching;
    const sought = text.trim().toLowerCase();
    emTiers.sought = sought;
    if (!sought) {
      emTiers.matches = null;
      return true;
    }
    const { parts } = emTiers.meta;
    const matches = new Uint8Array(emTiers.rows);
    emTiers.matches = matches;
    let found = 0;
    for (let number = 0; number < parts.length; number++) {
      const part = await emTiers.part("text", number);
      if (mine !== searching) return false;
      const inPrompt = part.prompts.map((messages) => messages.some((m) => holds(m.content, sought)));
      part.rows.forEach(([prompt, response, reasoning], index) => {
        if (inPrompt[prompt] || holds(response, sought) || holds(reasoning, sought)) {
          matches[parts[number] + index] = 1;
          found++;
        }
      });
      onProgress(number + 1, parts.length, found);
    }
    return true;
  };

  function holds(text, sought) {
    return Boolean(text) && text.toLowerCase().includes(sought);
  }
})();
