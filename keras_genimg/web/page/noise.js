// Random latents that a seed repeats in every browser, and ways between two of them.

/** Numbers in (0, 1): mulberry32, a counter of 32 bits and a hash of it. */
export function uniforms(seed) {
  let counter = seed >>> 0;
  return () => {
    counter = (counter + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(counter ^ (counter >>> 15), counter | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return (((bits ^ (bits >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
}

/** One N(0, 1) number of two uniform ones (Box and Muller, 1958). */
function normal(random) {
  const radius = Math.sqrt(-2 * Math.log(random()));
  return radius * Math.cos(2 * Math.PI * random());
}

// The noises that models are trained with.
const NOISES = {
  normal,
  uniform: (random) => 2 * random() - 1,
  truncated_normal: (random) => {
    let value;
    do value = normal(random); while (Math.abs(value) > 2);
    return value;
  },
};

/** Latents of `count` images: noise times `scale`. The first ones do not depend on the count. */
export function drawLatents({ dim, noise, mixture }, seed, count, scale) {
  const random = uniforms(seed);
  return Array.from({ length: count }, () => {
    const z = Float32Array.from({ length: dim }, () => scale * NOISES[noise](random));
    return mixture ? fromMixture(mixture, z, random()) : z;
  });
}

/** z ~ N(m_k, L_k L_k^T) from noise n ~ N(0, I): m_k + L_k n, with k drawn by its share. */
function fromMixture({ shares, means, factors }, noise, uniform) {
  let k = 0;
  for (let sum = shares[0]; uniform > sum && k < shares.length - 1; sum += shares[k]) k += 1;
  return noise.map((_, row) =>
    means[k][row] + factors[k][row].reduce((sum, value, column) => sum + value * noise[column], 0));
}

/** The point at `t` in [0, 1] of the straight line from a to b. */
export function linear(a, b, t) {
  return a.map((value, i) => (1 - t) * value + t * b[i]);
}

/**
 * The point at `t` of the great circle from a to b, its length going from |a| to |b| (White, 2016).
 * Normal noise has nearly one length, and the middle of a straight line is much shorter.
 */
export function spherical(a, b, t) {
  const lengths = [a, b].map((z) => Math.hypot(...z));
  const cosine = a.reduce((sum, value, i) => sum + value * b[i], 0) / (lengths[0] * lengths[1]);
  const angle = Math.acos(Math.min(Math.max(cosine, -1), 1));
  if (!(angle > 1e-6 && angle < Math.PI - 1e-6)) return linear(a, b, t); // no circle, or no one
  const length = (1 - t) * lengths[0] + t * lengths[1];
  const shares = [Math.sin((1 - t) * angle), Math.sin(t * angle)].map(
    (share, end) => (share / Math.sin(angle)) * (length / lengths[end]));
  return a.map((value, i) => shares[0] * value + shares[1] * b[i]);
}
