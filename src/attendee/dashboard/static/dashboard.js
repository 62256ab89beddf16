// All of it is comfort: without it every page and form works the same.
(() => {
  "use strict";

  // Parts of the page that change by themselves are asked for again when the server says so.
  let asking = false;
  let again = false;

  async function refresh() {
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected || !answer.ok) {
        location.reload();
        return;
      }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (document.querySelectorAll("[data-live]").length !== fresh.querySelectorAll("[data-live]").length) {
        location.reload();
        return;
      }
      for (const old of document.querySelectorAll("[data-live]")) {
        const its = fresh.getElementById(old.id);
        if (its && its.innerHTML !== old.innerHTML) {
          const focused = old.contains(document.activeElement) && document.activeElement.getAttribute("href");
          const open = new Set([...old.querySelectorAll("details[open]")].map((one) => one.id));
          old.innerHTML = its.innerHTML;
          for (const one of old.querySelectorAll("details")) {
            one.open = one.open || open.has(one.id);
          }
          if (focused) {
            old.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
          }
        }
      }
      const footer = document.querySelector("footer");
      if (footer) {
        footer.innerHTML = fresh.querySelector("footer").innerHTML;
      }
      document.getElementById("main").dataset.version = fresh.getElementById("main").dataset.version;
    } finally {
      asking = false;
      if (again) {
        again = false;
        refresh();
      }
    }
  }

  function listen() {
    const address = new URL(location.href);
    address.searchParams.set("version", document.getElementById("main").dataset.version);
    const source = new EventSource(address);
    source.addEventListener("changed", refresh);
    return source;
  }

  if (document.querySelector("[data-live]")) {
    let source = listen();
    document.addEventListener("visibilitychange", () => {
      // A page that nobody looks at asks for nothing.
      source.close();
      if (!document.hidden) {
        source = listen();
      }
    });
    addEventListener("pagehide", () => source.close());
  }

  // The viewer's time zone, once; what they choose on the account page stays.
  if (!/(^|; )tz=/.test(document.cookie)) {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    if (zone) {
      const secure = location.protocol === "https:" ? "; secure" : "";
      document.cookie = `tz=${zone}; path=/; max-age=31536000; samesite=lax${secure}`;
      if (zone !== "UTC" && document.querySelector("time") && document.cookie.includes("tz=")) {
        location.reload();
      }
    }
  }

  // A click beside an open menu, or Escape, closes it.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) {
        menu.open = false;
      }
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      for (const menu of document.querySelectorAll("details.menu[open]")) {
        menu.open = false;
        menu.querySelector("summary").focus();
      }
    }
  });

  // Filters take effect when they are changed.
  for (const field of document.querySelectorAll("form[data-eager] select")) {
    field.addEventListener("change", () => field.form.requestSubmit());
  }
})();
