// Keeps the page as the server would show it now. Without JavaScript everything works too, by loading it again.
"use strict";

const LOOK_AGAIN_MILLISECONDS = 1000;

const isWeek = document.querySelector(".everything") !== null;
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const zoneCookie = `zone=${encodeURIComponent(zone)}`;
if (zone && !document.cookie.split("; ").includes(zoneCookie)) {
  document.cookie = `${zoneCookie}; path=/; max-age=31536000; samesite=lax`;
  if (isWeek && document.cookie.includes(zoneCookie)) location.reload();
}

let tag = null;

async function show(answer) {
  if (answer.status !== 200) return;
  tag = answer.headers.get("ETag");
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
  const shown = document.getElementById("main");
  if (fresh === null || fresh.innerHTML === shown.innerHTML) return;
  const focused = document.activeElement?.id;
  shown.replaceChildren(...fresh.childNodes);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

async function look() {
  if (!document.hidden) {
    try {
      await show(await fetch(location.href, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" }));
    } catch {
      // The server is away for a moment; the next look finds it again.
    }
  }
  setTimeout(look, LOOK_AGAIN_MILLISECONDS);
}

document.addEventListener("submit", async (event) => {
  if (!event.target.hasAttribute("data-live")) return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(event.target));
  try {
    await show(await fetch(event.target.action, { method: "POST", body }));
  } catch {
    event.target.submit();
  }
});

if (isWeek) setTimeout(look, LOOK_AGAIN_MILLISECONDS);
