// The only script of the dashboard. Pages work without it. It asks for a page again when something has happened, and puts
// the parts of it that are marked `data-live` in place of the old ones; it never makes elements out of text.
"use strict";
(() => {
  // At most one page a second, however much happens.
  const REST_MS = 1000;
  const address = document.body.dataset.stream;
  // What no event tells of is asked for again and again, while somebody sees it.
  const every = Number(document.querySelector("[data-every]")?.dataset.every ?? 0);
  let source = null;
  let timer = 0;
  let ended = false;
  let held = false;
  let waiting = false;
  let last = 0;

  const isLive = () => document.querySelector("[data-live]") !== null;

  function refresh() {
    waiting = false;
    last = Date.now();
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    // Nobody has asked for it: it keeps no session alive, and leaves a notice to whoever did.
    request.setRequestHeader("X-Ringfence-Refresh", "yes");
    request.onload = () => {
      if (request.status === 200 && request.responseXML) {
        exchange(request.responseXML);
      } else if (request.status === 401 || request.responseURL.includes("/dashboard/login")) {
        location.reload();
      }
    };
    request.send();
  }

  function exchange(page) {
    if (page.body.dataset.stream === undefined) {
      // The session has ended: the page that was sent is the one to sign in.
      location.reload();
      return;
    }
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      // What somebody is at is left alone until they leave it.
      const busy = old.contains(document.activeElement) && document.activeElement !== document.body;
      if (fresh && busy) held = true;
      if (fresh && !busy && !old.isEqualNode(fresh)) {
        const open = [...old.querySelectorAll("details[open][id]")].map((one) => one.id);
        const node = document.adoptNode(fresh);
        old.replaceWith(node);
        for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      }
    }
  }

  function happened() {
    if (waiting) return;
    waiting = true;
    setTimeout(refresh, Math.max(0, last + REST_MS - Date.now()));
  }

  function listen() {
    if (!isLive() || document.hidden) return;
    if (every > 0 && timer === 0) timer = setInterval(happened, every);
    if (source || ended || !address) return;
    source = new EventSource(address);
    source.addEventListener("plugin", happened);
    source.addEventListener("missed", happened);
    source.addEventListener("output", happened);
    source.addEventListener("end", () => {
      // The run is over: asked again, the stream would say the same for ever.
      ended = true;
      silence();
      happened();
    });
  }

  function silence() {
    source?.close();
    source = null;
    clearInterval(timer);
    timer = 0;
  }

  // Browsers open few connections to one server: a page that nobody sees holds none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      silence();
    } else if (isLive()) {
      listen();
      happened();
    }
  });

  document.addEventListener("focusout", () => {
    if (!held) return;
    held = false;
    happened();
  });

  // A form is sent once.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    for (const button of form.querySelectorAll("button")) button.setAttribute("aria-disabled", "true");
  });
  addEventListener("pageshow", () => {
    for (const form of document.forms) {
      delete form.dataset.sent;
      for (const button of form.querySelectorAll("button")) button.removeAttribute("aria-disabled");
    }
  });

  listen();
})();
