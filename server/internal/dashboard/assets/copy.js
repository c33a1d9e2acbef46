// Puts a button beside each block that people copy. Without this script they
// select it by hand.
for (const block of document.querySelectorAll("pre.copy")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "second small copier";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(block.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(block);
      button.textContent = "Selected: copy it by hand";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 4000);
  });
  block.after(button);
}
