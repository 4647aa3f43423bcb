// Passkeys (WebAuthn): asks a device for what the page says, and sends its answer as a field of the form.
// Without this the page works by password.
(function () {
  "use strict";

  // The options' bytes are base64url in JSON, and so are those of the answer.
  function bytes(text) {
    return Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), function (c) { return c.charCodeAt(0); });
  }
  function text(buffer) {
    return btoa(Array.from(new Uint8Array(buffer), function (b) { return String.fromCharCode(b); }).join(""))
      .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  }
  function known(list) {
    return list.map(function (c) { return Object.assign({}, c, { id: bytes(c.id) }); });
  }

  function create(options) {
    return navigator.credentials.create({ publicKey: Object.assign({}, options, {
      challenge: bytes(options.challenge),
      user: Object.assign({}, options.user, { id: bytes(options.user.id) }),
      excludeCredentials: known(options.excludeCredentials),
      extensions: { credProps: true },
    }) });
  }
  function get(options) {
    return navigator.credentials.get({ publicKey: Object.assign({}, options, {
      challenge: bytes(options.challenge), allowCredentials: known(options.allowCredentials),
    }) });
  }

  function answer(credential) {
    const r = credential.response, response = { clientDataJSON: text(r.clientDataJSON) };
    if (r.attestationObject) {
      response.attestationObject = text(r.attestationObject);
      if (r.getTransports) response.transports = r.getTransports();
    } else {
      response.authenticatorData = text(r.authenticatorData);
      response.signature = text(r.signature);
      if (r.userHandle) response.userHandle = text(r.userHandle);
    }
    const props = credential.getClientExtensionResults().credProps;
    return JSON.stringify({
      id: credential.id, rawId: text(credential.rawId), type: credential.type, response: response,
      authenticatorAttachment: credential.authenticatorAttachment || undefined,
      clientExtensionResults: props ? { credProps: props } : {},
    });
  }

  async function fetched(url) {
    const r = await fetch(url, { method: "POST", credentials: "omit" });
    const body = await r.json();
    if (!r.ok) throw new Error(body.error);
    return body.publicKey;
  }

  function why(error) {
    switch (error.name) {
      case "NotAllowedError": return "It was cancelled, or has taken too long. Try again.";
      case "InvalidStateError": return "This device has a passkey for your account already.";
      case "SecurityError": return "The browser gives no passkeys to this address.";
      case "NotSupportedError": return "This device has none of the kinds of passkeys that are taken.";
      case "Error": return error.message;
      default: return "The browser could not do it (" + error.name + ").";
    }
  }

  document.querySelectorAll("[data-passkey]").forEach(function (place) {
    const form = place.closest("form"), button = place.querySelector("button");
    const field = place.querySelector("input"), failed = place.querySelector("[role=alert]");
    const note = place.querySelector(".aside");
    function say(where, sentence) {
      where.textContent = sentence;
      where.hidden = false;
    }
    place.hidden = false;
    if (location.origin !== place.dataset.origin || !window.PublicKeyCredential) {
      button.hidden = true;
      say(note, location.origin === place.dataset.origin ? "This browser has no passkeys." :
        "Passkeys work at " + place.dataset.origin + " alone.");
      return;
    }
    button.addEventListener("click", async function () {
      failed.hidden = true;
      button.disabled = true;
      try {
        const options = place.dataset.options ? JSON.parse(place.dataset.options) : await fetched(place.dataset.start);
        field.value = answer(await (place.dataset.passkey === "create" ? create : get)(options));
        form.submit(); // also where a password is not filled in, which it is not needed for
      } catch (error) {
        say(failed, why(error));
        button.disabled = false;
      }
    });
  });
})();
