// Live parts of a page. An element with data-live is renewed from the page itself:
// every data-live="5" seconds (after a POST to data-live-post, if it has one), or when the stream that data-live-events names says
// that there is news. Only nodes that the server rendered are taken over; the page
// is read by XMLHttpRequest, which makes a document and runs nothing in it.
export function live(start) {
  const parts = [...document.querySelectorAll("[data-live], [data-live-events]")];
  if (!parts.length) return;
  let busy = false;
  let again = false;

  function renew() {
    if (busy) { again = true; return; }
    if (document.hidden) { again = true; return; }
    busy = true;
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.setRequestHeader("Accept", "text/html");
    if (touched > told) request.setRequestHeader("Postern-Present", "1");
    told = touched;
    request.onloadend = () => {
      busy = false;
      if (request.status === 200 && request.response && samePage(request.responseURL)) take(request.response);
      if (again && !document.hidden) { again = false; setTimeout(renew, 1000); }
    };
    request.send();
  }

  const samePage = (url) => new URL(url).pathname === location.pathname;

  function take(page) {
    for (const part of document.querySelectorAll("[data-live], [data-live-events]")) {
      const fresh = page.getElementById(part.id);
      if (!fresh || fresh.isEqualNode(part) || part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) continue;
      const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
      const node = document.importNode(fresh, true);
      part.replaceWith(node);
      start(node);
      if (focused) document.getElementById(focused)?.focus();
    }
  }

  // Who has left the page open does not count as being there: after a quarter of an
  // hour without a key or a click nothing is asked any more, and the session can end.
  const away = 15 * 60 * 1000;
  let touched = Date.now();
  let told = touched; // a touch that the server was told of keeps the session alive
  const resting = () => document.hidden || Date.now() - touched > away;
  for (const event of ["pointerdown", "keydown", "wheel"]) {
    document.addEventListener(event, () => {
      const back = Date.now() - touched > away;
      touched = Date.now();
      if (back) { listen(); renew(); }
    }, { passive: true });
  }

  const pause = document.querySelector("button[data-live-pause]");
  let paused = false;
  if (pause) {
    pause.hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
      if (!paused) renew();
    });
  }
  for (const part of parts) {
    if (part.dataset.live) {
      const timer = setInterval(() => {
        const now = document.getElementById(part.id);
        if (!now || !now.dataset.live) { clearInterval(timer); return; }
        if (paused || resting()) return;
        if (!now.dataset.livePost) { renew(); return; }
        // The button of the page, pressed by the script: a look that is no GET.
        fetch(now.dataset.livePost, { method: "POST", headers: { Accept: "application/json", "Content-Type": "application/x-www-form-urlencoded" }, redirect: "error" }).then(renew, () => {});
      }, Math.max(2, Number(part.dataset.live)) * 1000);
    }
  }
  let streams = [];
  function listen() {
    for (const stream of streams) stream.close();
    streams = parts.filter((part) => part.dataset.liveEvents).map((part) => {
      const stream = new EventSource(part.dataset.liveEvents);
      stream.addEventListener("news", () => { if (!paused) renew(); });
      stream.addEventListener("over", () => { stream.close(); location.reload(); });
      return stream;
    });
  }
  listen();
  setInterval(() => { if (resting()) { for (const stream of streams) stream.close(); streams = []; } }, 60000);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    if (!streams.length) listen();
    if (again) { again = false; renew(); }
  });
}
