"use strict";
// Each second it takes what has changed from the page as it is now. A template has escaped that.
(() => {
  const put = (from, into) => {
    if (from.outerHTML !== into.outerHTML) into.replaceWith(document.adoptNode(from));
  };
  async function tick() {
    try {
      const r = await fetch("./", { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (!r.ok) throw new Error(r.status);
      const now = new DOMParser().parseFromString(await r.text(), "text/html");
      document.title = now.title;
      for (const id of ["in", "versions", "at", "list"]) put(now.getElementById(id), document.getElementById(id));
      const body = document.getElementById("nodes"), rows = [...now.getElementById("nodes").children];
      while (body.children.length > rows.length) body.lastElementChild.remove();
      rows.forEach((row, i) => body.children[i] ? put(row, body.children[i]) : body.append(document.adoptNode(row)));
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale");
    }
    setTimeout(tick, 1000);
  }
  setTimeout(tick, 1000);
})();
