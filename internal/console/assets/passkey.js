// Passkeys. A form with data-passkey="create" or "get" asks its data-options for
// what the browser's API wants, and is sent with what that answers.
export function passkeys(root) {
  const able = window.PublicKeyCredential && PublicKeyCredential.parseCreationOptionsFromJSON;
  for (const form of root.querySelectorAll("form[data-passkey]")) {
    if (!able) {
      const note = form.querySelector("[data-passkey-none]");
      if (note) note.hidden = false;
      continue;
    }
    for (const button of form.querySelectorAll("button")) button.disabled = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      run(form);
    });
  }
}

async function post(to, body) {
  const answer = await fetch(to, { method: "POST", headers: { "Content-Type": "application/json", Accept: "application/json" }, body: JSON.stringify(body), redirect: "error" });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.errors?.[0]?.message || "That did not work.");
  return said;
}

async function run(form) {
  const says = form.querySelector("[role=alert]");
  says.textContent = "";
  says.hidden = true;
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const begun = await post(form.dataset.options, {});
    const options = begun.options.publicKey || begun.options;
    const credential = form.dataset.passkey === "create"
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
    form.elements.handle.value = begun.handle;
    form.elements.credential.value = JSON.stringify(credential.toJSON());
    HTMLFormElement.prototype.submit.call(form);
  } catch (error) {
    says.textContent = error.name === "NotAllowedError" ? "The passkey was not used: it was cancelled, or took too long."
      : error.name === "InvalidStateError" ? "This device has a passkey for you already." : error.message;
    says.hidden = false;
    button.disabled = false;
  }
}
