// The only script of the dashboard. Pages work without it. It asks for a page again when something has happened, and puts
// the parts of it that are marked `data-live` in place of the old ones; it never makes elements out of text.
"use strict";
(() => {
  // At most one page a second, however much happens.
  const REST_MS = 1000;
  const address = document.body.dataset.stream;
  let source = null;
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
    if (source || !address || !isLive() || document.hidden) return;
    source = new EventSource(address);
    source.addEventListener("plugin", happened);
    source.addEventListener("missed", happened);
  }

  // Browsers open few connections to one server: a page that nobody sees holds none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
      source = null;
    } else if (isLive()) {
      listen();
      happened();
    }
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
