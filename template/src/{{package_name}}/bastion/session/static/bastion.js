/* Owned by the template (flask-bastion): updates replace it.
   Comfort only; every page works without it: times in the reader's zone, passwords that can be shown, and recovery
   codes that can be copied, saved and printed. */
"use strict";

const language = document.documentElement.lang;
const zone = new Intl.DateTimeFormat(navigator.languages.find((one) => one.startsWith(language)) || language, {
  day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
});
for (const time of document.querySelectorAll("time[data-local]")) {
  time.title = time.textContent;
  time.textContent = zone.format(new Date(time.dateTime));
}

for (const field of document.querySelectorAll(".field input[type=password]")) {
  const button = document.createElement("button");
  const show = (shown) => {
    field.type = shown ? "text" : "password";
    button.textContent = shown ? field.dataset.hide : field.dataset.show;
  };
  button.type = "button";
  button.className = "reveal";
  button.setAttribute("aria-controls", field.id);
  button.addEventListener("click", () => show(field.type === "password"));
  field.form.addEventListener("submit", () => show(false)); // so that no browser remembers it as plain text
  field.after(button);
  show(false);
}

for (const box of document.querySelectorAll("[data-codes]")) {
  const text = [box.dataset.codes, ...Array.from(document.querySelectorAll(".codes li"), (one) => one.textContent), ""].join("\n");
  const [copy, save, print] = box.querySelectorAll("button");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = copy.dataset.done;
  });
  save.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = "recovery-codes.txt";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  print.addEventListener("click", () => window.print());
  box.hidden = false;
}
