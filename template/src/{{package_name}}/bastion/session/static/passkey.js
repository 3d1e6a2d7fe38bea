/* Owned by the template (flask-bastion): updates replace it.
   Asks the device for a passkey and posts what it answers, in the form that holds the question. On the sign-in page
   the browser also suggests passkeys at the address field. Base64url is done by hand, since not every browser with passkeys has PublicKeyCredential.parse…. */
"use strict";

const SAYS = {
  NotAllowedError: "No passkey was used: it was cancelled, or took too long.",
  InvalidStateError: "This device already has a passkey for your account.",
  NotSupportedError: "This device can’t make such a passkey.",
  ConstraintError: "This device can’t make such a passkey. Set up a screen lock first.",
  SecurityError: "Passkeys don’t work at this address.",
};
const WITHOUT = "This browser has no passkeys. Use another way, or another browser.";
const FAILED = "That did not work. Try again.";

const toBytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
const toText = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

/** The question as the browser wants it: bytes where JSON has text. */
function question(options) {
  const named = (list) => (list || []).map((one) => ({ ...one, id: toBytes(one.id) }));
  const asked = { ...options, challenge: toBytes(options.challenge) };
  if (options.user) asked.user = { ...options.user, id: toBytes(options.user.id) };
  if (options.excludeCredentials) asked.excludeCredentials = named(options.excludeCredentials);
  if (options.allowCredentials) asked.allowCredentials = named(options.allowCredentials);
  return asked;
}

/** The answer as RegistrationResponseJSON or AuthenticationResponseJSON (Web Authentication Level 3). */
function answer(credential) {
  const said = credential.response;
  const response = { clientDataJSON: toText(said.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (said[name]) response[name] = toText(said[name]);
  }
  if (said.getTransports) response.transports = said.getTransports();
  const { id, type, authenticatorAttachment } = credential;
  return { id, rawId: toText(credential.rawId), type, authenticatorAttachment, response, clientExtensionResults: {} };
}

/** Say it where assistive technology listens; an empty text takes it away. */
function say(form, text) {
  const place = form.querySelector("[role=alert]");
  place.textContent = text;
  place.className = text ? "notice bad" : "";
}

async function ask(form) {
  const button = form.querySelector("button");
  say(form, "");
  button.disabled = true;
  try {
    const publicKey = question(JSON.parse(form.dataset.options));
    const credential = await navigator.credentials[form.dataset.passkey]({ publicKey });
    form.elements.credential.value = JSON.stringify(answer(credential));
    form.submit();
  } catch (error) {
    say(form, SAYS[error.name] || FAILED);
    button.disabled = false;
    button.focus();
  }
}

/** Wait until a passkey is chosen among the suggestions; the question has an end, and so has the wait. */
async function suggest(form) {
  if (!(await window.PublicKeyCredential?.isConditionalMediationAvailable?.())) return;
  const publicKey = question(JSON.parse(form.dataset.options));
  const signal = AbortSignal.timeout(publicKey.timeout);
  try {
    const credential = await navigator.credentials.get({ publicKey, signal, mediation: "conditional" });
    form.elements.credential.value = JSON.stringify(answer(credential));
    form.submit();
  } catch {
    // nothing was chosen: the password and the button for passkeys are still there
  }
}

for (const form of document.querySelectorAll("form[data-suggest]")) suggest(form);
for (const form of document.querySelectorAll("form[data-passkey]")) {
  form.querySelector("[data-unscripted]").remove();
  if (window.PublicKeyCredential) {
    form.querySelector("button").disabled = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      ask(form);
    });
  } else {
    say(form, WITHOUT);
  }
}
