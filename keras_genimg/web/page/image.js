// Autoencoders and translators: an image in; its codes and an image out.

import { $, element, fill, latest, say, slider } from "./controls.js";
import { floats, imagesOf, integers, run } from "./model.js";
import { draw, drawCodes, read } from "./pixels.js";

export function showImage({ functions, shape, classes, latents, codes }) {
  let file = null;
  const translates = functions.includes("translate");
  const title = translates ? "Translation" : "Reconstruction";
  const z = latents ? new Float32Array(latents.dim) : null;
  const labels = () => integers([Number($("image-class").value)]);

  /** Draws the last output, whose size may differ from the input's. */
  function drawOutput(tensor) {
    draw($("image-output"), imagesOf(tensor)[0], tensor.dims.slice(1));
  }

  const drawImage = latest(async () => {
    let values;
    try {
      values = await read(file, shape);
    } catch {
      say(`${file.name} is not an image that this browser can read.`, true);
      return;
    }
    say(`${title} of ${file.name}`);
    draw($("image-input"), values, shape);
    const images = floats([values], shape);
    if (translates) {
      drawOutput((await run("translate", { images })).translations);
      return;
    }
    const encoded = await run("encode", { images, labels: labels() });
    if (latents) {
      z.set(encoded.z_mean.data);
      sliders.forEach(({ set }, i) => set(z[i]));
      drawLatents();
      return;
    }
    // The codes of a single grid are named `latents` where they are an input.
    const grids = Object.fromEntries(
      codes.map(({ name }) => [name, encoded[name] ?? encoded.codes]));
    codes.forEach(({ name, colours }, i) => {
      const { data, dims: [, height, width] } = grids[name];
      const [canvas, caption] = $("codes").children[i].children;
      drawCodes(canvas, data, [height, width], colours);
      caption.textContent = `${height} × ${width} codes, each of ${colours.length}`;
    });
    drawOutput((await run("decode", grids)).images);
  });

  /** The reconstruction of the latents, as encoded or as the sliders have set them. */
  const drawLatents = latest(async () => {
    const inputs = { latents: floats([z], [latents.dim]), labels: labels() };
    drawOutput((await run("decode", inputs)).images);
  });

  const sliders = [...z ?? []].map((_, i) =>
    slider(`z ${i + 1}`, { min: -4, max: 4, step: 0.1, value: 0 }, (value) => {
      z[i] = value;
      drawLatents();
    }));

  // --------------------------------------------------------------- the page

  $("image-output-title").textContent = title;
  $("codes").append(...(codes ?? []).map((_, i) => element("figure", {},
    element("canvas", { role: "img", ariaLabel: `Codes, grid ${i + 1}` }), element("figcaption"))));
  $("latent-sliders").append(...sliders.map(({ label }) => label));
  $("image-latents").hidden = !latents;
  $("image-class-field").hidden = classes === null;
  fill($("image-class"), classes ?? ["none"]);
  $("image-class").addEventListener("change", () => (file ? drawImage() : drawLatents()));

  function take(files) {
    if (files.length === 0) return;
    [file] = files;
    drawImage();
  }

  $("image-file").addEventListener("change", () => take($("image-file").files));
  $("drop").addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
  $("drop").addEventListener("dragleave", () => $("drop").classList.remove("over"));
  $("drop").addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    take(event.dataTransfer.files);
  });

  $("image").hidden = false;
  return latents ? drawLatents() : undefined;
}
