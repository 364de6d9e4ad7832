// Copy buttons: data-copy names the element whose text is copied.
export function copyButtons(root) {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    const label = button.firstChild.textContent;
    button.addEventListener("click", async () => {
      const from = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(from.textContent.trim());
        button.firstChild.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(from);
        button.firstChild.textContent = "Select and copy";
      }
      setTimeout(() => { button.firstChild.textContent = label; }, 2000);
    });
  }
}

// Print buttons.
export function printButtons(root) {
  for (const button of root.querySelectorAll("button[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => print());
  }
}
