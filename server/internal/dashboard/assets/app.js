// What every page has: times that say how far away they are, and forms that are
// sent once. Pages can be read and used without it.

const relative = new Intl.RelativeTimeFormat("en", { numeric: "always" });
const steps = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function distance(seconds) {
  for (const [unit, size] of steps) {
    if (Math.abs(seconds) >= size || unit === "second") return relative.format(Math.trunc(seconds / size), unit);
  }
  return "";
}

// A time of data-relative shows its distance, as the server wrote it; one of
// data-countdown shows it to the second when it is near.
function tell() {
  const now = Date.now();
  let next = 60_000;
  for (const time of document.querySelectorAll("time[data-relative], time[data-countdown]")) {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) continue;
    const seconds = Math.trunc((at - now) / 1000);
    let text = distance(seconds);
    if ("countdown" in time.dataset && seconds > 0 && seconds < 3600) {
      next = 1000;
      text = `in ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    } else if (Math.abs(seconds) < 60) {
      next = Math.min(next, 5000);
      if (!("countdown" in time.dataset)) text = seconds > 0 ? "in a moment" : "just now";
    }
    if (time.textContent !== text) time.textContent = text;
  }
  setTimeout(tell, next);
}
tell();

// A form that was sent is not sent again by a second click while its answer is on the
// way. A page that the browser brings back from its memory starts anew.
const sent = new WeakSet();
addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (sent.has(form)) {
    event.preventDefault();
    return;
  }
  sent.add(form);
  form.setAttribute("aria-busy", "true");
});
addEventListener("pageshow", () => {
  for (const form of document.forms) {
    sent.delete(form);
    form.removeAttribute("aria-busy");
  }
});
