// Takes what was revealed off the page after a while, and when the page is left: the
// browser must not bring it back from its memory.
for (const box of document.querySelectorAll("[data-hide-after]")) {
  const end = Date.now() + Number(box.dataset.hideAfter) * 1000;
  const left = box.querySelector("[data-left]");
  const tick = () => {
    const rest = Math.ceil((end - Date.now()) / 1000);
    if (rest <= 0) { location.replace(box.dataset.to); return; }
    left.textContent = `Hidden again in ${rest} s.`;
    setTimeout(tick, 1000);
  };
  // Counting is for the eye: a screen reader hears of it once.
  left.setAttribute("aria-hidden", "true");
  tick();
  addEventListener("pagehide", () => box.replaceChildren());
}
