// What the dashboard adds to its pages where scripts run. Every page works without it.
(function () {
  "use strict";

  // A page that shows a secret once was the answer to a form. Loading it again would send that form
  // again, so the address becomes the one of the thing itself. The same for what was said once.
  const shown = document.querySelector("[data-address]");
  const here = new URL(location.href);
  if (shown) {
    history.replaceState(null, "", shown.dataset.address);
  } else if (here.searchParams.has("done")) {
    here.searchParams.delete("done");
    history.replaceState(null, "", here.pathname + here.search);
  }

  // What is wrong with a form is where one has to be.
  const failed = document.getElementById("failed");
  if (failed && !document.querySelector("[autofocus]")) {
    const wrong = document.querySelector("[aria-invalid]");
    if (wrong) wrong.focus();
  }

  // A secret is there to be copied.
  document.querySelectorAll("input.secret").forEach(function (input) {
    input.addEventListener("focus", function () { input.select(); });
  });

  // A filter is used as soon as it is chosen; the button is for those without a script.
  document.querySelectorAll("search select").forEach(function (select) {
    select.addEventListener("change", function () { select.form.requestSubmit(); });
  });
  document.querySelectorAll("search form").forEach(function (form) {
    form.addEventListener("submit", function () { // an empty field says nothing in an address
      form.querySelectorAll("input, select").forEach(function (field) { field.disabled = field.value === ""; });
    });
    addEventListener("pageshow", function () {
      form.querySelectorAll("input, select").forEach(function (field) { field.disabled = false; });
    });
  });

  const region = document.querySelector("[data-live]");
  if (!region || !window.htmx || !window.EventSource) return;

  // A part of a page that is open stays open when the page changes by itself.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = function (name, node) {
    return !(name === "open" && node.tagName === "DETAILS");
  };

  // The stream says that something has changed; what it is the page asks for, at most once a second.
  // A tab that nobody looks at has no stream: a browser opens few connections to one server.
  const id = region.id, only = region.dataset.live, state = document.getElementById("live");
  const kinds = (region.dataset.kinds || "job").split(" ");
  const every = 1000, gather = 100, again = 5000, unseen = 30000;
  let source = null, due = 0, last = 0, retry = 0, hiding = 0;

  function say(text, live) {
    if (state.textContent !== text) state.textContent = text;
    state.classList.toggle("on", live);
  }

  function refresh() {
    if (due) return;
    due = setTimeout(function () {
      due = 0;
      last = Date.now();
      htmx.trigger(document.getElementById(id), "live");
    }, Math.max(gather, last + every - Date.now()));
  }

  function open() {
    clearTimeout(retry);
    source = new EventSource("/stream");
    source.addEventListener("open", function () { say("Live", true); });
    source.addEventListener("resync", refresh);
    kinds.forEach(function (kind) {
      source.addEventListener(kind, function (e) {
        if (!only || JSON.parse(e.data).id === only) refresh();
      });
    });
    source.addEventListener("error", function () {
      say("Not live: trying again", false);
      if (source && source.readyState === EventSource.CLOSED) { // refused: perhaps the sign-in is over
        close();
        refresh(); // which then leads there
        retry = setTimeout(open, again);
      }
    });
  }

  function close() {
    if (source) source.close();
    source = null;
  }

  document.addEventListener("visibilitychange", function () {
    clearTimeout(hiding);
    if (document.hidden) {
      hiding = setTimeout(function () { clearTimeout(retry); close(); say("Paused", false); }, unseen);
    } else if (!source) {
      open();
    }
  });
  addEventListener("pagehide", close); // also a page that is kept to go back to
  addEventListener("pageshow", function (e) { if (e.persisted) open(); });
  open();
})();
