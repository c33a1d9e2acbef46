// Looks whether this browser reaches a webhook: credentials go between the two. The
// answer cannot be read before the webhook is bound to this server; that there is one
// is enough.
const row = document.getElementById("browser-reach");

function say(look, verdict, took, advice) {
  const badge = document.createElement("span");
  badge.className = `badge ${look}`;
  badge.textContent = verdict;
  row.querySelector("[data-verdict]").replaceChildren(badge);
  row.querySelector("[data-took]").textContent = took;
  row.querySelector("[data-advice]").textContent = advice;
}

async function look() {
  const began = performance.now();
  try {
    await fetch(`${row.dataset.url}/v1/health`, { mode: "no-cors", credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer", signal: AbortSignal.timeout(10_000) });
  } catch {
    say("bad", "fails", "", row.dataset.failed);
    return false;
  }
  say("good", "passes", `${(performance.now() - began).toFixed(1)} ms`, "Something answers there.");
  return true;
}

async function watch() {
  while (row.isConnected && !(await look())) {
    await new Promise((done) => { setTimeout(done, 5000); });
  }
}
if (row) watch();
