/* Owned by the template (flask-bastion): updates replace it.
   fetch() for views of this service that answer JSON: it sends the page's CSRF token, and leads the user to the page
   that a refusal names. `same-origin` keeps the token from every other address. */
"use strict";

const TOKEN = document.currentScript.dataset.token;

/** As fetch(); resolves to the Response, also of a refusal (application/problem+json). */
window.bastionFetch = async (address, options = {}) => {
  const headers = new Headers(options.headers);
  headers.set("X-CSRFToken", TOKEN);
  const answer = await fetch(address, { ...options, headers, mode: "same-origin", redirect: "error" });
  const page = /form-action="([^"]+)"/.exec(answer.headers.get("WWW-Authenticate") || "");
  const here = encodeURIComponent(location.pathname + location.search);
  if (answer.status === 401 && page) location.assign(`${page[1]}?next=${here}`);
  return answer;
};
