"use strict";
// Puts the changing part of the page in place whenever the room changes. Whoever was on a button stays on it.
const live = document.getElementById("live");
new EventSource(live.dataset.source).onmessage = (change) => {
  const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
  live.innerHTML = change.data;
  if (focused) document.getElementById(focused)?.focus();
};
