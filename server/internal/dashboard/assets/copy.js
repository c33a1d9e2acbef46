// Puts a button into the corner of each block that people copy, where space is kept
// for it. Without this script they select it by hand.
for (const block of document.querySelectorAll("pre.copy")) {
  const box = document.createElement("div");
  box.className = "copybox";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "second small copier";
  button.textContent = "Copy";
  const name = block.getAttribute("aria-label");
  if (name) button.setAttribute("aria-label", `Copy ${name}`);
  const said = document.createElement("span");
  said.className = "unseen";
  said.setAttribute("role", "status");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(block.textContent);
      button.textContent = "Copied";
      said.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(block);
      button.textContent = "Selected";
      said.textContent = "It could not be copied. It is selected: copy it by hand.";
    }
    setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 4000);
  });
  block.replaceWith(box);
  box.append(block, button, said);
}
