// Loads the data files: scripts that call emTiers.add(name, value), because a page opened from disk
// may not fetch. Light columns stay in typed arrays; texts load by need and the oldest are dropped.
"use strict";

window.emTiers = (() => {
  const MOST_CHARACTERS = 150e6; // of texts in memory
  const SCORES = ["alignment", "coherence", "topic"];
  const arrived = new Map();
  const parts = new Map(); // name -> {value, size}; in order of last use
  const pending = new Map();
  const api = { rows: 0, ready: 0, NO_OUTCOME: 255 };

  // The only addresses that a script may be loaded from; nothing from the data gets here.
  const policy = window.trustedTypes
    ? trustedTypes.createPolicy("em-tiers-parts", {
        createScriptURL(path) {
          if (!/^data\/[a-z]+-[0-9]+\.js$/.test(path)) throw new TypeError(`no data file: ${path}`);
          return path;
        },
      })
    : { createScriptURL: (path) => path };

  api.add = (name, value) => {
    if (name === "meta") api.meta = value;
    else arrived.set(name, value);
  };

  function loadScript(name) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = policy.createScriptURL(`data/${name}.js`);
      script.onload = () => {
        script.remove();
        const value = arrived.get(name);
        arrived.delete(name);
        if (value === undefined) reject(new Error(`data/${name}.js holds no data`));
        else resolve(value);
      };
      script.onerror = () => {
        script.remove();
        reject(new Error(`data/${name}.js cannot be read; keep the folder together`));
      };
      document.head.append(script);
    });
  }

  // A part of texts or verdicts, from memory or from its file.
  api.part = (kind, number) => {
    const name = `${kind}-${number}`;
    const known = parts.get(name);
    if (known) {
      parts.delete(name);
      parts.set(name, known);
      return Promise.resolve(known.value);
    }
    if (!pending.has(name)) {
      const loading = loadScript(name)
        .then((value) => {
          parts.set(name, { value, size: sizeOf(value) });
          forgetOldest();
          return value;
        })
        .finally(() => pending.delete(name));
      pending.set(name, loading);
    }
    return pending.get(name);
  };

  function sizeOf(value) {
    if (typeof value === "string") return value.length;
    if (!value || typeof value !== "object") return 8;
    return Object.values(value).reduce((sum, item) => sum + sizeOf(item), 16);
  }

  function forgetOldest() {
    let size = 0;
    for (const part of parts.values()) size += part.size;
    for (const [name, part] of parts) {
      if (size <= MOST_CHARACTERS || parts.size === 1) return;
      parts.delete(name);
      size -= part.size;
    }
  }

  // The part that holds a row, and the row's place in it.
  api.placeOf = (row) => {
    const first = api.meta.parts;
    let low = 0;
    let high = first.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (first[middle] <= row) low = middle;
      else high = middle - 1;
    }
    return { part: low, index: row - first[low] };
  };

  api.loadIndex = async (onProgress) => {
    const { meta } = api;
    const n = meta.shown;
    api.rows = n;
    api.columns = {
      key: new Array(n), start: new Array(n),
      variant: new Uint16Array(n), question: new Uint32Array(n), level: new Uint8Array(n),
      sample: new Int32Array(n), length: new Uint32Array(n),
      judges: meta.judges.map(() => ({
        outcome: new Uint8Array(n).fill(api.NO_OUTCOME),
        alignment: new Float32Array(n).fill(NaN),
        coherence: new Float32Array(n).fill(NaN),
        topic: new Float32Array(n).fill(NaN),
      })),
    };
    for (let file = 0; file < meta.indexFiles; file++) {
      take(await loadScript(`index-${file}`));
      onProgress(api.ready, n);
    }
    api.byKey = new Map(api.columns.key.map((key, row) => [key, row]));
  };

  function take(columns) {
    const at = api.ready;
    const size = columns.key.length;
    for (const name of ["variant", "question", "level", "sample", "length"])
      api.columns[name].set(columns[name], at);
    for (let i = 0; i < size; i++) {
      api.columns.key[at + i] = columns.key[i];
      api.columns.start[at + i] = columns.start[i];
    }
    columns.judges.forEach((judge, j) => {
      const mine = api.columns.judges[j];
      mine.outcome.set(judge.outcome, at);
      for (const name of SCORES)
        for (let i = 0; i < size; i++)
          if (judge[name][i] !== null) mine[name][at + i] = judge[name][i];
    });
    api.ready += size;
  }

  return api;
})();
