// Reads out curves under the pointer, leafs through pictures, tells times in the reader's zone.
// The page is whole without it.
"use strict";

const few = value => Math.abs(value) >= 1e5 ? value.toExponential(2) : value.toLocaleString("en");

const LISTED = 4;  // curves that are all told at once; of more, the nearest
const hidden = new Set();

for (const chart of document.querySelectorAll(".chart")) {
  const [unit, across, [first, last, low, high, log], all] = JSON.parse(chart.dataset.curves);
  const curves = all.filter(curve => curve[2].length);
  if (!curves.length) continue;
  const plot = chart.querySelector(".plot"), said = chart.querySelector("output");
  const line = document.createElement("i");
  line.hidden = true;
  plot.append(line);
  const share = value =>
    log ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value - low) / (high - low);
  plot.onpointermove = event => {
    const box = plot.getBoundingClientRect();
    const place = first + (last - first) * (event.clientX - box.left) / box.width;
    const height = 1 - (event.clientY - box.top) / box.height;
    let parts = curves.filter(curve => !hidden.has(curve[1])).map(([label, color, xs, values]) => {
      let near = xs.findIndex(other => other >= place);
      if (near < 0) near = xs.length - 1;
      if (near > 0 && place - xs[near - 1] < xs[near] - place) near -= 1;
      const text = document.createElement("span");
      text.className = "c" + color % 8;
      text.textContent = `${label} ${few(values[near])}${unit} `;
      return [xs[near], text, Math.abs(share(values[near]) - height)];
    });
    if (!parts.length) return;
    if (parts.length > LISTED) parts = [parts.reduce((a, b) => b[2] < a[2] ? b : a)];
    const at = parts[0][0];
    said.replaceChildren(...parts.map(part => part[1]), `at ${across} ${at.toLocaleString("en")}`);
    line.hidden = false;
    line.style.left = 100 * (at - first) / (last - first) + "%";
  };
  plot.onpointerleave = () => { line.hidden = true; said.replaceChildren(); };
}

for (const button of document.querySelectorAll(".legend button")) {
  const place = +button.dataset.place;
  button.onclick = () => {
    const shows = hidden.delete(place);
    if (!shows) hidden.add(place);
    for (const other of document.querySelectorAll(`.legend button[data-place="${place}"]`))
      other.setAttribute("aria-pressed", shows);
    for (const curve of document.querySelectorAll(`.plot g[data-place="${place}"]`))
      curve.style.display = shows ? "" : "none";
  };
}

for (const album of document.querySelectorAll(".album")) {
  const sheets = [...album.querySelectorAll("figure")];
  if (sheets.length < 2) continue;
  const slider = document.createElement("input");
  slider.type = "range";
  slider.max = sheets.length - 1;
  slider.setAttribute("aria-label", "which of the sheets");
  slider.oninput = () =>
    sheets.forEach((sheet, place) => sheet.classList.toggle("shown", place === +slider.value));
  slider.value = sheets.length - 1;
  slider.oninput();
  album.classList.add("one");
  album.prepend(slider);
}

const ago = seconds => {
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]])
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}s ago`;
  return "just now";
};
for (const time of document.querySelectorAll("time")) {
  const then = new Date(time.dateTime), seconds = (Date.now() - then) / 1000;
  time.title = then.toISOString();
  time.textContent = then.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  if (time.classList.contains("ago")) time.textContent += ` (${ago(seconds)})`;
}

// A run that is killed cannot say so: its page says how long it has been silent.
const state = document.querySelector(".state.running[data-heard]");
if (state) {
  const silent = Date.now() / 1000 - state.dataset.heard;
  if (silent > state.dataset.patience) {
    state.textContent = `no news, ${ago(silent).replace(" ago", "")} long: it may be stopped`;
    state.classList.replace("running", "silent");
  } else {
    setInterval(() => {
      if (!document.hidden && !document.querySelector("details[open]")) location.reload();
    }, 60_000);
  }
}
