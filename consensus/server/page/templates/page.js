"use strict";
// Everything shown is in the page already; this opens receipts, remembers the light, filters rows,
// and, where the page is served, fetches the page again, puts in what changed, and gives labels.
(() => {
  const at = (id) => document.getElementById(id);
  const root = document.documentElement;

  // -- fetching ----------------------------------------------------------------------------------
  const store = (name, value) => {
    try {
      if (value !== undefined) sessionStorage.setItem(name, value);
      return sessionStorage.getItem(name);
    } catch { return value ?? null; }
  };
  let key = store("consensus-key");
  let tag = null;
  const fetched = async (receipt, whole) => {
    const url = new URL(location.pathname, location.href);
    const headers = key ? { authorization: `Bearer ${key}` } : {};
    if (whole) url.searchParams.set("text", "1");
    if (receipt) url.searchParams.set("receipt", receipt);
    else if (tag) headers["if-none-match"] = tag;
    const answer = await fetch(url, { cache: "no-store", credentials: "omit", headers });
    if (answer.status === 304) return null;
    if (!answer.ok) throw new Error(String(answer.status));
    const text = await answer.text();
    if (!receipt) tag = answer.headers.get("etag");
    // A document made so runs no script and loads nothing.
    return new DOMParser().parseFromString(text, "text/html");
  };

  const start = () => {
    // As they came: what is filtered or unfolded later is no change of the page.
    const came = new Map([...document.querySelectorAll("[data-swap]")].map((one) => [one.id, one.outerHTML]));

    // -- light and dark ----------------------------------------------------------------------------
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const stored = () => { try { return localStorage.getItem("consensus-theme"); } catch { return null; } };
    const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
    const theme = at("theme");
    const named = () => {
      theme.textContent = isDark() ? "Light" : "Dark";
      theme.setAttribute("aria-label", isDark() ? "Switch to light" : "Switch to dark");
    };
    if (stored() === "dark" || stored() === "light") root.dataset.theme = stored();
    theme.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("consensus-theme", root.dataset.theme); } catch { /* a file may not */ }
      named();
    });
    dark.addEventListener("change", named);
    named();
    theme.hidden = false;

    // -- filters -----------------------------------------------------------------------------------
    const byType = at("by-type");
    const byAction = at("by-action");
    const filter = () => {
      const rows = [...document.querySelectorAll("#newest tbody tr")];
      const types = [...new Set(rows.map((row) => row.dataset.type))].sort();
      const had = byType.value;
      if ([...byType.options].slice(1).map((one) => one.value).join("\n") !== types.join("\n")) {
        byType.replaceChildren(new Option("all", ""), ...types.map((name) => new Option(name, name)));
        byType.value = types.includes(had) ? had : "";
      }
      let shown = 0;
      for (const row of rows) {
        row.hidden = (byType.value !== "" && row.dataset.type !== byType.value)
          || (byAction.value !== "" && row.dataset.action !== byAction.value);
        shown += row.hidden ? 0 : 1;
      }
      document.querySelector(".filters").hidden = rows.length === 0;
      at("counted").textContent = shown === rows.length ? "" : `${shown} of ${rows.length} shown`;
    };
    byType.addEventListener("change", filter);
    byAction.addEventListener("change", filter);
    filter();

    // -- receipts ----------------------------------------------------------------------------------
    const live = document.body.dataset.live ? 1000 * Number(document.body.dataset.live) : 0;
    const main = document.querySelector("main");
    const behind = (inert) => { main.inert = document.querySelector(".skip").inert = inert; };
    let cameFrom = null;
    const hash = () => {
      try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
    };
    const adopt = (page) => {
      for (const article of page.querySelectorAll("article.receipt")) {
        if (!at(article.id)) at("receipts").append(document.adoptNode(article));
      }
    };
    const signed = (article) => {
      const by = article.querySelector("form.give [name=by]");
      if (by && !by.value) by.value = store("consensus-by") || "";
    };
    const opened = async () => {
      const wanted = hash();
      for (const old of document.querySelectorAll(".receipt.open")) {
        if (old.id !== wanted) old.classList.remove("open");
      }
      if (!wanted.startsWith("receipt=")) {
        behind(false);
        if (cameFrom && document.contains(cameFrom)) cameFrom.focus();
        cameFrom = null;
        return;
      }
      if (!at(wanted) && live) {
        try { adopt(await fetched(wanted.slice("receipt=".length))); } catch { /* said below */ }
      }
      let article = at(wanted);
      if (!article) {
        article = document.createElement("article");
        article.className = "receipt";
        article.id = wanted;
        article.tabIndex = -1;
        article.setAttribute("role", "dialog");
        const close = document.createElement("a");
        close.className = "close";
        close.href = "#decisions";
        close.textContent = "Close";
        const text = document.createElement("p");
        text.textContent = `Receipt ${wanted.slice("receipt=".length)} is not on this page.`;
        article.append(close, text);
        at("receipts").append(article);
      }
      if (hash() !== wanted) return;
      signed(article);
      article.classList.add("open");
      article.setAttribute("aria-modal", "true");
      behind(true);
      article.focus();
    };
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a");
      if (link && link.hash.startsWith("#receipt=")) {
        if (!link.closest(".receipt")) cameFrom = link;
      } else if (!event.target.closest(".receipt") && document.querySelector(".receipt.open")) {
        location.hash = "#decisions";
      }
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && document.querySelector(".receipt.open")) location.hash = "#decisions";
    });
    addEventListener("hashchange", opened);
    if (hash().startsWith("receipt=")) opened();

    if (!live) return;

    // -- labels ------------------------------------------------------------------------------------
    root.classList.add("gives");
    const why = (error) => ({
      401: "The server does not know this key.",
      404: "This key may not: it does not review this task type. The command below may.",
    })[error.message] || (/^\d+$/.test(error.message) ? `The server said ${error.message}.` : "The server does not answer.");
    const again = async (id, text) => {
      const page = await fetched(id, text);
      const old = at(`receipt=${id}`);
      const fresh = document.adoptNode(page.querySelector("article.receipt"));
      if (old.classList.contains("open")) {
        fresh.classList.add("open");
        fresh.setAttribute("aria-modal", "true");
      }
      signed(fresh);
      const top = old.scrollTop;
      old.replaceWith(fresh);
      fresh.scrollTop = top;
      return fresh;
    };
    const kept = async (form, value) => {
      const id = form.dataset.label;
      const by = form.elements.by.value.trim();
      const label = { number: Number(value), verdict: value === "right" };
      const body = { receipt_id: id, label: label[form.dataset.by] ?? value };
      if (by) body.by = store("consensus-by", by);
      // Every escalated decision waits for a person: that is its chance to be looked at.
      if (form.dataset.waits) Object.assign(body, { source: "queue", probability: 1 });
      const answer = await fetch(new URL("v1/feedback", location.href), {
        method: "POST", cache: "no-store", credentials: "omit", body: JSON.stringify(body),
        headers: { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) },
      });
      if (!answer.ok) throw new Error(String(answer.status));
      for (const link of document.querySelectorAll("#queue tbody a")) {
        if (link.hash === `#receipt=${id}`) link.closest("tr").remove();
      }
      const status = (await again(id, form.dataset.shown)).querySelector(".give [role=status]:not(span)");
      const next = document.querySelector("#queue tbody a");
      status.textContent = next ? "Kept. " : "Kept; nothing else waits.";
      if (next) {
        const link = document.createElement("a");
        link.href = next.hash;
        link.textContent = "The next that waits";
        status.append(link);
        link.focus();
      } else status.closest("article").focus();
    };
    document.addEventListener("submit", async (event) => {
      const form = event.target;
      if (!form.matches("form.give")) return;
      event.preventDefault();
      const status = form.querySelector("[role=status]");
      const buttons = form.querySelectorAll("button");
      for (const one of buttons) one.disabled = true;
      status.textContent = "";
      try {
        await kept(form, form.elements.label ? form.elements.label.value : event.submitter.value);
      } catch (error) { status.textContent = why(error); }
      for (const one of buttons) one.disabled = false;
    });
    document.addEventListener("click", async (event) => {
      const id = event.target.dataset?.text;
      if (!id) return;
      try {
        (await again(id, true)).focus();
      } catch (error) { event.target.parentNode.querySelector("[role=status]").textContent = why(error); }
    });

    // -- live --------------------------------------------------------------------------------------
    const status = at("live");
    const pause = at("pause");
    let wait = live;
    let timer = 0;
    const newest = () => document.querySelector("#newest tbody a")?.hash;
    const swap = (page) => {
      const before = newest();
      const unfolded = [...document.querySelectorAll("details[open]")].map((one) => one.id);
      for (const old of document.querySelectorAll("[data-swap]")) {
        const fresh = page.getElementById(old.id);
        if (!fresh || fresh.outerHTML === came.get(old.id)) continue;
        came.set(old.id, fresh.outerHTML);
        const node = document.adoptNode(fresh);
        if (cameFrom && old.contains(cameFrom)) {
          const again = [...node.querySelectorAll("a")].find((link) => link.hash === cameFrom.hash);
          cameFrom = again || null;
        }
        old.replaceWith(node);
      }
      for (const id of unfolded) if (id && at(id)) at(id).open = true;
      adopt(page);
      document.title = page.title;
      filter();
      return before !== newest();
    };
    const say = (text) => { if (status.textContent !== text) status.textContent = text; };
    const refresh = async () => {
      clearTimeout(timer);
      if (pause.getAttribute("aria-pressed") === "true") return;
      if (!document.hidden) {
        try {
          const page = await fetched("");
          const changed = page !== null && swap(page);
          wait = live;
          say(changed ? "live: new decisions" : "live");
        } catch (error) {
          wait = Math.min(wait * 2, 60000);
          say(/^\d+$/.test(error.message) ? `not refreshed: the server said ${error.message}` : "not refreshed: the server does not answer");
        }
      }
      timer = setTimeout(refresh, wait);
  };
  pause.addEventListener("click", () => {
    const stop = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(stop));
    say(stop ? "paused" : "live");
    clearTimeout(timer);
    if (!stop) refresh();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  status.hidden = pause.hidden = false;
  say("live");
  timer = setTimeout(refresh, wait);
  };

  // -- a key first -------------------------------------------------------------------------------
  if (!document.body.dataset.locked) {
    start();
    return;
  }
  const unlock = async () => {
    try {
      const page = await fetched("");
      store("consensus-key", key);
      document.title = page.title;
      document.querySelector("main").replaceWith(document.adoptNode(page.querySelector("main")));
      at("receipts").replaceWith(document.adoptNode(page.getElementById("receipts")));
      document.body.dataset.live = page.body.dataset.live;
      delete document.body.dataset.locked;
      start();
    } catch (error) {
      const why = { 401: "This key is not known.", 403: "This key may not see what all callers do." };
      at("refused").textContent = why[error.message] || "The server does not answer.";
    }
  };
  at("unlock").addEventListener("submit", (event) => {
    event.preventDefault();
    key = at("key").value.trim();
    unlock();
  });
  if (key) unlock();
})();
