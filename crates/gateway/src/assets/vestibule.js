// What makes our pages handier. Every one of them works without it, so its buttons are hidden until now.
(() => {
  "use strict";
  const all = (selector) => document.querySelectorAll(selector);
  const say = document.documentElement.dataset;

  for (const button of all("[data-show]")) {
    const inputs = button.dataset.show.split(" ").map((id) => document.getElementById(id));
    const show = (shown) => {
      for (const input of inputs) input.type = shown ? "text" : "password";
      button.textContent = shown ? say.sayHide : say.sayShow;
      button.setAttribute("aria-label", shown ? say.sayHidePassword : say.sayShowPassword);
    };
    show(false);
    button.addEventListener("click", () => show(inputs[0].type === "password"));
    // A browser must not remember a password as ordinary text.
    button.form.addEventListener("submit", () => show(false));
    button.hidden = false;
  }

  for (const input of all("[data-caps]")) {
    const hint = document.getElementById(input.dataset.caps);
    const tell = (event) => {
      const on = event.type !== "blur" && event.getModifierState && event.getModifierState("CapsLock");
      const text = on ? say.sayCaps : "";
      if (hint.textContent !== text) hint.textContent = text;
    };
    for (const type of ["keydown", "keyup", "mousedown", "blur"]) input.addEventListener(type, tell);
  }

  for (const button of all("[data-copy]")) {
    if (!navigator.clipboard) continue;
    const label = button.textContent;
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = button.dataset.done;
      setTimeout(() => { button.textContent = label; }, 2000);
    });
    button.hidden = false;
  }

  for (const form of all("[data-submit]")) form.submit();
  if (document.querySelector("[data-close]")) window.close();
})();
