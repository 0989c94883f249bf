// Parts of the page that several sections use.

export const $ = (id) => document.getElementById(id);

/** A new element, with properties and children. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A slider with its name and its value, which calls `moved(value)`; `set` moves it. */
export function slider(name, { min, max, step, value }, moved) {
  const shown = element("span", { className: "value", ariaHidden: "true" }); // the slider says it
  const input = element("input", { type: "range", min, max, step, ariaLabel: name });
  const show = (number) => { shown.textContent = number.toFixed(2); };
  const set = (number) => {
    input.min = Math.min(min, Math.floor(number));
    input.max = Math.max(max, Math.ceil(number));
    input.value = number; // to the nearest step
    show(number);
  };
  set(value);
  input.addEventListener("input", () => {
    show(input.valueAsNumber);
    moved(input.valueAsNumber);
  });
  const label = element("label", { className: "slider" }, element("span", {}, name), shown, input);
  return { label, set };
}

/** Fills a select with texts, whose values are their positions. */
export function fill(select, texts) {
  select.append(...texts.map((text, value) => element("option", { value }, text)));
}

/** Says something, or what went wrong, at the top of the page. */
export function say(message, isError = false) {
  $("status").textContent = message;
  $("status").classList.toggle("error", isError);
}

let working = 0;

/**
 * A function that starts `work`, which runs once at a time. Asked again meanwhile, it runs once
 * more afterwards: of many moves of a slider, the last is always drawn.
 */
export function latest(work) {
  let running = false;
  let asked = false;
  return async () => {
    asked = true;
    if (running) return;
    running = true;
    working += 1;
    $("main").ariaBusy = "true";
    try {
      while (asked) {
        asked = false;
        await work();
      }
    } catch (error) {
      say(error.message, true);
    } finally {
      running = false;
      working -= 1;
      $("main").ariaBusy = String(working > 0);
    }
  };
}
