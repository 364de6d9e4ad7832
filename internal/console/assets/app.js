// What the console's pages gain with scripts. Each part looks for its own marks in
// the page and does without where there are none.
import { copyButtons, printButtons } from "./copy.js";
import { charts } from "./chart.js";
import { live } from "./live.js";
import { passkeys } from "./passkey.js";
import { passwords } from "./password.js";

function start(root) {
  copyButtons(root);
  printButtons(root);
  charts(root);
  passkeys(root);
  passwords(root);
}

start(document);
live(start);

// What did not work is read first; where a field of a form was refused, the browser
// itself begins there (autofocus).
const problems = document.getElementById("problems") ?? document.getElementById("told");
if (problems) problems.focus();
