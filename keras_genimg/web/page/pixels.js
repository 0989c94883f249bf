// Between values in [-1, 1], as models take and give them, and pixels.

/** Draws values (height, width, channels) in [-1, 1]; `canvas.values` holds them unrounded. */
export function draw(canvas, values, [height, width, channels]) {
  const pixels = new ImageData(width, height);
  for (let i = 0; i < height * width; i += 1) {
    for (let colour = 0; colour < 3; colour += 1) {
      const value = values[i * channels + (channels === 1 ? 0 : colour)];
      pixels.data[4 * i + colour] = (value + 1) * 127.5; // rounds, and clips to 0..255
    }
    pixels.data[4 * i + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  canvas.values = values;
}

/** The values of an image file, cropped around its centre and resized; transparency is white. */
export async function read(file, [height, width, channels]) {
  const image = await createImageBitmap(file);
  const scale = Math.min(image.width / width, image.height / height);
  const [w, h] = [scale * width, scale * height]; // the largest part of the right proportions
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, (image.width - w) / 2, (image.height - h) / 2, w, h, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const values = new Float32Array(height * width * channels);
  for (let i = 0; i < height * width; i += 1) {
    const [red, green, blue] = data.subarray(4 * i, 4 * i + 3);
    const grey = Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
    (channels === 1 ? [grey] : [red, green, blue]).forEach((level, colour) => {
      values[i * channels + colour] = level / 127.5 - 1;
    });
  }
  return values;
}

/** Draws a grid of codes (height, width), each in its colour. */
export function drawCodes(canvas, codes, [height, width], colours) {
  const levels = [...codes].flatMap((code) => colours[code]);
  draw(canvas, levels.map((level) => level / 127.5 - 1), [height, width, 3]);
  canvas.values = codes;
}
