// Adds comfort to the page, which works without it. It sends no request.
"use strict";

// Copy buttons
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    const label = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}

// A choice that a filter hides would be fired unseen: the first visible one takes its place, and where none is, nothing can be fired
function keepChoiceVisible(items) {
  const choices = [...items].map((item) => item.querySelector("input[type=radio]")).filter((choice) => choice);
  if (!choices.length) return;
  const visible = choices.filter((choice) => !choice.closest("[hidden]"));
  if (visible.length && !visible.some((choice) => choice.checked)) visible[0].checked = true;
  const form = choices[0].form;
  form.querySelector("[type=submit]").disabled = !visible.length;
  form.querySelector("[data-none-found]").hidden = visible.length > 0;
}

// Live filters
for (const input of document.querySelectorAll("[data-filter]")) {
  input.closest(".finder").hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const item of document.querySelectorAll(input.dataset.filter)) {
      const text = (item.dataset.words || item.textContent).toLowerCase();
      item.hidden = !words.every((word) => text.includes(word));
    }
    keepChoiceVisible(document.querySelectorAll(input.dataset.filter));
  });
  input.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
}

// A file dropped on the form for a request is read into it
for (const form of document.querySelectorAll("[data-drop]")) {
  const area = form.querySelector("textarea");
  form.addEventListener("dragover", (event) => { event.preventDefault(); form.classList.add("dropping"); });
  form.addEventListener("dragleave", () => form.classList.remove("dropping"));
  form.addEventListener("drop", async (event) => {
    event.preventDefault();
    form.classList.remove("dropping");
    const file = event.dataTransfer.files[0];
    area.value = file ? await file.text() : event.dataTransfer.getData("text");
    area.focus();
  });
}
