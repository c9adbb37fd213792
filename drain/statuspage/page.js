"use strict";
// It asks for status.json, beside the page, and writes what that says as text: nothing of it becomes markup.
(() => {
  const $ = id => document.getElementById(id);
  const ACTIONS = {
    swap: ["Swap", "Swap the binary?", "The binary at the path of this one is started, checks itself and takes over, " +
      "with the open connections. If it fails, this generation serves on.", "Swap"],
    pull: ["Pull", "Pull this node?", "Probers are told to take the node out of the balancer. " +
      "All else is served as before, until it is restored.", "Pull"],
    restore: ["Restore", "Put this node back?", "Probers are told that the node takes requests again.", "Restore"],
    stop: ["Stop", "Stop this service?", "Probers are told to take the node out, what is open is finished, " +
      "and the process ends. It can't be started again from here.", "Stop"],
  };
  const KINDS = [["new", "new"], ["idle", "at rest"], ["active", "in a request"], ["hijacked", "hijacked"],
    ["http2", "HTTP/2"], ["other", "other"]];
  const LEDGER = [["lost", "Requests, perhaps lost"], ["cut_off", "Cut off"], ["part", "Unfinished by their clients"],
    ["junk", "No request"], ["adopted", "Taken over from others"], ["moved", "Handed over to others"],
    ["aged", "Told to end for their age"], ["aside", "Requests of probers, operators"],
    ["log_dropped", "Log lines dropped"]];
  const SPANS = [["auto", 0], ["10 min", 600e3], ["1 h", 3600e3], ["1 d", 864e5], ["all", Infinity]];
  const MOST = 100; // rows of a table

  const number = n => (n || 0).toLocaleString("en-US");
  const many = (n, one) => `${number(n)} ${one}${n === 1 ? "" : "s"}`;
  const time = t => t ? Date.parse(t) : NaN;
  const ago = ms => {
    const s = Math.max(0, Math.round(ms / 1000));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
    return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
  };
  const took = ms => ms < 10e3 ? `${(Math.max(0, ms) / 1000).toFixed(1)} s` : ago(ms);
  const short = ms => ms < 60e3 ? ago(ms) : ms < 3600e3 ? `${Math.floor(ms / 60e3)} min`
    : ms < 864e5 ? `${Math.floor(ms / 3600e3)} h` : `${Math.floor(ms / 864e5)} d`;
  const clock = (ms, now = ms) => {
    const t = new Date(ms), day = now - ms > 72e6 ? t.toLocaleDateString("sv-SE").slice(5) + " " : "";
    return day + t.toLocaleTimeString("sv-SE");
  };

  // set leaves what is so already, so that a selection and the focus stay.
  const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const attr = (node, name, value) => {
    if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  };
  const make = (tag, cls, text) => {
    const node = document.createElement(tag);
    if (cls) node.className = cls;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  // fill has a child of that tag for each item, and fills it in.
  const fill = (parent, tag, items, write) => {
    while (parent.children.length > items.length) parent.lastElementChild.remove();
    items.forEach((item, i) => write(parent.children[i] || parent.appendChild(make(tag)), item, i));
  };
  // parts are the children that write is to fill in, made once.
  const parts = (node, ...tags) => {
    if (node.children.length !== tags.length) node.replaceChildren(...tags.map(([tag, cls]) => make(tag, cls)));
    return node.children;
  };

  let token = "", busy = false, misses = 0, running = false, timer = 0, pending = null, span = "auto";
  let names = new Set(), last = null;
  let samples = []; // [ms, requests]

  const say = (text, bad) => { set($("said"), text); $("said").className = bad ? "said bad" : "said"; };

  function head(v, st, now) {
    names.add(v.name);
    set($("name"), names.size > 1 ? `${v.name}, and others: the answers come from ${[...names].join(", ")}` : v.name);
    set($("build"), [st.version, `generation ${st.generation}`, `pid ${st.pid}`].filter(Boolean).join(" · "));
    set($("phase"), st.phase[0].toUpperCase() + st.phase.slice(1));
    attr($("phase"), "data-phase", st.phase);
    const since = [`for ${ago(now - time(st.since))}, since ${clock(time(st.since), now)}`];
    if (st.pulled && st.phase !== "pulled") since.push("pulled");
    if (st.deadline) since.push(`what is left is cut off at ${clock(time(st.deadline))}`);
    if (st.unhealthy) since.push(`not healthy: ${st.unhealthy}`);
    set($("since"), since.join("; "));
    $("since").classList.toggle("bad", Boolean(st.unhealthy));
    document.title = `${st.phase} · ${v.name}`;
    set($("listeners"), (st.listeners || []).join(", "));
  }

  function figures(st, now) {
    const n = st.total.requests - st.total.aside, older = (st.older || []);
    if (samples.length && n < samples.at(-1)[1] - 100) samples = []; // another service
    samples.push([now, n]);
    while (samples.length > 2 && now - samples[0][0] > 61e3) samples.shift();
    const from = samples.findLast(s => now - s[0] >= 2500) || samples[0];
    set($("requests"), number(n));
    set($("rate"), now > from[0] ? number(Math.max(0, Math.round((n - from[1]) / (now - from[0]) * 1000))) : "–");
    const rates = [];
    for (let i = 1; i < samples.length; i++) {
      const [[from, before], [to, after]] = [samples[i - 1], samples[i]];
      rates.push([to, Math.max(0, (after - before) / Math.max(1, to - from))]);
    }
    const top = Math.max(...rates.map(r => r[1]), 1e-9);
    attr($("spark").firstElementChild, "points", rates.map(r =>
      `${(120 - (now - r[0]) / 500).toFixed(1)},${(23 - r[1] / top * 22).toFixed(1)}`).join(" "));

    const here = open(st.open), there = older.reduce((sum, p) => sum + open(p.open), 0);
    set($("open"), number(here + there));
    set($("openIn"), !older.length ? "in one generation"
      : `${number(there)} in ${many(older.length, "older generation")}`);
    set($("lost"), number(st.total.lost));
    $("lost").classList.toggle("bad", st.total.lost > 0);
    set($("lostOf"), `${number(st.total.cut_off)} cut off`);
    set($("swaps"), number(st.total.swaps));
    set($("failed"), `${number(st.total.failed_swaps)} failed`);
  }

  const open = n => KINDS.reduce((sum, [kind]) => sum + n[kind], 0);

  function waits(st, now) {
    const w = st.waits, until = time(w && w.until);
    set($("waits"), !w ? "nothing"
      : `${w.for}: for ${ago(now - time(w.since))}` + (until ? `, at most ${ago(until - now)} more` : ""));
    $("waitBar").classList.toggle("none", !until);
    if (until) $("waitBar").value = Math.min(1, (now - time(w.since)) / (until - time(w.since)));
    const tasks = new Map();
    for (const n of st.background || []) tasks.set(n, (tasks.get(n) || 0) + 1);
    const names = [...tasks].slice(0, MOST).map(([n, k]) => k > 1 ? `${n} ×${k}` : n);
    if (tasks.size > MOST) names.push(`and ${number(tasks.size - MOST)} more`);
    const work = names.length ? [`Work of this generation: ${names.join(", ")}`] : [];
    for (const p of st.older || []) {
      work.push(`Generation ${p.generation}: ${many(open(p.open), "connection")}` +
        (p.tasks ? `, ${many(p.tasks, "task")}` : "") +
        (p.leads && p.leads.length ? `, leads ${p.leads.join(", ")}` : "") + (p.hurried ? ", in a hurry" : "") +
        (p.phase === "stopped" ? ", has finished, and its process is to exit"
          : p.deadline ? `, cut off in ${ago(time(p.deadline) - now)}` : ""));
    }
    fill($("work"), "li", work, set);
  }

  function timeline(st, now) {
    const all = st.history || [], did = all.filter(r => !r.error), older = st.older || [];
    const rows = did.map((r, i) => {
      const next = did[i + 1], self = r.generation === st.generation;
      const alive = older.find(p => p.generation === r.generation);
      const over = next ? time(next.at) : self && st.phase === "draining" ? time(st.since) : 0;
      const end = time(r.gone) || (alive || self ? now : over);
      return { n: r.generation, version: r.version, from: time(r.at), over, end,
        pid: alive ? alive.pid : self ? st.pid : 0,
        state: self ? (over ? "drains" : "main") : alive ? `drains, ${number(open(alive.open))} open`
          : r.gone && over ? `drained ${took(end - over)}` : "gone",
        fails: all.filter(f => f.error && time(f.at) >= time(r.at) && !(next && time(f.at) >= time(next.at))) };
    });
    for (const p of older) { // of before the history
      if (!did.some(r => r.generation === p.generation)) {
        rows.unshift({ n: p.generation, from: time(p.since) || now, over: time(p.since) || now, end: now,
          state: `drains, ${number(open(p.open))} open`, fails: [] });
      }
    }
    const first = rows.length ? Math.min(...rows.map(r => r.from)) : now;
    let wide = SPANS.find(s => s[0] === span)[1];
    if (!wide) {
      const need = 1.02 * (now - (rows.length ? rows[Math.max(0, rows.length - 4)].from : now));
      wide = [30e3, 120e3, 300e3, 600e3, 3600e3, 6 * 3600e3, 864e5, 7 * 864e5].find(w => w >= need) || need;
    }
    const t0 = Math.max(now - wide, span === "all" ? first : -Infinity);
    const x = t => 100 * Math.min(1, Math.max(0, (t - t0) / Math.max(1, now - t0)));
    fill($("timeline"), "li", rows.filter(r => r.end >= t0).reverse(), (li, r) => {
      const [label, track] = parts(li, ["div", "label"], ["div", "track"]);
      const [name, state] = parts(label, ["span"], ["small"]);
      set(name, r.version ? `${r.n} · ${r.version}` : `${r.n}`);
      set(state, r.state);
      const version = r.version ? " " + r.version : "", pid = r.pid ? ", pid " + r.pid : "";
      attr(li, "title", `generation ${r.n}${version}${pid}: ${r.state}`);
      attr(track, "aria-hidden", "true");
      const bars = [["bar", r.from, r.over || r.end],
        ...(r.over && r.end > r.over ? [["bar drains", r.over, r.end]] : []),
        ...r.fails.filter(f => time(f.at) >= t0).map(f => ["fail", time(f.at), 0, f.error])];
      fill(track, "span", bars, (bar, [cls, from, to, why]) => {
        if (bar.className !== cls) bar.className = cls;
        bar.style.left = `${x(from)}%`;
        bar.style.width = to ? `${x(to) - x(from)}%` : "";
        bar.hidden = cls !== "fail" && x(to) - x(from) <= 0;
        set(bar, why ? "✕" : "");
        attr(bar, "title", why || "");
      });
    });
    fill($("axis"), "span", [t0, (t0 + now) / 2, now], (node, t) => set(node, t === now ? "now" : clock(t, now)));
  }

  function connections(st) {
    const columns = [[`${st.generation}`, st.open],
      ...(st.older || []).slice().reverse().map(p => [`${p.generation}`, p.open])];
    const heading = (th, text) => {
      attr(th, "scope", "col");
      set(th, text);
    };
    fill($("connections").tHead, "tr", [0], tr => fill(tr, "th", ["generation", ...columns.map(c => c[0])], heading));
    fill($("connections").tBodies[0], "tr", [null, ...KINDS, ["", "all"]], (tr, row) => {
      const [th, ...tds] = parts(tr, ["th"], ...columns.map(() => ["td"]));
      if (!row) {
        attr(tr, "aria-hidden", "true");
        columns.forEach(([, n], i) => fill(parts(tds[i], ["div", "stack"])[0], "span", KINDS, (part, [kind]) => {
          part.className = `s-${kind}`;
          part.style.width = `${100 * n[kind] / Math.max(1, open(n))}%`;
        }));
        return;
      }
      const [kind, text] = row;
      tr.className = kind ? "" : "sum";
      attr(th, "scope", "row");
      const [swatch, label] = parts(th, ["span", kind ? `swatch s-${kind}` : ""], ["span"]);
      attr(swatch, "aria-hidden", "true");
      set(label, text);
      columns.forEach(([, n], i) => set(tds[i], number(kind ? n[kind] : open(n))));
    });
  }

  function probers(st, now) {
    const all = st.probers || [], live = all.filter(p => p.live), noticed = live.filter(p => p.noticed).length;
    const over = st.noticed && noticed < live.length ? ", and it is waited for no longer" : "";
    set($("pull"), !st.pulled
      ? `Not pulled. A pull would wait for ${live.length ? many(live.length, "prober") : "nobody"}.`
      : !live.length ? "Pulled. There is no prober to wait for."
      : `Pulled: ${noticed} of ${many(live.length, "prober")} noticed${over}.`);
    fill($("probers").tBodies[0], "tr", all.slice(0, MOST), (tr, p) => {
      tr.className = p.live ? "" : "away";
      const [who, every, seen, notice] = parts(tr, ["td"], ["td"], ["td"], ["td"]);
      const [host, how] = parts(who, ["span"], ["small"]);
      set(host, p.host || "heartbeat");
      set(how, [p.kind, p.user_agent, p.via && `for ${p.via}`].filter(Boolean).join(" · "));
      set(every, p.interval_ns ? `${+(p.interval_ns / 1e9).toPrecision(2)} s` : "–");
      set(seen, short(now - time(p.last_seen)));
      set(notice, !st.pulled ? "–" : `${p.noticed ? "✓ " : ""}${Math.min(p.failures, p.needs)} of ${p.needs}`);
    });
    if (all.length > MOST) set($("pull"), `${$("pull").textContent} ${MOST} of ${number(all.length)} are shown.`);
  }

  function swaps(st, now) {
    const all = st.history || [], gone = r => r && r.gone;
    fill($("history"), "li", all.map((r, i) => {
      const before = all.slice(0, i).findLast(b => !b.error), version = r.version ? ` (${r.version})` : "";
      return [clock(time(r.at), now), r.error ? `✕ swap to generation ${r.generation}${version} failed` :
        r.generation === 1 ? `generation 1${version} began` : `generation ${r.generation}${version} took over` +
        (gone(before) ? `; ${before.generation} gone after ${took(time(before.gone) - time(r.at))}` : ""),
      r.error || ""];
    }).reverse(), (li, [at, what, why]) => {
      const [t, text, reason] = parts(li, ["span", "quiet"], ["span"], ["span", "why"]);
      set(t, at + " ");
      set(text, what);
      text.className = why ? "bad" : "";
      set(reason, why);
    });
  }

  function ledger(st) {
    fill($("ledger").tBodies[0], "tr", LEDGER, (tr, [field, text]) => {
      const [th, all, here] = parts(tr, ["th"], ["td"], ["td"]);
      attr(th, "scope", "row");
      set(th, text);
      set(all, number(st.total[field]));
      set(here, field in st.total && field !== "log_dropped" ? number(st.open[field]) : "");
    });
  }

  function buttons(v, st) {
    const ready = st.phase === "ready" || st.phase === "pulled";
    const may = v.may.filter(a => a !== (st.pulled ? "pull" : "restore"));
    $("actions").hidden = $("said").hidden = !may.length;
    fill($("actions"), "button", may, (b, a) => {
      set(b, ACTIONS[a][0]);
      attr(b, "data-do", a);
      b.type = "button";
      b.disabled = a === "swap" ? !ready : st.phase === "draining" || st.phase === "stopped";
    });
    const swap = st.last_swap;
    if (pending && swap && time(swap.at) >= pending) {
      pending = null;
      say(swap.error || `Generation ${swap.generation} has taken over.`, swap.error);
    }
  }

  function render(v) {
    const st = v.status, now = time(v.now);
    last = v;
    token = v.token;
    busy = !["ready", "pulled"].includes(st.phase) || Boolean(st.waits) || (st.older || []).length > 0;
    head(v, st, now);
    figures(st, now);
    waits(st, now);
    timeline(st, now);
    connections(st);
    probers(st, now);
    swaps(st, now);
    ledger(st);
    buttons(v, st);
    attr($("live"), "data-live", "on");
    set($("liveText"), `live, ${clock(now)}`);
    document.body.classList.remove("stale");
  }

  // tick asks once more. While the page is hidden it asks for nothing; a miss, as in the moment of a swap, is not told
  // yet.
  async function tick() {
    clearTimeout(timer);
    if (running || document.hidden) return;
    running = true;
    try {
      const r = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (!r.ok) throw new Error(`answer ${r.status}`);
      render(await r.json());
      misses = 0;
    } catch (e) {
      if (++misses > 1) {
        attr($("live"), "data-live", "off");
        const why = /^answer/.test(e.message) ? ` (${e.message})` : "";
        if (misses === 2) set($("liveText"), `no answer since ${clock(Date.now())}${why}`);
        document.body.classList.add("stale");
      }
    }
    running = false;
    timer = setTimeout(tick, misses === 1 || busy && !misses ? 300 : 1000);
  }

  async function act(a, token) { // of the process that was asked about: another one refuses it
    const [name] = ACTIONS[a];
    say(`${name} …`);
    if (a === "swap") pending = time(last.now);
    try {
      const r = await fetch(a, { method: "POST", headers: { "X-Status-Token": token } });
      if (r.ok) say(r.status === 202 ? `${name}: begun.` : `${name}: done.`);
      else {
        pending = null;
        say((await r.text()).trim(), true);
      }
    } catch (e) {
      say(`${name}: ${e.message}`, true);
    }
    tick();
  }

  $("actions").addEventListener("click", e => {
    const a = e.target.dataset.do;
    if (!a) return;
    const [, title, text, yes] = ACTIONS[a], meant = token;
    set($("askTitle"), title);
    set($("askText"), `${last.name}, generation ${last.status.generation}. ${text}`);
    set($("askYes"), yes);
    $("askYes").onclick = () => { $("ask").close(); act(a, meant); };
    $("ask").showModal();
  });
  $("askNo").addEventListener("click", () => $("ask").close());
  fill($("spans"), "button", SPANS, (b, [name]) => {
    b.type = "button";
    set(b, name);
    attr(b, "aria-pressed", name === span);
    b.addEventListener("click", () => {
      span = name;
      for (const other of $("spans").children) attr(other, "aria-pressed", other === b);
      if (last) timeline(last.status, time(last.now));
    });
  });
  document.addEventListener("visibilitychange", tick);
  tick();
})();
