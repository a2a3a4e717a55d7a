// Ink for a size, by its logarithm: from the least to the most that is shown, in the theme's colours.

import { colour } from "./theme.js";

const STEPS = 48; // more than the eye tells apart; few enough to be made once for each answer

function rgb(hex) {
  return [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
}

function luminance(parts) {
  const [red, green, blue] = parts.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

export function createRamp(least, most) {
  const stops = [0, 1, 2, 3, 4, 5].map((index) => rgb(colour(`--heat-${index}`)));
  const shades = Array.from({ length: STEPS }, (_, step) => {
    const place = (step / (STEPS - 1)) * (stops.length - 1);
    const low = Math.min(stops.length - 2, Math.floor(place));
    const parts = stops[low].map((part, channel) => Math.round(part + (stops[low + 1][channel] - part) * (place - low)));
    // White a little beyond where the ratios of both inks meet (0.18): on blue it reads better.
    return { fill: `rgb(${parts.join(" ")})`, ink: luminance(parts) > 0.26 ? "#101319" : "#ffffff" };
  });
  const [low, high] = [Math.log(least), Math.log(Math.max(most, least * 1.0001))];
  return {
    least,
    most,
    at(size) {
      const share = (Math.log(Math.max(size, least)) - low) / (high - low);
      return shades[Math.min(STEPS - 1, Math.max(0, Math.round(share * (STEPS - 1))))];
    },
  };
}
