// Hints while a new password is typed: an input with data-hints asks there what is
// wrong with it. The server decides again when the form is sent.
export function passwords(root) {
  for (const input of root.querySelectorAll("input[data-hints]")) {
    const list = document.getElementById(input.dataset.hintsIn);
    let timer = 0;
    let asked = 0;
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        const number = ++asked;
        const names = [...input.form.querySelectorAll("[data-own-name]")].map((i) => i.value);
        const answer = await fetch(input.dataset.hints, { method: "POST", headers: { "Content-Type": "application/json", Accept: "application/json" }, body: JSON.stringify({ password: input.value, own: names }) });
        if (!answer.ok || number !== asked) return;
        const said = await answer.json();
        list.replaceChildren(...(said.wrong.length ? said.wrong : ["This password will do."]).map((text) => {
          const item = document.createElement("li");
          item.textContent = text;
          return item;
        }));
        list.classList.toggle("good", !said.wrong.length);
      }, 300);
    });
  }
}
