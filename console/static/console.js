// The console's own script: what HTML alone cannot do. Every page works without it but for the tail.
"use strict";

// Copies the text of the element that data-copy names, as CSS selectors do.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const text = document.querySelector(button.dataset.copy)?.textContent ?? "";
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = button.dataset.copied ?? "✓";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(document.querySelector(button.dataset.copy));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }
});

// Buttons that need this script are hidden without it.
for (const element of document.querySelectorAll("[data-script]")) element.hidden = false;
