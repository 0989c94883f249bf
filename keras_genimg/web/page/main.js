// Loads the model and shows the sections that it has.

import { $, say } from "./controls.js";
import { load } from "./model.js";
import { showImage } from "./image.js";
import { showSamples } from "./samples.js";

try {
  const model = await load();
  document.title = $("model").textContent = model.model;
  $("about").textContent = `${model.about} (${model.paper}). Everything is computed in this browser.`;
  say("Ready.");
  const has = (name) => model.functions.includes(name);
  if (model.latents) await showSamples(model);
  if (has("encode") || has("translate")) await showImage(model);
} catch (error) {
  say(`The model could not be loaded: ${error.message}`, true);
}
$("main").ariaBusy = "false";
