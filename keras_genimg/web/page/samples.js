// Generators: a grid of samples, one of them to change, and a walk between two.

import { $, element, fill, latest, slider } from "./controls.js";
import { floats, imagesOf, integers, run } from "./model.js";
import { drawLatents, linear, spherical } from "./noise.js";
import { draw } from "./pixels.js";

const COUNT = 16;
const STRIP = 8;

export function showSamples({ shape, classes, latents }) {
  let samples = []; // of each: its latents z, and its label
  let seed = 0;
  let chosen = 0;
  let scale = 1;
  let position = 0.5;
  const offsets = latents.directions.map(() => 0);

  /** The images of latents, of one class each. */
  async function decode(zs, labels) {
    const { images } = await run("decode", {
      latents: floats(zs, [latents.dim]), labels: integers(labels),
    });
    return imagesOf(images);
  }

  // ---------------------------------------------------------------- the grid

  const drawSamples = latest(async () => {
    const zs = drawLatents(latents, seed, COUNT, scale);
    const fixed = $("sample-class").value;
    samples = zs.map((z, i) => ({
      z, label: fixed === "" ? i % (classes?.length ?? 1) : Number(fixed),
    }));
    const images = await decode(zs, samples.map(({ label }) => label));
    images.forEach((image, i) => {
      const [canvas, caption] = $("grid").children[i].children;
      draw(canvas, image, shape);
      const name = classes ? classes[samples[i].label] : "";
      caption.textContent = `${i + 1} ${name.replaceAll("_", "_\u200b")}`;  // may break after _
    });
    drawOne();
    drawWalk();
  });

  function choose(index) {
    chosen = index;
    [...$("grid").children].forEach((button, i) => { button.ariaPressed = String(i === index); });
    reset();
  }

  // ---------------------------------------------------------- one sample

  const drawOne = latest(async () => {
    const { z, label } = samples[chosen];
    const moved = z.map((value, i) => latents.directions.reduce(
      (sum, direction, k) => sum + offsets[k] * direction[i], value));
    const [image] = await decode([moved], [label]);
    draw($("one-image"), image, shape);
    $("one-title").textContent = `Sample ${chosen + 1}${classes ? `, ${classes[label]}` : ""}`;
  });

  const sliders = latents.directions.map((_, k) =>
    slider(`Direction ${k + 1}`, { min: -4, max: 4, step: 0.1, value: 0 }, (value) => {
      offsets[k] = value;
      drawOne();
    }));

  function reset() {
    offsets.fill(0);
    sliders.forEach(({ set }) => set(0));
    drawOne();
  }

  // -------------------------------------------------------------- the walk

  const between = latents.noise === "uniform" || latents.mixture ? linear : spherical;

  const drawWalk = latest(async () => {
    const [from, to] = ["walk-from", "walk-to"].map((id) => samples[$(id).value]);
    const steps = Array.from({ length: STRIP }, (_, i) => i / (STRIP - 1));
    const zs = [position, ...steps].map((t) => between(from.z, to.z, t));
    const images = await decode(zs, zs.map(() => from.label));
    [$("walk-image"), ...$("walk-strip").children].forEach(
      (canvas, i) => draw(canvas, images[i], shape));
  });

  // --------------------------------------------------------------- the page

  const numbers = Array.from({ length: COUNT }, (_, i) => `Sample ${i + 1}`);
  $("grid").append(...numbers.map((_, i) => {
    const button = element("button", { type: "button" }, element("canvas"), element("span"));
    button.addEventListener("click", () => choose(i));
    return button;
  }));
  $("grid").children[0].ariaPressed = "true";
  $("scale").append(slider("Noise scale", { min: 0, max: 1.5, step: 0.05, value: 1 }, (value) => {
    scale = value;
    drawSamples();
  }).label);
  $("seed").addEventListener("input", () => {
    if (!$("seed").reportValidity()) return;
    seed = Number($("seed").value);
    drawSamples();
  });
  $("next-seed").addEventListener("click", () => {
    seed = (seed + 1) % 2 ** 32;
    $("seed").value = seed;
    drawSamples();
  });
  $("sample-class-field").hidden = classes === null;
  fill($("sample-class"), classes ?? []);
  $("sample-class").addEventListener("change", drawSamples);

  $("directions").append(...sliders.map(({ label }) => label));
  $("reset").addEventListener("click", reset);

  for (const id of ["walk-from", "walk-to"]) {
    fill($(id), numbers);
    $(id).addEventListener("change", drawWalk);
  }
  $("walk-to").value = 1;
  $("walk-strip").append(...Array.from({ length: STRIP }, () => element("canvas")));
  const range = { min: 0, max: 1, step: 0.01, value: position };
  $("walk-position").append(slider("Position", range, (value) => {
    position = value;
    drawWalk();
  }).label);
  $("walk-hint").textContent = (between === spherical
    ? "Along the great circle between the two latents." : "Along the line between the two latents.")
    + (classes ? " All images have the class of the first." : "");

  $("samples").hidden = $("walk").hidden = false;
  $("one").hidden = latents.directions.length === 0;
  return drawSamples();
}
